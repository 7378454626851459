"""Transfer metrics of one arm against the cold one (Taylor & Stone 2009), paired by seed.

What each of them means is written in `metric_kinds`, how to read them in ``docs/metrics.md``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from warmstart.experiments.analysis.grids import Gridded, GriddedArm
from warmstart.experiments.analysis.metric_kinds import LAST_EVALUATIONS, METRICS
from warmstart.experiments.analysis.statistics import (
    Interval,
    median_time,
    paired_ratio,
    paired_t,
    restricted_mean,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One metric of one arm."""

    key: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    """Value of each seed."""
    interval: Interval
    """Mean over seeds (for `transfer_ratio` the ratio of means) and its t interval."""


@dataclass(frozen=True)
class TimeToThreshold:
    """When the curves of one arm come to stay at or above the threshold."""

    times: tuple[float, ...]
    """Time of each seed; where it isn't reached, the time at which the record ends."""
    reached: tuple[bool, ...]
    """Whether each seed got there; False: right-censored."""
    solved: float
    """Fraction of seeds that got there."""
    median: float
    """Kaplan-Meier median; infinite if fewer than half get there."""
    restricted_mean: float
    """Area under the Kaplan-Meier curve up to the horizon."""
    horizon: float


@dataclass(frozen=True)
class Normalisation:
    """Linear scale of returns: 0 is `floor`, 1 is `ceiling`."""

    floor: float
    ceiling: float
    floor_rule: str
    """Where the floor comes from, in words."""
    ceiling_rule: str
    low_gain: bool = False
    """Whether the cold arm gains too little to serve as the ceiling."""

    def __call__(self, returns: Floats) -> Floats:
        """Normalise returns of any shape."""
        return (returns - self.floor) / (self.ceiling - self.floor)


def area(steps: Floats, returns: Floats) -> Floats:
    """Mean height of curves over their steps (trapezoid rule): area under the curve divided by its width.

    Args:
        steps: Grid. Shape: (points,).
        returns: Shape: (..., points).

    Returns:
        Shape: (...). With a single point its value.
    """
    if len(steps) == 1:
        return np.asarray(returns[..., 0])
    return np.asarray(np.trapezoid(returns, steps, axis=-1) / (steps[-1] - steps[0]))


def area_with_source(steps: Floats, normalised: Floats, source_steps: float, budget: float) -> float:
    """Mean height over the budget of one normalised curve that starts only after the source's steps.

    Before that there is nothing to show: height 0. What lies beyond the budget doesn't count.

    Args:
        steps: Grid. Shape: (points,).
        normalised: One normalised curve. Shape: (points,).
        source_steps: Steps by which the curve is moved to the right.
        budget: Steps over which the mean is taken, from the grid's first.

    Returns:
        The area up to the budget divided by the budget's width.
    """
    moved = steps + source_steps
    if moved[0] >= budget:
        return 0.0
    inside = moved < budget
    x = np.append(moved[inside], budget)
    y = np.append(normalised[inside], np.interp(budget, moved, normalised))
    return float(np.trapezoid(y, x) / (budget - steps[0]))


def final_return(returns: Floats) -> Floats:
    """Mean of the last evaluations. Shape: (..., points) -> (...)."""
    return np.asarray(returns[..., -LAST_EVALUATIONS:].mean(axis=-1))


def maximum_dip(returns: Floats) -> Floats:
    """How far curves fall below their first point at worst, at least 0. Shape: (..., points) -> (...)."""
    return np.asarray(returns[..., 0] - returns.min(axis=-1))


def crossing(returns: Floats, threshold: float) -> int | None:
    """Index of the first evaluation from which a curve stays at or above the threshold.

    Args:
        returns: One curve. Shape: (points,).
        threshold: In the unit of the returns.

    Returns:
        The index, or None if the last evaluation is below the threshold (right-censored). A value that isn't
        a number never counts as reached.
    """
    below = np.flatnonzero(~(returns >= threshold))
    if not len(below):
        return 0
    index = int(below[-1]) + 1
    return index if index < len(returns) else None


