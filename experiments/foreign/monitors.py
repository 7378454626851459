"""The training episodes that SB3's ``Monitor`` writes: one run, several environments, several sessions."""

import csv
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.core.files import read_text
from warmstart.experiments.foreign.recording import MOST_STEPS, Recording

EPISODES_PER_POINT = 10
"""Fewest training episodes of a monitor file that are averaged into one point."""
MAX_MONITOR_POINTS = 50

EXPECTED = 'Expected the monitor.csv of SB3\'s Monitor: a line #{"t_start": …}, then r,l,t.'


@dataclass(eq=False)
class _Session:
    """Episodes that one process wrote, in the order in which they ended."""

    start: float | None
    """Time of its start, in s since 1970; None where the file doesn't tell it."""
    rows: list[tuple[float, float, float]] = field(default_factory=list)
    """Return, length in steps, and s since the start."""


def read_monitors(paths: Sequence[Path]) -> Recording:
    """Read the monitor files of one training run.

    Each file's ``t_start`` says when it began: files whose times overlap are environments side by side, the
    others sessions one after the other. Within a file the order of its rows is the truth; where its time goes
    back, a session was appended to it. Episodes are averaged in bins of equal
    steps, at least `EPISODES_PER_POINT` on average.

    Args:
        paths: ``monitor.csv`` or ``0.monitor.csv``, ``1.monitor.csv``, … of one run.

    Raises:
        WarmstartError: Not a monitor file, damaged, or without two episodes.
    """
    notes = ["Monitor files record training episodes of the exploring policy, averaged in bins of steps."]
    files = [_sessions(path, notes) for path in paths]
    episodes = _by_time(files)
    if len(episodes) < 2:
        raise WarmstartError(f"{paths[0]} holds {len(episodes)} finished episodes; a curve needs two.")
    if note := _told(paths, files):
        notes.append(note)
    steps = np.cumsum(episodes[:, 1])
    points = int(np.clip(len(episodes) // EPISODES_PER_POINT, 2, MAX_MONITOR_POINTS))
    edges = np.linspace(0, steps[-1], points + 1)
    bins = np.clip(np.searchsorted(edges, steps, side="left") - 1, 0, points - 1)
    filled = np.unique(bins)
    returns = np.array([episodes[bins == i, 0].mean() for i in filled])
    seconds = np.array([episodes[bins == i, 2].max() for i in filled])
    return Recording(paths[0], edges[filled + 1].astype(np.int64), returns, seconds, tuple(notes))


def _by_time(files: Sequence[Sequence[_Session]]) -> NDArray[np.float64]:
    """Merge the episodes of all files by the time at which they ended.

    A session whose start isn't told begins when all sessions of that number before it have ended.

    Returns:
        Return, length and s since the start of the run. Shape: (episodes, 3).
    """
    begin = min((s.start for sessions in files for s in sessions if s.start is not None), default=0.0)
    merged: list[NDArray[np.float64]] = []
    ends = [0.0] * len(files)
    for number in range(max(map(len, files), default=0)):
        latest = max(ends)
        for index, sessions in enumerate(files):
            if number >= len(sessions) or not sessions[number].rows:
                continue
            start = sessions[number].start
            rows = np.array(sessions[number].rows)
            rows[:, 2] = np.maximum.accumulate(rows[:, 2]) + (latest if start is None else start - begin)
            rows[:, 2] = np.maximum(rows[:, 2], ends[index])
            ends[index] = float(rows[-1, 2])
            merged.append(rows)
    if not merged:
        return np.zeros((0, 3))
    table = np.concatenate(merged)
    return table[np.argsort(table[:, 2], kind="stable")]


def _told(paths: Sequence[Path], files: Sequence[Sequence[_Session]]) -> str:
    """Say in which order sessions were put; empty where there is one."""
    spans = sorted(
        (s.start, s.start + max(row[2] for row in s.rows))
        for sessions in files
        for s in sessions
        if s.start is not None and s.rows
    )
    ends = list(itertools.accumulate((end for _, end in spans), max))
    pauses = [new[0] - end for new, end in zip(spans[1:], ends, strict=False) if new[0] > end]
    unknown = sum(s.start is None for sessions in files for s in sessions)
    said = ""
    if pauses or unknown:
        longest = f" The longest pause between them, {max(pauses):,.0f} s, counts as time." if pauses else ""
        guessed = (
            " A session without a start of its own follows the one before it at once." if unknown else ""
        )
        said = (
            f"{paths[0].parent}: sessions of one run ({len(pauses) + 1 + unknown}), put in sequence by their "
            f"starts (t_start) and the order of the rows.{longest}{guessed}"
        )
    if len(files) > 1 and len(pauses) + 1 < len(spans):
        beside = f"{len(files)} files overlap in time and are taken for environments of one run."
        said = f"{said} {paths[0].parent}: {beside}".strip()
    return said


def _sessions(path: Path, notes: list[str]) -> list[_Session]:
    """The sessions in one file: a new one begins at another header, and where the time goes back."""
    try:
        lines = read_text(path).splitlines()
    except (FileNotFoundError, WarmstartError) as error:
        raise WarmstartError(f"{error} {EXPECTED}") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    sessions: list[_Session] = []
    names: list[str] = []
    for position, (number, line) in enumerate(numbered):
        if line.startswith("#"):
            sessions.append(_Session(_start(path, number, line)))
            names = []
        elif not sessions:
            raise WarmstartError(f"{path} isn't a monitor file: it starts with {line[:60]!r}. {EXPECTED}")
        elif not names:
            names = [name.strip() for name in next(csv.reader([line]))]
            if not {"r", "l", "t"} <= set(names):
                raise WarmstartError(
                    f"{path} isn't a monitor file: line {number} is {line[:60]!r}. {EXPECTED}"
                )
        else:
            row = _row(line, names)
            if row is None and position == len(numbered) - 1:
                notes.append(f"{path}: its last line {line[:60]!r} was torn off and is left out.")
                break
            if row is None:
                raise WarmstartError(
                    f"{path}, line {number}: expected {','.join(names)}, found {line[:60]!r}."
                )
            if sessions[-1].rows and row[2] < sessions[-1].rows[-1][2]:
                sessions.append(_Session(None))
            sessions[-1].rows.append(row)
    if not sessions:
        raise WarmstartError(f"{path} isn't a monitor file: it is an empty file. {EXPECTED}")
    return sessions


def _start(path: Path, number: int, line: str) -> float | None:
    """``t_start`` of a header; None where there is none."""
    try:
        header = json.loads(line.removeprefix("#"))
        start = header.get("t_start")
        if start is None:
            return None
        found = float(start)
        if math.isfinite(found) and not isinstance(start, bool):
            return found
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        pass
    raise WarmstartError(f"{path} isn't a monitor file: line {number} is {line[:60]!r}. {EXPECTED}")


def _row(line: str, names: Sequence[str]) -> tuple[float, float, float] | None:
    """Return, length and time of an episode; None where the line isn't one."""
    try:
        cells = next(csv.reader([line]))
        if len(cells) != len(names):
            return None
        r, length, t = (float(cells[names.index(key)]) for key in ("r", "l", "t"))
    except (ValueError, csv.Error):
        return None
    return (r, length, t) if 0 < length <= MOST_STEPS and 0 <= t < math.inf else None
