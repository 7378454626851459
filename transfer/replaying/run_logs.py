"""Reads the logs of exported policies' runs: numbers by column, what the first line says, and the events."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.core.files import parse_json, read_text

HEAD = "# warmstart run log: "
FORMAT = 1
_MOST_COLUMNS, _MOST = 10_000, 1e15
_FINITE = ("episode", "number", "ended", "limited")
"""Columns without gaps."""
_NEEDED = ("time", "episode", "number", "reward", "ended", "clock", "late", "compute", "age", "round_trip")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RunLog:
    """A log, a row for every control step and for every command of the safe stop.

    Attributes:
        path: The file.
        rate: Control rate in Hz.
        measured: Columns that the robot gave beside its observations.
        observations: Columns of every signal.
        action: Columns of the commands.
        policy: Columns of what the policy gave.
        contract: Of the policy, as plain values.
        columns: Numbers by column; NaN where there are none. Shape: (n,) each.
        events: What happened, in words, by row; empty for most. Length: n.
        notes: What was left out.
    """

    path: Path
    rate: float
    measured: tuple[str, ...]
    observations: Mapping[str, tuple[str, ...]]
    action: tuple[str, ...]
    policy: tuple[str, ...]
    contract: Mapping[str, Any]
    columns: Mapping[str, Floats]
    events: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def table(self, names: Sequence[str]) -> Floats:
        """Columns side by side. Shape: (n, k)."""
        return np.stack([self.columns[name] for name in names], axis=1)

    @property
    def acted(self) -> NDArray[np.bool_]:
        """Rows of control steps; the others are the safe stop's. Shape: (n,)."""
        return np.isfinite(self.columns["late"])

    @property
    def news(self) -> NDArray[np.bool_]:
        """Rows whose observation is another than the row's before. Shape: (n,)."""
        number = self.columns["number"]
        return np.diff(number, prepend=-1.0) > 0

    @property
    def stop(self) -> str:
        """Why the run ended; empty where the log says nothing, since it was cut."""
        said = [event for event in self.events if event.startswith("safe stop: ")]
        return said[0].removeprefix("safe stop: ") if said else ""


def is_run_log(path: Path) -> bool:
    """Whether a file begins as a run's log."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEAD)) == HEAD.encode()


def read_run_log(path: str | Path) -> RunLog:
    """Read a log; half a row at its end, as a crash leaves it, is left out and told.

    Raises:
        WarmstartError: It is no such log, of another version, or damaged.
    """
    path = Path(path)
    first, _, rest = read_text(path).partition("\n")
    if not first.startswith(HEAD):
        raise WarmstartError(
            f"Expected a run's log in {path}, whose first line begins with {HEAD.strip()!r}."
        )
    head = parse_json(first.removeprefix(HEAD), f"{path}, line 1")
    measured, observations, action, policy, rate, contract = _head(head, path)
    names_line, _, body = rest.partition("\n")
    names = [name.strip('"') for name in _cells(names_line)]
    flat = [name for columns in observations.values() for name in columns]
    wanted = [*_NEEDED, *measured, *flat, *action, *policy, "limited", "event"]
    missing = [name for name in wanted if name not in names]
    if missing or len(set(names)) < len(names) or len(names) > _MOST_COLUMNS or names[-1] != "event":
        what = f"no column {missing[0]!r}" if missing else "columns that are no log's"
        raise WarmstartError(f"{path}, line 2: expected the columns that the first line names, found {what}.")
    lines, notes, whole = body.split("\n"), list[str](), [names.index(name) for name in _FINITE]
    if lines[-1]:
        notes.append(f"{path}: the last row was cut; it is left out.")
    rows, events = [], []
    for line, text in enumerate(lines[:-1], 3):
        cells = text.split(",", len(names) - 1)
        try:
            rows.append([float(cell) for cell in cells[:-1]])
        except ValueError:
            rows.append([])
        if len(cells) != len(names) or len(rows[-1]) != len(names) - 1:
            raise WarmstartError(f"{path}, line {line}: expected {len(names) - 1} numbers and an event.")
        if not all(math.isfinite(rows[-1][i]) and abs(rows[-1][i]) < _MOST for i in whole):
            raise WarmstartError(f"{path}, line {line}: expected numbers in {', '.join(_FINITE)}.")
        events.append(cells[-1].strip('"'))
    if not rows:
        raise WarmstartError(f"{path} has no row: the run ended before its first step.")
    values = np.array(rows)
    columns = {name: values[:, i] for i, name in enumerate(names[:-1])}
    clock = columns["clock"][np.isfinite(columns["late"])]
    if not (np.abs(clock) < _MOST).all():
        raise WarmstartError(f"{path}: expected the runner's clock, in s, in every row with a step.")
    return RunLog(
        path, rate, measured, observations, action, policy, contract, columns, tuple(events), tuple(notes)
    )


def _head(head: Any, path: Path) -> tuple[Any, ...]:
    """What the first line says."""
    found = head.get("format") if isinstance(head, dict) else None
    if found != FORMAT:
        raise WarmstartError(f"Expected a run's log of format {FORMAT} in {path}, found {found!r:.60}.")
    lists = [head.get(name) for name in ("measured", "action", "policy")]
    observations, rate, contract = head.get("observations"), head.get("rate"), head.get("contract")
    if not (
        all(map(_is_names, lists))
        and isinstance(observations, dict)
        and all(map(_is_names, observations.values()))
        and isinstance(rate, int | float)
        and 0 < rate < np.inf
        and isinstance(contract, dict)
    ):
        raise WarmstartError(f"{path}, line 1: its columns, rate or contract aren't those of a log.")
    measured, action, policy = map(tuple, lists)
    return measured, {key: tuple(each) for key, each in observations.items()}, action, policy, rate, contract


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _cells(line: str) -> list[str]:
    """Cells of a line whose cells may be quoted; none where it is no such line."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []
