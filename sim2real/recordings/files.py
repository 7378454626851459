"""Files that recorded motion comes in: NumPy archives, CSV, Minari and LeRobot datasets."""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.agents.untrusted.arrays import read_array
from warmstart.agents.untrusted.zips import open_zip
from warmstart.core.errors import WarmstartError
from warmstart.core.files import parse_json, read_text
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.recordings.logs import read_log
from warmstart.sim2real.recordings.parquet import read_parquet
from warmstart.sim2real.recordings.positions import Floats
from warmstart.sim2real.recordings.tables import Table, missing, read_table
from warmstart.sim2real.recordings.trajectories import (
    Angles,
    Trajectories,
    Trajectory,
    control_period,
    robot_of,
    split_episodes,
)
from warmstart.transfer.replaying.datasets import load_minari
from warmstart.transfer.replaying.run_logs import is_run_log

MOST_BYTES = 1 << 31
"""Most bytes of recordings that are read from one file."""
MOST_COLUMNS, LONGEST_LINE = 10_000, 1 << 20
"""Most columns of a table, and most characters of a line."""
_DATA = "it needs a package that is not installed: pip install 'warmstart[data]'."


def read_recordings(
    path: str | Path, task: Task, names: Mapping[str, str] | None = None, angles: Angles | None = None
) -> Trajectories:
    """Read recordings by what they are: ``.npz``, ``.csv``, a run's log, a LeRobot folder, a Minari id.

    Args:
        path: A file, a folder or ``minari:ID``, a dataset on this machine.
        task: The task whose robot it is.
        names: For CSV and LeRobot: what the file's columns are called here; see `columns`.
        angles: What its angles are in: radians or degrees; None refuses what looks like degrees.

    Raises:
        WarmstartError: It can't be read, it doesn't fit the task, or its angles look like degrees.
    """
    text = str(path)
    kind = Path(text).suffix.lower()
    model = robot_of(task).model()
    if text.startswith("minari:"):
        found = read_minari(text.removeprefix("minari:"), control_period(task), model)
    elif not Path(text).exists():
        raise WarmstartError(f"Expected recorded trajectories at {text}, found nothing there.")
    elif Path(text).is_dir() or kind == ".parquet":
        found = read_lerobot(text, model, names)
    elif kind in (".csv", ".tsv", ".txt"):
        read = read_log if is_run_log(Path(text)) else read_csv
        found = read(text, model, names)
    elif kind == ".npz":
        found = read_npz(text, model)
    else:
        raise WarmstartError(
            "Expected a .npz, .csv, .tsv or .parquet file, a LeRobot dataset's folder or minari:ID, found "
            f"{text}."
        )
    if names and (text.startswith("minari:") or kind == ".npz"):
        raise WarmstartError(f"Columns are renamed in CSV and LeRobot recordings; {text} has none.")
    return replace(found, angles=angles).prepare(task)


def read_npz(path: str | Path, model: mujoco.MjModel) -> Trajectories:
    """Read arrays ``time`` (n,), ``qpos`` (n, nq), ``qvel`` (n, nv), ``ctrl`` or ``action`` (n, nu).

    Velocities may be missing.
    An array ``episode`` (n,) of ids says which rows belong together; without it they are one recording.

    Raises:
        WarmstartError: It is no such file, or an array is missing, holds no numbers or has another shape.
    """
    arrays = _arrays(path)
    if "ctrl" not in arrays and "action" in arrays:
        arrays["ctrl"] = arrays["action"]
    for key in ("time", "qpos", "ctrl"):
        if key not in arrays:
            raise missing("array", key, path, arrays)
    if "qvel" not in arrays:
        arrays["qvel"] = np.full((len(np.atleast_1d(arrays["time"])), model.nv), np.nan)
    whole = Trajectory(Path(path).stem, arrays["time"], arrays["qpos"], arrays["qvel"], arrays["ctrl"])
    return split_episodes(whole, arrays.get("episode"))


