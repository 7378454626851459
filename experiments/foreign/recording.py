"""One curve read from a file of others, and what to do where its steps go back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from warmstart.core.errors import WarmstartError

MOST_STEPS = 1e15
"""Largest number of training steps that is believed."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One recorded curve."""

    path: Path
    steps: NDArray[np.int64]
    """In increasing order. Shape: (points,)."""
    returns: NDArray[np.float64]
    """Mean return. Shape: (points,)."""
    seconds: NDArray[np.float64]
    """Wall-clock since the start, in s; NaN where unknown. Shape: (points,)."""
    notes: tuple[str, ...] = ()
    """What was put in sequence, left out or guessed, a sentence each."""


def whole_steps(values: ArrayLike, where: str) -> NDArray[np.int64]:
    """Training steps as whole numbers.

    Args:
        values: As they were read. Shape: (points,).
        where: What error messages call them.

    Returns:
        Shape: (points,).

    Raises:
        WarmstartError: One isn't a whole number from 0 to `MOST_STEPS`.
    """
    steps = np.asarray(values, np.float64)
    wrong = ~((steps >= 0) & (steps <= MOST_STEPS) & (steps == np.round(steps)))
    if wrong.any():
        raise WarmstartError(
            f"{where}: expected steps that are whole numbers at least 0, found {steps[wrong][0]:g} at row "
            f"{int(np.flatnonzero(wrong)[0]) + 1}."
        )
    return steps.astype(np.int64)


def starts_anew(step: int, steps: NDArray[np.int64]) -> bool:
    """Whether a step that goes back is one of a count from the beginning.

    Args:
        step: The step after the others.
        steps: The steps before it, in increasing order. Shape: (points,).

    Returns:
        True where it lies no later than the first, or within one interval of 0.
    """
    interval = float(np.median(np.diff(steps))) if len(steps) > 1 else float(steps[0])
    return bool(step <= max(float(steps[0]), interval))


def in_sequence(
    steps: NDArray[np.int64], where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Put evaluations whose steps go back in one sequence.

    A count that starts anew (``learn`` in a loop) is counted on from the evaluation before it. A count that
    goes back less far is a run that continued from an earlier checkpoint: what was recorded beyond that is
    left out. Of two evaluations at one step the later counts.

    Args:
        steps: As recorded. Shape: (points,).
        where: What notes call the file.

    Returns:
        Increasing steps, which of the points they are (both of shape (kept,)), and a sentence about each kind
        of change.
    """
    kept: list[int] = []
    total: list[int] = []
    part: list[int] = []
    offset = anew = left_out = repeated = 0
    one = len(np.unique(steps)) == 1  # one evaluation in each call of learn()
    for index, step in enumerate(map(int, steps)):
        back = bool(part) and (one or step < part[-1])
        if back and starts_anew(step, np.array(part)):
            offset, anew, part = total[-1], anew + 1, []
        while total and total[-1] >= step + offset:
            repeated += total[-1] == step + offset
            left_out += total[-1] > step + offset
            for held in (total, kept, part):
                del held[-1:]
        part.append(step)
        total.append(step + offset)
        kept.append(index)
    notes = []
    if anew:
        notes.append(
            f"{where}: its steps start anew {_times(anew)}, as where learn() is called again; the parts are "
            "put in sequence, each counted on from the last evaluation of the one before."
        )
    if left_out:
        notes.append(
            f"{where}: its steps go back. That is taken for one run continued from an earlier checkpoint; "
            f"what was recorded beyond that is left out ({left_out} evaluations); if they are several runs, "
            "give each file by itself, as ARM=PATH."
        )
    if repeated:
        notes.append(f"{where}: {repeated} steps were evaluated twice; the later evaluation counts.")
    return np.array(total, np.int64), np.array(kept, np.int64), notes


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
