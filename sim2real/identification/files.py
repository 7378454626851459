"""Files that recorded motion comes in: NumPy archives, CSV, Minari and LeRobot datasets."""

import csv
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.trajectories import (
    Floats,
    Trajectories,
    Trajectory,
    control_period,
    missing,
    pick_columns,
    robot_of,
    split_episodes,
)

_DATA = "it needs a package that is not installed: pip install 'warmstart[data]'."


def read(path: str | Path, task: Task, names: Mapping[str, str] | None = None) -> Trajectories:
    """Read recordings by what they are: ``.npz``, ``.csv``, a LeRobot folder, or a Minari dataset's id.

    Args:
        path: A file, a folder or ``minari:ID``, a dataset on this machine.
        task: The task whose robot it is.
        names: For CSV and LeRobot: what the file's columns are called here; see `columns`.

    Raises:
        WarmstartError: It can't be read, or it doesn't fit the task.
    """
    text = str(path)
    model = robot_of(task).model()
    if text.startswith("minari:"):
        found = read_minari(text.removeprefix("minari:"), control_period(task))
    elif not Path(text).exists():
        raise WarmstartError(f"Expected recorded trajectories at {text}, found nothing there.")
    elif Path(text).is_dir():
        found = read_lerobot(text, model, names)
    elif text.endswith(".csv"):
        found = read_csv(text, model, names)
    elif text.endswith(".npz"):
        found = read_npz(text)
    else:
        raise WarmstartError(
            f"Expected a .npz or .csv file, a LeRobot dataset's folder or minari:ID, found {text}."
        )
    found.check(task)
    return found


def read_npz(path: str | Path) -> Trajectories:
    """Read arrays ``time`` (n,), ``qpos`` (n, nq), ``qvel`` (n, nv), ``ctrl`` or ``action`` (n, nu).

    An array ``episode`` (n,) of ids says which rows belong together; without it they are one recording.

    Raises:
        WarmstartError: It is no such file, or an array is missing, holds no numbers or has another shape.
    """
    arrays = _arrays(path)
    if "ctrl" not in arrays and "action" in arrays:
        arrays["ctrl"] = arrays["action"]
    for key in ("time", "qpos", "qvel", "ctrl"):
        if key not in arrays:
            raise missing("array", key, path, arrays)
    whole = Trajectory(Path(path).stem, arrays["time"], arrays["qpos"], arrays["qvel"], arrays["ctrl"])
    return split_episodes(whole, arrays.get("episode"))


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
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:  # Excel begins with a mark
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise WarmstartError(f"Expected a table of comma-separated text in {path}, found {error}.") from None
    (_, first), *rows = lines or [(1, [])]
    header = [name.strip() for name in first]
    if not rows:
        found = f"a row of {len(header)} names alone" if header else "an empty file"
        raise WarmstartError(f"Expected a row of names and rows of numbers in {path}, found {found}.")
    for line, row in rows:
        if len(row) != len(header):
            raise WarmstartError(f"{path}: expected {len(header)} cells in line {line}, found {len(row)}.")
    table = {name: [(line, row[i]) for line, row in rows] for i, name in enumerate(header)}
    numbers = {name: _numbers(path, name, cells) for name, cells in table.items() if name != "episode"}
    parts = pick_columns(numbers, model, names or {}, str(path))
    if "time" not in numbers:
        raise missing("column", "time", path, numbers)
    episode = np.array([cell for _, cell in table["episode"]]) if "episode" in table else None
    return split_episodes(Trajectory(Path(path).stem, numbers["time"], *parts), episode)


