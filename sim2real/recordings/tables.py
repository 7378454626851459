"""Columns of a table by name: which is the time, an episode's id, a position, a velocity, a control."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import MOST_NAMES, WarmstartError, unknown_name
from warmstart.envs.simulation.dimensions import action_layout
from warmstart.sim2real.recordings.positions import Floats, columns
from warmstart.sim2real.recordings.trajectories import Trajectories, Trajectory, split_episodes

_TIME = re.compile(r"(.*[./])?(time|timestamp|stamp)|%time|__time|t|time_?s|time ?\[s\]|sec(ond)?s", re.I)
_SECONDS = re.compile(r"(.*stamp)[._/]s(ec|ecs)?", re.I)
_EPISODE = re.compile(r"(episode|trajectory|traj)([_ .]?(index|id|number))?", re.I)
_UNITS = ((1e17, 1e-9, "nanoseconds"), (1e14, 1e-6, "microseconds"), (1e11, 1e-3, "milliseconds"))
"""Times since 1970 from this number on, their unit in seconds, its name."""
_LAST = {
    "angle": ("angle", "position", "pos"),
    "position": ("position", "angle", "pos"),
    "velocity": ("velocity", "vel"),
}
"""How the last part of a column's name may be spelled."""


@dataclass
class Table:
    """Columns of a recording, of which those that nothing needs may hold anything.

    Attributes:
        path: What messages call it.
        cells: Text or numbers by column. Shape: (n,) each.
        lines: Line in the file of every row; empty where rows have none.
        repeated: Names that several columns have.
        comma: Whether numbers may have a decimal comma, column by column.
        others: Columns that weren't read, since they hold no numbers.
        used: Columns that were asked for.
    """

    path: str
    cells: Mapping[str, NDArray[Any]]
    lines: tuple[int, ...] = ()
    repeated: frozenset[str] = frozenset()
    comma: bool = False
    others: tuple[str, ...] = ()
    used: set[str] = field(default_factory=set)

    def column(self, name: str) -> NDArray[Any]:
        """The cells of a column, as they are. Shape: (n,).

        Raises:
            WarmstartError: Several columns have this name.
        """
        if name in self.repeated:
            raise WarmstartError(f"Expected one column {name!r} in {self.path}, found several.")
        self.used.add(name)
        return self.cells[name]

    def numbers(self, name: str) -> Floats:
        """A column as numbers; empty cells are NaN. Shape: (n,).

        Raises:
            WarmstartError: A cell is none.
        """
        cells = self.column(name)
        if cells.dtype.kind in "biuf":
            return cells.astype(float)
        comma = self.comma and not any("." in str(cell) for cell in cells)
        found = np.empty(len(cells))
        for row, cell in enumerate(cells):
            text = str(cell).strip()
            try:
                found[row] = float(text.replace(",", ".", 1) if comma else text) if text else np.nan
            except ValueError:
                where = f"line {self.lines[row]}" if self.lines else f"row {row}"
                raise WarmstartError(
                    f"{self.path}: expected numbers in {name}, found {text[:40]!r} in {where}."
                ) from None
        return found


def read_table(
    table: Table, model: mujoco.MjModel, names: Mapping[str, str] | None, name: str
) -> Trajectories:
    """Make trajectories of a table; what is guessed or isn't used stands in their notes.

    Args:
        table: The columns.
        model: The robot's model.
        names: What columns are called here (`columns`, ``time``, ``episode``), by their name in the table.
        name: What the recording is called.

    Raises:
        WarmstartError: A column is missing (the nearest are named) or holds no numbers where it is needed.
    """
    there, notes = _renamed(table, names or {}, model), list[str]()
    clock = _found("time", _TIME, there, table)
    if clock is None:
        raise missing("column", "time", table.path, table.cells)
    episode = _found("episode", _EPISODE, there, table)
    for what, column in (("time", clock), ("episode", episode)):
        if column is not None and what not in there:
            notes.append(f"{table.path}: {column} is taken for the {what}.")
    time = _time(table, clock, notes)
    ids = None if episode is None else table.column(episode)
    parts = _picked(table, there, model)
    commas = [c for c in table.used if table.comma and any("," in str(cell) for cell in table.cells[c])]
    if commas:
        notes.append(f"{table.path}: numbers are read with a decimal comma.")
    idle = [column or "(no name)" for column in table.cells if column not in table.used]
    idle += table.others
    if idle:
        shown = ", ".join(idle[:MOST_NAMES]) + (", …" if len(idle) > MOST_NAMES else "")
        notes.append(f"{table.path}: nothing needs the columns {shown}.")
    return split_episodes(Trajectory(name, time, *parts), ids, tuple(notes))