def time_to_threshold(returns: Floats, clock: Floats, threshold: float, horizon: float) -> TimeToThreshold:
    """Time to threshold of one arm, with right-censoring.

    Args:
        returns: Shape: (seeds, points).
        clock: Time of each evaluation: steps or seconds, with or without the source. Shape: (seeds, points).
        threshold: In the unit of the returns.
        horizon: End of the restricted mean, in the unit of the clock.

    Returns:
        Times, solved fraction, Kaplan-Meier median and restricted mean.
    """
    indices = [crossing(row, threshold) for row in returns]
    reached = [index is not None for index in indices]
    times = [float(row[-1 if i is None else i]) for row, i in zip(clock, indices, strict=True)]
    known = bool(np.isfinite(times).all()) and np.isfinite(horizon)
    return TimeToThreshold(
        times=tuple(times),
        reached=tuple(reached),
        solved=float(np.mean(reached)) if reached else float("nan"),
        median=median_time(times, reached) if known else float("nan"),
        restricted_mean=restricted_mean(times, reached, horizon) if known else float("nan"),
        horizon=float(horizon),
    )


def normalisation(grid: Gridded, baseline: str | None, random_return: float | None) -> Normalisation:
    """The scale of normalised returns: 0 for a random policy, 1 for the cold arm's mean final return.

    Without a random policy's return the cold arm's mean return before training stands in for it (an untrained
    policy), or the lowest mean return where step 0 wasn't evaluated. Where the cold arm gains next to nothing
    (less than 5% of the span of all mean curves), the highest mean return is the ceiling: the verdict doesn't
    depend on the scale, only the size that is printed does.
    """
    means = {name: arm.returns.mean(axis=0) for name, arm in grid.arms.items()}
    highest, lowest = (float(f([f(mean) for mean in means.values()])) for f in (np.max, np.min))
    floor, floor_rule = lowest, "lowest mean return of any arm"
    if random_return is not None and np.isfinite(random_return):
        floor, floor_rule = float(random_return), "mean return of uniformly random actions"
    elif baseline and grid.starts_untrained:
        floor, floor_rule = float(means[baseline][0]), f"mean return of {baseline} before training"
    span = max(highest - floor, highest - lowest)
    if baseline:
        ceiling = float(final_return(means[baseline]))
        last = min(LAST_EVALUATIONS, len(grid.steps))
        if ceiling - floor > 0.05 * span:
            rule = f"mean of {baseline}'s last {last} evaluations over seeds"
            return Normalisation(floor, ceiling, floor_rule, rule)
    rule = "the floor plus the span of all mean returns" if span > 0 else "the floor plus 1: all are equal"
    return Normalisation(floor, floor + (span or 1.0), floor_rule, rule, low_gain=baseline is not None)


def absolute_metrics(grid: Gridded, arm: GriddedArm, scale: Normalisation) -> dict[str, Metric]:
    """Metrics of one arm on its own, over its seeds; those that need step 0 are NaN without it."""
    unknown = np.full(len(arm.seeds), np.nan)
    seconds = arm.seconds[:, -1]
    values = {
        "initial_return": arm.returns[:, 0] if grid.starts_untrained else unknown,
        "final_return": final_return(arm.returns),
        "normalised_area": area(grid.steps, scale(arm.returns)),
        "maximum_dip": maximum_dip(arm.returns) if grid.starts_untrained else unknown,
        "training_seconds": seconds,
        "training_seconds_with_source": seconds + arm.source_seconds,
    }
    return {key: _metric(key, arm.seeds, value) for key, value in values.items()}


