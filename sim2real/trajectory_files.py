"""Files that recorded motion comes in: NumPy archives, CSV, Minari and LeRobot datasets.

May import envs.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.envs.errors import WarmstartError, unknown_name
from warmstart.envs.layouts import action_layout
from warmstart.envs.tasks import Task
from warmstart.sim2real.trajectories import (
    Floats,
    Trajectories,
    Trajectory,
    columns,
    robot_of,
)

_DATA = "it needs a package that is not installed: pip install 'warmstart[data]'."


def read(path: str | Path, task: Task, names: Mapping[str, str] | None = None) -> Trajectories:
    """Read recordings by what they are: ``.npz``, ``.csv``, a LeRobot folder, else a Minari dataset's id.

    Args:
        path: A file, a folder or ``minari:ID``.
        task: The task whose robot it is.
        names: For CSV and LeRobot: what the file's columns are called here; see `columns`.

    Raises:
        WarmstartError: It can't be read, or it doesn't fit the task.
    """
    text = str(path)
    robot = robot_of(task)
    model = robot.model()
    if text.startswith("minari:"):
        period = robot.frame_skip * float(model.opt.timestep)
        found = read_minari(text.removeprefix("minari:"), period)
    elif not Path(text).exists():
        raise WarmstartError(f"Expected recorded trajectories at {text}, found nothing there.")
    elif Path(text).is_dir():
        found = read_lerobot(text, model, names)
    elif text.endswith(".csv"):
        found = read_csv(text, model, names)
    elif text.endswith(".npz"):
        found = read_npz(text)
    else:
        raise WarmstartError(f"Expected a .npz or .csv file or a LeRobot folder, found {text}.")
    found.check(task)
    return found


def read_npz(path: str | Path) -> Trajectories:
    """Read arrays ``time`` (n,), ``qpos`` (n, nq), ``qvel`` (n, nv), ``ctrl`` or ``action`` (n, nu).

    An array ``episode`` (n,) of ids says which rows belong together; without it they are one recording.

    Raises:
        WarmstartError: An array is missing or has another shape.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if "ctrl" not in arrays and "action" in arrays:
        arrays["ctrl"] = arrays["action"]
    for key in ("time", "qpos", "qvel", "ctrl"):
        if key not in arrays:
            raise unknown_name(f"array (expected in {path})", key, arrays)
    whole = Trajectory(Path(path).stem, arrays["time"], arrays["qpos"], arrays["qvel"], arrays["ctrl"])
    return _split(whole, arrays.get("episode"))