def missing(kind: str, name: str, where: str | Path, there: Iterable[str]) -> WarmstartError:
    """The error for a column or array that a file lacks: what it has, and which of it comes near."""
    names = list(there)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    return WarmstartError(f"Expected the {kind} {name!r} in {where}, found {shown or 'none'}.{hint}")


def _renamed(table: Table, names: Mapping[str, str], model: mujoco.MjModel) -> dict[str, str]:
    """The table's columns by what they are called here."""
    known = {"time", "episode", *(s for own in _spellings(model).values() for s in own)}
    there = {name: name for name in table.cells if name not in names}
    for column, own in names.items():
        if column not in table.cells:
            raise missing("column", column, table.path, table.cells)
        if own not in known:
            raise unknown_name("column to rename to:", own, known)
        if list(names.values()).count(own) > 1:
            raise WarmstartError(
                f"Expected one column of {table.path} to be renamed to {own}, found several."
            )
        if own in there:
            raise WarmstartError(
                f"Expected another name for {column} in {table.path}: there is a column {own} already."
            )
        there[own] = column
    return there


def _matching(pattern: re.Pattern[str], there: Mapping[str, str]) -> list[str]:
    """Columns whose name fits; of a stamp in seconds and nanoseconds, the seconds."""
    found = [name for name in there if pattern.fullmatch(name)]
    if pattern is _TIME:
        found += [name for name in there if _SECONDS.fullmatch(name) and _nanoseconds(name, there)]
    return found


def _found(what: str, pattern: re.Pattern[str], there: Mapping[str, str], table: Table) -> str | None:
    """The table's column of the time or the episodes, if there is one.

    Raises:
        WarmstartError: Several may be it.
    """
    if what in there:
        return there[what]
    likely = _matching(pattern, there)
    if len(likely) > 1:
        raise WarmstartError(
            f"{table.path}: {' and '.join(likely)} may be the {what}: say which by --rename "
            f"{likely[0]}={what}."
        )
    return likely[0] if likely else None


def _nanoseconds(column: str, there: Iterable[str]) -> str | None:
    """The column beside one of whole seconds that holds the rest."""
    stem = _SECONDS.fullmatch(column)
    rest = re.compile(re.escape(stem[1]) + r"[._/]n(ano)?s(ec|ecs)?", re.I) if stem else None
    return next((name for name in there if rest is not None and rest.fullmatch(name)), None)


def _time(table: Table, column: str, notes: list[str]) -> Floats:
    """Seconds: a column of numbers or dates, or one of seconds and one of nanoseconds. Shape: (n,)."""
    rest = _nanoseconds(column, table.cells)
    cells = table.column(column)
    if cells.dtype.kind not in "biuf" and len(cells):
        try:
            first = datetime.fromisoformat(str(cells[0]).strip())
            notes.append(f"{table.path}: {column} holds dates; time starts at the first.")
            return np.array([(datetime.fromisoformat(str(c).strip()) - first).total_seconds() for c in cells])
        except (ValueError, TypeError):
            pass
    values = table.numbers(column)
    if rest is not None:
        return np.asarray(values - values[:1] + 1e-9 * table.numbers(rest))
    usual = float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
    for least, unit, word in _UNITS:
        if usual > least:
            notes.append(f"{table.path}: {column} counts {word} since 1970; time starts at the first.")
            return np.asarray((values - values[0]) * unit)
    return values


def _spellings(model: mujoco.MjModel) -> dict[str, tuple[str, ...]]:
    """What each of the robot's columns may be called in a table."""
    controls = dict(zip(columns(model)["ctrl"], action_layout(model).names, strict=True))
    found = {}
    for part in columns(model).values():
        for name in part:
            stem, _, last = name.rpartition(".")
            others = [f"{stem}.{spelling}" for spelling in _LAST.get(last, (last,))]
            found[name] = tuple(dict.fromkeys([*others, controls.get(name, name)]))
    return found


def _picked(table: Table, there: Mapping[str, str], model: mujoco.MjModel) -> list[Floats]:
    """Positions, velocities (NaN where there are none) and controls in MuJoCo's order."""
    spellings, parts = _spellings(model), []
    rows = len(next(iter(table.cells.values()), ()))
    for kind, names in columns(model).items():
        found = []
        for name in names:
            spelled = next((there[each] for each in spellings[name] if each in there), None)
            if spelled is not None:
                found.append(table.numbers(spelled))
            elif kind == "qvel" and not difflib.get_close_matches(name, there, n=1, cutoff=0.9):
                found.append(np.full(rows, np.nan))  # `Trajectories.prepare` fills it in
            else:
                raise missing("column", name, table.path, there)
        parts.append(np.stack(found, axis=1) if found else np.zeros((rows, 0)))
    return parts