def paired_metrics(
    grid: Gridded, arm: GriddedArm, cold: GriddedArm, scale: Normalisation, threshold: float
) -> dict[str, Metric]:
    """Differences of one arm to the cold one over the seeds that both have.

    Returns:
        A metric for each paired key of `METRICS`; empty without a common seed. Those that need step 0 are NaN
        without it.
    """
    seeds = tuple(seed for seed in arm.seeds if seed in cold.seeds)
    if not seeds:
        return {}
    steps, rows = grid.steps, arm.rows(seeds)
    warm_returns, cold_returns = arm.returns[rows], cold.returns[cold.rows(seeds)]
    warm_area, cold_area = area(steps, scale(warm_returns)), area(steps, scale(cold_returns))
    source = arm.source_steps[rows] - cold.source_steps[cold.rows(seeds)]
    unknown = np.full(len(seeds), np.nan)
    cold_times, warm_times = (_restricted_times(steps, x, threshold) for x in (cold_returns, warm_returns))
    saved = cold_times - warm_times
    late = zip(scale(warm_returns), source, strict=True)
    counted = np.array([area_with_source(steps, row, shift, float(steps[-1])) for row, shift in late])
    values = {
        "area_difference": warm_area - cold_area,
        "jumpstart": warm_returns[:, 0] - cold_returns[:, 0] if grid.starts_untrained else unknown,
        "asymptotic_gain": final_return(warm_returns) - final_return(cold_returns),
        "total_reward_difference": area(steps, warm_returns) - area(steps, cold_returns),
        "steps_saved": saved,
        "area_difference_with_source": counted - cold_area,
        "steps_saved_with_source": saved - source,
    }
    metrics = {key: _metric(key, seeds, value) for key, value in values.items()}
    gained = warm_area - cold_area
    ratios = np.divide(gained, cold_area, out=unknown.copy(), where=cold_area > 0)
    interval = paired_ratio(gained, cold_area) if cold_area.mean() > 0 else Interval(float("nan"))
    metrics["transfer_ratio"] = Metric("transfer_ratio", seeds, tuple(ratios.tolist()), interval)
    return {key: metrics[key] for key, kind in METRICS.items() if kind.paired}


CLOCKS: dict[str, Callable[[Floats, GriddedArm], Floats]] = {
    "steps": lambda steps, arm: np.broadcast_to(steps, arm.returns.shape),
    "steps_with_source": lambda steps, arm: steps[None, :] + arm.source_steps[:, None],
    "seconds": lambda _, arm: arm.seconds,
    "seconds_with_source": lambda _, arm: arm.seconds + arm.source_seconds[:, None],
}
"""How the time to threshold can be counted; each gives the time of every evaluation, (seeds, points)."""


def times_to_threshold(grid: Gridded, threshold: float) -> dict[str, dict[str, TimeToThreshold]]:
    """Time to threshold of every arm on every clock.

    The horizon is an arm's own budget on that clock: a run that never gets there counts with all that was
    spent on it. An arm in which nothing trains is given the longest training time of the others.

    Returns:
        By arm, then by clock (a key of `CLOCKS`); empty if the threshold is NaN.
    """
    if np.isnan(threshold):
        return {}
    trained = [arm.seconds[:, -1].max() for arm in grid.arms.values() if not arm.constant]
    longest = float(max(trained, default=0.0))
    times: dict[str, dict[str, TimeToThreshold]] = {}
    for name, arm in grid.arms.items():
        if arm.constant:
            wait = np.where(np.arange(len(grid.steps)) > 0, longest, 0.0)
            arm = replace(arm, seconds=np.broadcast_to(wait, arm.returns.shape))
        clocks = {clock: measure(grid.steps, arm) for clock, measure in CLOCKS.items()}
        times[name] = {
            clock: time_to_threshold(arm.returns, at, threshold, float(np.max(at[:, -1])))
            for clock, at in clocks.items()
        }
    return times


def _restricted_times(steps: Floats, returns: Floats, threshold: float) -> Floats:
    """Step of each seed's crossing, else the last one; NaN without a threshold. Shape: (seeds,)."""
    if np.isnan(threshold):
        return np.full(len(returns), np.nan)
    indices = [crossing(row, threshold) for row in returns]
    return np.array([steps[-1 if index is None else index] for index in indices])


def _metric(key: str, seeds: tuple[int, ...], values: Floats) -> Metric:
    """A metric with the t interval of its mean over seeds."""
    return Metric(key, seeds, tuple(float(value) for value in values), paired_t(values).interval)
