"""Logs of an exported policy's runs as recordings of motion."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.sim2real.recordings.tables import Table, read_table
from warmstart.sim2real.recordings.trajectories import FEWEST, Trajectories
from warmstart.transfer.replaying.run_logs import RunLog, read_run_log


def read_log(path: str | Path, model: mujoco.MjModel, names: Mapping[str, str] | None = None) -> Trajectories:
    """Read a log: every observation once, with the command that followed it; `time` is the robot's clock.

    Where observations were lost, or an episode ended, another recording begins. Those from before the first
    command are left out: whatever held the robot then isn't known.

    Args:
        path: The log.
        model: The robot's model.
        names: What columns are called here, where they have other names.

    Raises:
        WarmstartError: It is no log, or columns are missing.
    """
    log = read_run_log(path)
    flat = [name for columns in log.observations.values() for name in columns]
    kept = ["time", *log.measured, *(f for f in flat if f.partition("/")[2] not in log.measured), *log.action]
    sound = np.isfinite(log.table(kept)).all(axis=1)
    rows = np.flatnonzero(log.news & sound)
    rows = rows[rows >= _first(log, rows)]
    number, episode = log.columns["number"][rows], log.columns["episode"][rows]
    begins = (np.diff(number, prepend=number[:1]) > 1) | (np.diff(episode, prepend=episode[:1]) != 0)
    part = np.cumsum(begins)
    lengths = np.bincount(part, minlength=1)
    long = lengths[part] >= FEWEST
    if not long.any():
        raise WarmstartError(f"{path}: nowhere did {FEWEST} observations come in a row.")
    cells = {name: log.columns[name][rows][long] for name in kept}
    found = read_table(Table(str(path), {**cells, "episode": part[long]}), model, names, Path(path).stem)
    notes = [*log.notes, *found.notes]
    missing = int((np.diff(number) - 1).clip(0).sum())
    if missing:
        notes.append(
            f"{path}: {missing} observations are missing or hold no numbers; recordings are cut there."
        )
    if not long.all():
        few = int((~long).sum())
        notes.append(f"{path}: {few} observations stand in parts of fewer than {FEWEST}; they are left out.")
    return replace(found, notes=tuple(notes))


def _first(log: RunLog, rows: NDArray[np.intp]) -> int:
    """The row from which the robot obeyed: the last before it knew of a command, else the first step's."""
    knows = np.flatnonzero(np.isfinite(log.columns["round_trip"][rows]))
    if len(knows):
        return int(rows[max(0, knows[0] - 1)])
    return int(np.flatnonzero(log.acted).min(initial=len(log.events)))