def read_csv(path: str | Path, model: mujoco.MjModel, names: Mapping[str, str] | None = None) -> Trajectories:
    """Read a table with a column ``time``, one for each of `columns`, and perhaps ``episode``.

    Lines before the names that begin with ``#`` are comments (one that names the columns is taken for the
    names). Commas, semicolons or tabs separate cells; beside the latter two, numbers may have a decimal
    comma.
    ``JOINT.position`` may stand for ``JOINT.angle`` and the other way round, an action's name in the task's
    layout (``JOINT.torque``) for ``ACTUATOR.ctrl``; ``timestamp``, ``header.stamp`` and the like for
    ``time``, ``episode_index`` for ``episode``. Velocities may be missing.

    Args:
        path: The file; the first row names the columns.
        model: The robot's model.
        names: What the file's columns are called here, where they have other names.

    Raises:
        WarmstartError: A column is missing (the nearest are named) or a cell that is needed is no number.
    """
    text = _without_comments(read_text(Path(path)))
    delimiter = max(
        ",;\t", key=text.strip().partition("\n")[0].count
    )  # the first of those that are as frequent
    longest = max(map(len, text.split("\n")))
    if longest > LONGEST_LINE:
        raise WarmstartError(
            f"Expected lines of at most {LONGEST_LINE:,} characters in {path}, found {longest:,}."
        )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise WarmstartError(f"Expected a table of comma-separated text in {path}, found {error}.") from None
    (_, first), *rows = lines or [(1, [])]
    header = [name.strip() for name in first]
    if len(header) > MOST_COLUMNS:
        raise WarmstartError(f"Expected at most {MOST_COLUMNS:,} columns in {path}, found {len(header):,}.")
    if not rows:
        found = f"a row of {len(header)} names alone" if header else "an empty file"
        raise WarmstartError(f"Expected a row of names and rows of numbers in {path}, found {found}.")
    for line, row in rows:
        if len(row) != len(header):
            raise WarmstartError(f"{path}: expected {len(header)} cells in line {line}, found {len(row)}.")
    cells = {name: np.array([row[i] for _, row in rows], dtype=object) for i, name in enumerate(header)}
    repeated = frozenset(name for name, count in Counter(header).items() if count > 1)
    table = Table(str(path), cells, tuple(line for line, _ in rows), repeated, comma=delimiter != ",")
    return read_table(table, model, names, Path(path).stem)


def read_minari(dataset: Any, period: float, model: mujoco.MjModel) -> Trajectories:
    """Read a Minari dataset whose infos hold ``qpos``, and perhaps ``qvel``, for every observation.

    Args:
        dataset: A dataset, or the id of one that lies on this machine.
        period: Seconds between its steps, which Minari doesn't record.
        model: The robot's model.

    Raises:
        WarmstartError: Minari isn't installed, there is no such dataset, or it has no full state.
    """
    if isinstance(dataset, str):
        dataset = load_minari(dataset)
    items = []
    for episode in dataset.iterate_episodes():
        infos, actions = episode.infos or {}, np.asarray(episode.actions, dtype=float)
        if "qpos" not in infos:
            raise WarmstartError(
                f"Expected infos with qpos and qvel in episode {episode.id}, found "
                f"{', '.join(sorted(infos)) or 'none'}: observations alone don't hold a full state. "
                "Put the environment's qpos and qvel into its infos, at reset, too, and record with "
                "minari.DataCollector(env, record_infos=True)."
            )
        qpos = np.asarray(infos["qpos"], dtype=float)
        qvel = np.asarray(infos.get("qvel", np.full((len(qpos), model.nv), np.nan)), dtype=float)
        n = min(len(qpos), len(actions) + 1)
        ctrl: Floats = np.concatenate([actions, actions[-1:]])[:n]
        items.append(
            Trajectory(f"episode {episode.id}", period * np.arange(float(n)), qpos[:n], qvel[:n], ctrl)
        )
    return Trajectories(tuple(items))


