"""The three kinds of file that hold other people's curves, one reader each. Nothing is unpickled."""

import csv
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name

EPISODES_PER_POINT = 10
"""Fewest training episodes of a monitor file that are averaged into one point."""
MAX_MONITOR_POINTS = 50

TRAINING_TAG = "rollout/ep_rew_mean"
TAGS = ("eval/mean_reward", "evaluation/return", TRAINING_TAG)
"""Tags that SB3 and warmstart write, the better ones first."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One recorded curve."""

    path: Path
    steps: NDArray[np.int64]
    """Shape: (points,)."""
    returns: NDArray[np.float64]
    """Mean return. Shape: (points,)."""
    seconds: NDArray[np.float64]
    """Wall-clock since the start, in s; NaN where unknown. Shape: (points,)."""
    notes: tuple[str, ...] = ()


def read_evaluations(path: Path) -> Recording:
    """Read what SB3's ``EvalCallback`` writes.

    Args:
        path: ``evaluations.npz`` with ``timesteps`` (points,) and ``results`` (points, episodes).

    Raises:
        WarmstartError: Truncated, or not such a file.
    """
    expected = "Expected the evaluations.npz of SB3's EvalCallback (timesteps, results)."
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in ("timesteps", "results") if key not in archive.files]
            if missing:
                raise WarmstartError(f"{path} holds no {' and no '.join(missing)}. {expected}")
            steps, results = archive["timesteps"], archive["results"]
    except WarmstartError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, AttributeError) as error:
        pickled = "allow_pickle" in str(error)
        why = "not an archive of plain numbers" if pickled else str(error) or type(error).__name__
        raise WarmstartError(f"{path} can't be read ({why}): truncated or foreign. {expected}") from error
    if not (np.issubdtype(steps.dtype, np.number) and np.issubdtype(results.dtype, np.number)):
        raise WarmstartError(f"{path} holds {steps.dtype} and {results.dtype}, not numbers. {expected}")
    if steps.ndim != 1 or results.ndim not in (1, 2) or len(steps) != len(results) or not len(steps):
        raise WarmstartError(
            f"{path}: timesteps of shape {steps.shape} and results of shape {results.shape}. Expected "
            "(points,) and (points, episodes)."
        )
    returns = results.reshape(len(steps), -1).astype(np.float64).mean(axis=1)
    return Recording(path, steps.astype(np.int64), returns, np.full(len(steps), np.nan))


def read_monitors(paths: Sequence[Path]) -> Recording:
    """Read the monitor files of one training run: one per environment, merged by time as SB3 does.

    Episodes are averaged in bins of equal steps, at least `EPISODES_PER_POINT` on average. A torn last line
    (a killed run) is skipped.

    Args:
        paths: ``monitor.csv`` or ``0.monitor.csv``, ``1.monitor.csv``, … of one run.

    Raises:
        WarmstartError: Not a monitor file, damaged, or without two episodes.
    """
    episodes = np.array([row for path in paths for row in _monitor_rows(path)], dtype=np.float64)
    if len(episodes) < 2:
        raise WarmstartError(f"{paths[0]} holds {len(episodes)} finished episodes; a curve needs two.")
    episodes = episodes[np.argsort(episodes[:, 2], kind="stable")]
    steps = np.cumsum(episodes[:, 1])
    points = int(np.clip(len(episodes) // EPISODES_PER_POINT, 2, MAX_MONITOR_POINTS))
    edges = np.linspace(0, steps[-1], points + 1)
    bins = np.clip(np.searchsorted(edges, steps, side="left") - 1, 0, points - 1)
    filled = np.unique(bins)
    returns = np.array([episodes[bins == i, 0].mean() for i in filled])
    seconds = np.array([episodes[bins == i, 2].max() for i in filled])
    note = "Monitor files record training episodes of the exploring policy, averaged in bins of steps."
    return Recording(paths[0], edges[filled + 1].astype(np.int64), returns, seconds, (note,))


def _monitor_rows(path: Path) -> list[tuple[float, float, float]]:
    """Return, length and time of each episode of one monitor file."""
    expected = 'Expected the monitor.csv of SB3\'s Monitor: a line #{"t_start": …}, then r,l,t.'
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WarmstartError(f"{path} can't be read ({error}). {expected}") from error
    try:
        header = json.loads(lines[0].removeprefix("#")) if lines and lines[0].startswith("#") else None
    except json.JSONDecodeError:
        header = None
    names = lines[1].split(",") if len(lines) > 1 else []
    if not isinstance(header, dict) or not {"r", "l", "t"} <= set(names):
        found = lines[0][:60] if lines else "an empty file"
        raise WarmstartError(f"{path} isn't a monitor file: it starts with {found!r}. {expected}")
    columns = [names.index(key) for key in ("r", "l", "t")]
    rows = []
    for number, cells in enumerate(csv.reader(lines[2:]), start=3):
        try:
            if len(cells) != len(names):
                raise ValueError
            rows.append((float(cells[columns[0]]), float(cells[columns[1]]), float(cells[columns[2]])))
        except ValueError:
            if number == len(lines):
                break
            raise WarmstartError(
                f"{path}, line {number}: expected {','.join(names)}, found {cells}."
            ) from None
    return rows


def is_events(path: Path) -> bool:
    """Whether a path is named like a TensorBoard event file."""
    return ".tfevents." in path.name


def read_events(path: Path, tag: str | None = None) -> Recording:
    """Read one scalar of TensorBoard event files.

    Where a run was continued after a crash, steps go back: what was written beyond that step is dropped.

    Args:
        path: An event file, or a folder of them that belong to one run.
        tag: The scalar; by default the first of `TAGS` that exists.

    Raises:
        WarmstartError: No readable events, or no such tag (the valid ones are listed).
    """
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    accumulator = EventAccumulator(str(path), size_guidance={SCALARS: 0})
    try:
        accumulator.Reload()
    except Exception as error:
        raise WarmstartError(f"{path} can't be read as TensorBoard events: {error}.") from error
    tags = list(accumulator.Tags()["scalars"])
    if not tags:
        raise WarmstartError(
            f"{path} holds no scalars: not an event file, or truncated before its first record."
        )
    chosen = tag or next((name for name in TAGS if name in tags), None)
    if chosen is None:
        raise WarmstartError(
            f"{path} holds none of {', '.join(TAGS)}. Choose one with --tag: {', '.join(sorted(tags))}."
        )
    if chosen not in tags:
        raise unknown_name(f"tag in {path}", chosen, tags)
    events: list[tuple[int, float, float]] = []
    for event in sorted(accumulator.Scalars(chosen), key=lambda item: item.wall_time):
        while events and events[-1][0] >= event.step:
            events.pop()
        events.append((int(event.step), float(event.value), float(event.wall_time)))
    begin = accumulator.FirstEventTimestamp()
    steps, values, times = (np.array(column) for column in zip(*events, strict=True))
    note = f"{TRAINING_TAG} is the return of the exploring policy, averaged over past episodes."
    notes = (note,) if chosen == TRAINING_TAG else ()
    since = np.maximum(times - begin, 0.0)
    return Recording(path, steps.astype(np.int64), values.astype(np.float64), since, notes)