def read_minari(dataset: Any, period: float) -> Trajectories:
    """Read a Minari dataset whose infos hold ``qpos`` and ``qvel`` for every observation.

    Args:
        dataset: A dataset, or the id of one that lies on this machine.
        period: Seconds between its steps, which Minari doesn't record.

    Raises:
        WarmstartError: Minari isn't installed, there is no such dataset, or it has no full state.
    """
    if isinstance(dataset, str):
        dataset = _load_minari(dataset)
    items = []
    for episode in dataset.iterate_episodes():
        infos, actions = episode.infos or {}, np.asarray(episode.actions, dtype=float)
        for key in ("qpos", "qvel"):
            if key not in infos:
                raise WarmstartError(
                    f"Expected infos with qpos and qvel in episode {episode.id}, found "
                    f"{', '.join(sorted(infos)) or 'none'}: observations alone don't hold a full state. "
                    "Put the environment's qpos and qvel into its infos, at reset, too, and record with "
                    "minari.DataCollector(env, record_infos=True)."
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
        from pyarrow import ArrowInvalid
    except ImportError:
        raise WarmstartError(f"To read the LeRobot dataset {folder}, {_DATA}") from None
    info, files = Path(folder) / "meta" / "info.json", sorted(Path(folder).glob("data/**/*.parquet"))
    if not info.is_file() or not files:
        raise WarmstartError(f"Expected meta/info.json and data/**/*.parquet in {folder}, found no such.")
    try:
        described = json.loads(info.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WarmstartError(f"Expected JSON in {info}: {error}.") from None
    features = described.get("features") if isinstance(described, Mapping) else None
    if not isinstance(features, Mapping):
        raise WarmstartError(f"Expected the dataset's features by name in {info}, found none.")
    wanted = ("observation.state", "action", "timestamp", "episode_index")
    tables = []
    for file in files:
        try:
            there = parquet.read_schema(file).names
            for key in wanted:
                if key not in there:
                    raise missing("column", key, file, there)
            tables.append(parquet.read_table(file, columns=list(wanted)).to_pydict())
        except (ArrowInvalid, OSError) as error:
            raise WarmstartError(f"Expected a Parquet file at {file}: {error}") from None
    data = {key: np.array([value for table in tables for value in table[key]]) for key in wanted}
    mapping, numbers, known = dict(names or {}), dict[str, Floats](), list[str]()
    for key, prefix in (("observation.state", ""), ("action", "action/")):
        feature = features.get(key)
        written = feature.get("names") if isinstance(feature, Mapping) else None
        named = _feature_names(written, key, data[key].shape[1], folder)
        known += [*named, *(f"action/{part}" for part in named if prefix)]
        for i, part in enumerate(named):
            own = mapping.get(f"{prefix}{part}", mapping.get(part) if not prefix else None)
            numbers.setdefault(own or (part if part not in numbers else f"{prefix}{part}"), data[key][:, i])
    for name in mapping:
        if name not in known:
            raise missing("column", name, folder, dict.fromkeys(known))
    order = np.lexsort((data["timestamp"], data["episode_index"]))
    parts = pick_columns({k: v[order] for k, v in numbers.items()}, model, {}, str(folder))
    whole = Trajectory(Path(folder).name, data["timestamp"][order], *parts)
    return split_episodes(whole, data["episode_index"][order])


def _arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of a NumPy archive."""
    arrays = {}
    with Path(path).open("rb") as opened:  # which numpy would leave open where it is broken
        try:
            file = np.load(opened, allow_pickle=False)
        except (ValueError, EOFError, BadZipFile):  # text, an empty file, a broken archive
            file = None
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise WarmstartError(
                f"Expected an archive of arrays (numpy.savez) at {path}, found another file."
            )
        with file:
            for key in file.files:
                try:
                    arrays[key] = file[key]
                except (ValueError, EOFError, BadZipFile, zlib.error) as error:
                    kind = "Python objects" if "pickle" in str(error) else "broken data"
                    raise WarmstartError(
                        f"{path}: expected numbers in the array {key!r}, found {kind}."
                    ) from None
    return arrays


def _load_minari(name: str) -> Any:
    """A Minari dataset that lies on this machine."""
    try:
        import minari  # type: ignore[import-not-found, unused-ignore]

        return minari.load_dataset(name)
    except ImportError as error:  # minari, or h5py, which its files need
        raise WarmstartError(f"To read the Minari dataset {name}, {_DATA} ({error})") from None
    except FileNotFoundError:
        raise unknown_name("Minari dataset on this machine:", name, minari.list_local_datasets()) from None


def _numbers(path: str | Path, name: str, cells: Iterable[tuple[int, str]]) -> Floats:
    found = []
    for line, cell in cells:
        try:
            found.append(float(cell or "nan"))
        except ValueError:
            raise WarmstartError(
                f"{path}: expected numbers in {name}, found {cell!r} in line {line}."
            ) from None
    return np.array(found)


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