def read_lerobot(
    path: str | Path, model: mujoco.MjModel, names: Mapping[str, str] | None = None
) -> Trajectories:
    """Read a LeRobot dataset or any Parquet files: columns of numbers, or of lists of numbers.

    The parts of a list are called as ``meta/info.json`` (``meta_data/info.json`` in the first datasets) names
    them, else ``observation.state[0]`` and so on; the column's name and a slash stand before a part whose
    name another column has, too (``action/elbow``). Units are those of `columns`.

    Args:
        path: The dataset's folder, or a ``.parquet`` file.
        model: The robot's model.
        names: What the parts are called here (`columns`), by their name there.

    Raises:
        WarmstartError: pyarrow isn't installed, there are no such files, or a column isn't there.
    """
    folder = Path(path)
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.parquet"))
    files = [file for file in files if file.parent == folder or "meta" not in file.relative_to(folder).parts]
    if not files:
        raise WarmstartError(
            f"Expected a LeRobot dataset (data/**/*.parquet) in {path}, found no such files."
        )
    tables, others = list[dict[str, NDArray[Any]]](), dict[str, None]()
    for file in files:
        try:
            columns, odd_ones = read_parquet(file, folder if folder.is_dir() else None)
        except ImportError:
            raise WarmstartError(f"To read the LeRobot dataset {path}, {_DATA}") from None
        tables.append(columns)
        others |= dict.fromkeys(odd_ones)
        if tables[0].keys() != tables[-1].keys():
            odd = ", ".join(sorted(tables[0].keys() ^ tables[-1].keys()))
            raise WarmstartError(f"Expected the same columns in {files[0]} and {file}, found {odd} in one.")
    try:
        data = {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}
    except ValueError as error:
        raise WarmstartError(f"Expected lists of the same length in all files of {path}: {error}.") from None
    mapping, numbers = dict(names or {}), dict[str, Floats]()
    described = _described(folder)
    for key in sorted(data, key="action".__eq__):  # actions last: they give way where names are the same
        if data[key].ndim == 1:
            numbers[key] = data[key]
            continue
        for i, part in enumerate(_part_names(described.get(key), key, data[key].shape[1])):
            shared = part in numbers or f"{key}/{part}" in mapping
            numbers[f"{key}/{part}" if shared else part] = data[key][:, i]
    order = [numbers[key] for key in ("frame_index", "timestamp", "episode_index") if key in numbers]
    if "episode_index" in numbers and all(key.dtype != object for key in order):
        rows = np.lexsort(order)
        numbers = {key: values[rows] for key, values in numbers.items()}
    return read_table(Table(str(path), numbers, others=tuple(sorted(others))), model, mapping, folder.stem)


def _without_comments(text: str) -> str:
    """A table's text with its first lines empty as far as they begin with ``#``.

    The last of them stays, without its mark, where it has a name for each number below it, as
    `numpy.savetxt` writes it.
    """
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    comments, below = lines[:first], (lines[first] if first < len(lines) else "")
    lines[:first] = [""] * first
    written = [comment.lstrip("# ") for comment in comments if comment.strip()]
    named = not all(map(_is_number, _split(below)))
    if written and not named and len(_split(written[-1])) == len(_split(below)):
        lines[first - 1] = written[-1]
    return "\n".join(lines)


def _split(line: str) -> list[str]:
    return line.split(max(",;\t", key=line.count))


def _is_number(cell: str) -> bool:
    try:
        return bool(cell.strip()) and not np.isinf(float(cell.replace(",", ".")))
    except ValueError:
        return False


def _arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of a NumPy archive."""
    arrays = {}
    with open_zip(Path(path), MOST_BYTES, what="an archive of arrays (numpy.savez)") as packed:
        for name in packed.namelist():
            try:
                arrays[name.removesuffix(".npy")] = read_array(packed, name)
            except WarmstartError as error:
                raise WarmstartError(f"{path}: {error}") from None
    return arrays


def _described(folder: Path) -> Mapping[str, Any]:
    """The features of a LeRobot dataset, by name; none where it has no description."""
    for info in (folder / "meta" / "info.json", folder / "meta_data" / "info.json"):
        if info.is_file():
            held = parse_json(read_text(info, within=folder), str(info))
            features = held.get("features") if isinstance(held, dict) else None
            if not isinstance(features, dict) or not all(isinstance(v, dict) for v in features.values()):
                raise WarmstartError(f"Expected the dataset's features by name in {info}, found none.")
            return {key: value["names"] for key, value in features.items() if "names" in value}
    return {}


def _part_names(written: Any, key: str, size: int) -> list[str]:
    """Names of a list's parts: a list, or a list under some word such as ``motors``; else numbers."""
    while isinstance(written, Mapping) and len(written) == 1:
        written = next(iter(written.values()))
    parts = list(written) if isinstance(written, Mapping | list) else []
    return [str(name) for name in parts] if len(parts) == size else [f"{key}[{i}]" for i in range(size)]
