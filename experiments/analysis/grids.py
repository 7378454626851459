"""Curves of one run brought onto one grid of steps, so that arms and seeds can be compared point by point.

A study evaluates every trial on the same grid and nothing changes; curves that others made are interpolated
linearly within the range that all of them cover, never beyond it.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from warmstart.experiments.analysis.curves import Curve, RunData

Floats = NDArray[np.float64]

MAX_POINTS = 200
"""Most points of a grid that is made for curves with differing steps."""


@dataclass(frozen=True, eq=False)
class GriddedArm:
    """Comparable curves of one arm, one row per seed."""

    name: str
    seeds: tuple[int, ...]
    """Seeds in ascending order. Length: n."""
    returns: Floats
    """Return at each grid point. Shape: (n, points)."""
    seconds: Floats
    """Training wall-clock at each grid point, in s; NaN where unknown. Shape: (n, points)."""
    source_steps: Floats
    """Training steps of each trial's source agent. Shape: (n,)."""
    source_seconds: Floats
    """Training wall-clock of each trial's source agent, in s. Shape: (n,)."""
    constant: bool
    """Whether nothing trained: one evaluation, held over the grid."""

    def rows(self, seeds: tuple[int, ...]) -> NDArray[np.int64]:
        """Rows of the given seeds. Shape: (len(seeds),)."""
        return np.array([self.seeds.index(seed) for seed in seeds], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Gridded:
    """All comparable curves of a run on one grid."""

    steps: Floats
    """Training steps of the grid. Shape: (points,); empty where nothing can be compared."""
    arms: dict[str, GriddedArm]
    notes: tuple[str, ...]
    """What was left out, cut or interpolated, for the reader."""

    @property
    def starts_untrained(self) -> bool:
        """Whether the grid's first point is the policy before any training."""
        return bool(len(self.steps)) and self.steps[0] == 0


def to_grid(run: RunData) -> Gridded:
    """Bring the finished curves of a run onto one grid.

    Left out, with a note: trials that haven't finished; curves that end before half of the median curve;
    a second curve of the same arm and seed; points whose return isn't finite; arms without any curve left.
    """
    notes: list[str] = []
    curves = _usable(run, notes)
    trained = [curve for curve in curves if not curve.constant]
    if not trained:
        steps = np.unique(np.concatenate([c.steps for c in curves])).astype(float) if curves else np.zeros(0)
        return Gridded(steps[:1], _arms(run, curves, steps[:1]), tuple(notes))
    first = max(float(curve.steps[0]) for curve in trained)
    last = min(float(curve.steps[-1]) for curve in trained)
    longest = max(float(curve.steps[-1]) for curve in trained)
    if last <= first:
        notes.append(
            f"The curves share no range of steps ({first:,.0f} to {last:,.0f}): nothing is compared."
        )
        return Gridded(np.zeros(0), {}, tuple(notes))
    if longest > last * 1.01:
        notes.append(
            f"Curves end at different steps ({last:,.0f} to {longest:,.0f}): compared up to {last:,.0f}."
        )
    grid = _grid(trained, first, last, notes)
    if grid[0] != 0:
        notes.append(
            f"The first common evaluation is at step {grid[0]:,.0f}, not at 0: "
            "the jumpstart and the dip below the start are unknown."
        )
    return Gridded(grid, _arms(run, curves, grid), tuple(notes))


def _usable(run: RunData, notes: list[str]) -> list[Curve]:
    """Finished curves, one per arm and seed, long enough to be compared."""
    kept: dict[tuple[str, int], Curve] = {}
    ends = [curve.steps[-1] for curve in run.curves if curve.complete and len(curve.steps) > 1]
    half = float(np.median(ends)) / 2 if ends else 0.0
    for curve in run.curves:
        name = f"{curve.arm}, seed {curve.seed}"
        curve = _finite(curve, notes)
        if not curve.complete:
            notes.append(f"{name} hasn't finished: drawn, but left out of the comparison.")
        elif not len(curve.steps):
            notes.append(f"{name} holds no evaluation: left out.")
        elif not curve.constant and (len(curve.steps) < 2 or curve.steps[-1] < half):
            notes.append(f"{name} ends at step {curve.steps[-1]:,}, far before the others: left out.")
        elif (curve.arm, curve.seed) in kept:
            notes.append(f"{name} occurs twice: the first one is used.")
        else:
            kept[curve.arm, curve.seed] = curve
    return list(kept.values())


def _finite(curve: Curve, notes: list[str]) -> Curve:
    """The curve without points whose return isn't a number, in increasing order of steps."""
    good = np.isfinite(curve.returns)
    kept = np.flatnonzero(good)
    kept = kept[np.argsort(curve.steps[kept], kind="stable")]
    # Of evaluations at the same step the last one counts (a run that was continued).
    kept = kept[np.diff(curve.steps[kept], append=np.inf) != 0]
    if np.array_equal(kept, np.arange(len(curve.steps))):
        return curve
    if not good.all():
        notes.append(
            f"{curve.arm}, seed {curve.seed}: {np.count_nonzero(~good)} of {len(good)} evaluations gave no "
            "finite return and are skipped."
        )
    return replace(
        curve,
        steps=curve.steps[kept],
        returns=curve.returns[kept],
        seconds=curve.seconds[kept],
        lengths=np.zeros(0),
    )


def _grid(curves: list[Curve], first: float, last: float, notes: list[str]) -> Floats:
    """The steps that all curves share, or an even grid where they don't share any."""
    inside = [curve.steps[(curve.steps >= first) & (curve.steps <= last)] for curve in curves]
    if all(np.array_equal(steps, inside[0]) for steps in inside):
        return inside[0].astype(np.float64)
    points = int(np.clip(np.median([len(steps) for steps in inside]), 2, MAX_POINTS))
    notes.append(f"Curves were evaluated at different steps: interpolated linearly at {points} common ones.")
    return np.linspace(first, last, points)


def _arms(run: RunData, curves: list[Curve], grid: Floats) -> dict[str, GriddedArm]:
    """Interpolate every curve at the grid, by arm."""
    arms = {}
    for name in run.arms:
        mine = sorted((curve for curve in curves if curve.arm == name), key=lambda curve: curve.seed)
        if mine:
            arms[name] = GriddedArm(
                name=name,
                seeds=tuple(int(curve.seed) for curve in mine),
                returns=np.array([np.interp(grid, c.steps, c.returns) for c in mine]),
                seconds=np.array([_seconds(c, grid) for c in mine]),
                source_steps=np.array([float(c.source_steps) for c in mine]),
                source_seconds=np.array([float(c.source_seconds) for c in mine]),
                constant=all(c.constant for c in mine),
            )
    return arms


def _seconds(curve: Curve, grid: Floats) -> Floats:
    """Training seconds of one curve at the grid, NaN where unknown. Shape: (points,)."""
    if len(curve.seconds) != len(curve.steps):
        return np.full(len(grid), np.nan)
    return np.interp(grid, curve.steps, curve.seconds)