def read_csv(path: str | Path, model: mujoco.MjModel, names: Mapping[str, str] | None = None) -> Trajectories:
    """Read a table with a column ``time``, one for each of `columns`, and perhaps ``episode``.

    ``JOINT.position`` may stand for ``JOINT.angle`` and the other way round, an action's name in the task's
    layout (``JOINT.torque``) for ``ACTUATOR.ctrl``.

    Args:
        path: The file; the first row names the columns.
        model: The robot's model.
        names: What the file's columns are called here, where they have other names.

    Raises:
        WarmstartError: A column is missing (the nearest are named) or a cell is no number.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    header = [name.strip() for name in header]
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise WarmstartError(f"{path}: expected {len(header)} cells in row {number}, found {len(row)}.")
    table = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    numbers = {name: _numbers(path, name, cells) for name, cells in table.items() if name != "episode"}
    parts = _pick(numbers, model, names or {}, str(path))
    if "time" not in numbers:
        raise unknown_name(f"column (expected in {path})", "time", numbers)
    episode = np.array(table["episode"]) if "episode" in table else None
    return _split(Trajectory(Path(path).stem, numbers["time"], *parts), episode)


def read_minari(dataset: Any, period: float) -> Trajectories:
    """Read a Minari dataset whose infos hold ``qpos`` and ``qvel`` for every observation.

    Args:
        dataset: A dataset, or the id of one that lies on this machine.
        period: Seconds between its steps, which Minari doesn't record.

    Raises:
        WarmstartError: Minari isn't installed, or the dataset has no full state.
    """
    if isinstance(dataset, str):
        try:
            import minari  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise WarmstartError(f"To read the Minari dataset {dataset}, {_DATA}") from None
        dataset = minari.load_dataset(dataset)
    items = []
    for episode in dataset.iterate_episodes():
        infos, actions = episode.infos or {}, np.asarray(episode.actions, dtype=float)
        for key in ("qpos", "qvel"):
            if key not in infos:
                raise WarmstartError(
                    f"Expected infos with qpos and qvel in episode {episode.id}, found "
                    f"{', '.join(sorted(infos)) or 'none'}: observations alone don't hold a full state. "
                    "Record the dataset with the environment's qpos and qvel in its infos."
                )
        qpos, qvel = (np.asarray(infos[key], dtype=float) for key in ("qpos", "qvel"))
        n = min(len(qpos), len(actions) + 1)
        ctrl: Floats = np.concatenate([actions, actions[-1:]])[:n]
        items.append(
            Trajectory(f"episode {episode.id}", period * np.arange(float(n)), qpos[:n], qvel[:n], ctrl)
        )
    return Trajectories(tuple(items))


def read_lerobot(
    folder: str | Path, model: mujoco.MjModel, names: Mapping[str, str] | None = None
) -> Trajectories:
    """Read a LeRobot dataset: Parquet files under ``data/``, described by ``meta/info.json``.

    Read are ``observation.state``, ``action``, ``timestamp`` and ``episode_index``. The names of the state's
    and action's parts come from ``meta/info.json``; units must be those of `columns` (rad, not degrees).

    Args:
        folder: The dataset.
        model: The robot's model.
        names: What the parts are called here (`columns`), by their name there; an action's name is looked up
            with ``action/`` in front first, since state and action often share names.

    Raises:
        WarmstartError: pyarrow isn't installed, the folder is none, or a column isn't there.
    """
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]
    except ImportError:
        raise WarmstartError(f"To read the LeRobot dataset {folder}, {_DATA}") from None
    info, files = Path(folder) / "meta" / "info.json", sorted(Path(folder).glob("data/**/*.parquet"))
    if not info.is_file() or not files:
        raise WarmstartError(f"Expected meta/info.json and data/**/*.parquet in {folder}, found no such.")
    features = json.loads(info.read_text(encoding="utf-8")).get("features", {})
    wanted = ("observation.state", "action", "timestamp", "episode_index")
    tables = []
    for file in files:
        there = parquet.read_schema(file).names
        for key in wanted:
            if key not in there:
                raise unknown_name(f"column (expected in {file})", key, there)
        tables.append(parquet.read_table(file, columns=list(wanted)).to_pydict())
    data = {key: np.array([value for table in tables for value in table[key]]) for key in wanted}
    mapping, numbers = dict(names or {}), dict[str, Floats]()
    for key, prefix in (("observation.state", ""), ("action", "action/")):
        named = _feature_names(features.get(key, {}).get("names"), key, data[key].shape[1], folder)
        for i, part in enumerate(named):
            own = mapping.get(f"{prefix}{part}", mapping.get(part) if not prefix else None)
            numbers.setdefault(own or (part if part not in numbers else f"{prefix}{part}"), data[key][:, i])
    order = np.lexsort((data["timestamp"], data["episode_index"]))
    parts = _pick({k: v[order] for k, v in numbers.items()}, model, {}, str(folder))
    whole = Trajectory(Path(folder).name, data["timestamp"][order], *parts)
    return _split(whole, data["episode_index"][order])


def _split(whole: Trajectory, episode: NDArray[Any] | None) -> Trajectories:
    """Make a recording of every run of rows with the same episode id."""
    if episode is None:
        return Trajectories((whole,))
    if len(episode) != len(whole):
        raise WarmstartError(f"{whole.name}: expected {len(whole)} episode ids, found {len(episode)}.")
    cuts = np.flatnonzero(episode[1:] != episode[:-1]) + 1
    parts = zip(*(np.split(v, cuts) for v in (whole.time, whole.qpos, whole.qvel, whole.ctrl)), strict=True)
    ids = episode[np.concatenate([[0], cuts]).astype(int)]
    return Trajectories(
        tuple(Trajectory(f"{whole.name}, episode {i}", *part) for i, part in zip(ids, parts, strict=True))
    )


def _numbers(path: str | Path, name: str, cells: Iterable[str]) -> Floats:
    found = []
    for row, cell in enumerate(cells):
        try:
            found.append(float(cell or "nan"))
        except ValueError:
            raise WarmstartError(
                f"{path}: expected numbers in {name}, found {cell!r} in row {row}."
            ) from None
    return np.array(found)


def _pick(
    numbers: Mapping[str, Floats], model: mujoco.MjModel, names: Mapping[str, str], where: str
) -> tuple[Floats, Floats, Floats]:
    """Put the columns that are there into MuJoCo's order."""
    there = {names.get(name, name): values for name, values in numbers.items()}
    by_action = dict(zip(columns(model)["ctrl"], action_layout(model).names, strict=True))
    parts = []
    for kind in ("qpos", "qvel", "ctrl"):
        found = []
        for name in columns(model)[kind]:
            stem, _, last = name.rpartition(".")
            other = {"angle": "position", "position": "angle"}.get(last)
            for spelling in (name, f"{stem}.{other}", by_action.get(name)):
                if spelling in there:
                    found.append(there[spelling])
                    break
            else:
                raise unknown_name(f"column (expected in {where})", name, there)
        parts.append(np.stack(found, axis=1) if found else np.zeros((len(next(iter(there.values()))), 0)))
    qpos, qvel, ctrl = parts
    return qpos, qvel, ctrl


def _feature_names(written: Any, key: str, size: int, folder: str | Path) -> list[str]:
    """Names of a LeRobot feature's parts: a list, or a list under some word such as ``motors``."""
    while isinstance(written, Mapping) and len(written) == 1:
        written = next(iter(written.values()))
    if isinstance(written, Mapping):
        written = list(written)
    if not isinstance(written, list) or len(written) != size:
        raise WarmstartError(
            f"Expected the names of the {size} parts of {key} in {folder}/meta/info.json, found {written!r}."
        )
    return [str(name) for name in written]
