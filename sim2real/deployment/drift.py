"""How far observations drifted from training, dimension by dimension, and when that is an alarm.

The reference is what the policy saw in its own task at export. An alarm is a mean that moved by more than
half a standard deviation, or a standard deviation that is more than twice or less than half as large: Rubin's
limits for samples that can still be compared (2001, "Using propensity scores to help design observational
studies"; his ratio of 2 is of the variances, the wider one here bears short runs); or more than 2% of the
observations outside of everything that was seen, where 2 / (N + 1) are expected after N in training.
Successive observations aren't independent, so a mean counts as moved only as far as twice its own standard
error, that of ten batches' means, leaves no doubt.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmstart.sim2real.deployment.runtime.contract import Contract, Dimension
from warmstart.transfer.replaying.run_logs import RunLog

SHIFT, SPREAD, OUTSIDE = 0.5, 2.0, 0.02
"""Standard deviations, ratio of standard deviations, share of observations: beyond these is an alarm."""
FEWEST = 100
"""Observations below which drift isn't judged."""
_BATCHES = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """One dimension of the observations, or of the action, beside training."""

    name: str
    unit: str
    mean: float
    std: float
    trained_mean: float
    trained_std: float
    shift: float
    """Difference of the means in the training's standard deviations."""
    error: float
    """Standard error of the shift; NaN where there are too few observations."""
    outside: float
    """Share of the observations outside of all that training saw."""
    alarm: str = ""
    """What is wrong, in words; empty where nothing is."""


def references(
    log: RunLog, contract: Contract
) -> Iterator[tuple[Dimension, str, float, float, float, float]]:
    """Each dimension with its column and the training's mean, std, smallest and largest value."""
    sides = [(signal, log.observations.get(signal.name, ())) for signal in contract.observations]
    for signal, columns in (*sides, (contract.action, log.action)):
        known = contract.statistics.get(signal.name)
        if known is None or len(known.mean) != len(columns):
            continue
        names = signal.dimensions or tuple(Dimension(column) for column in columns)
        numbers = zip(known.mean, known.std, known.low, known.high, strict=True)
        for dimension, column, found in zip(names, columns, numbers, strict=True):
            mean, std, low, high = map(float, found)
            yield dimension, column, mean, std, low, high


def drifts(log: RunLog, contract: Contract, judged: NDArray[np.bool_], notes: list[str]) -> Iterator[Drift]:
    """Every dimension beside training."""
    missing = [s.name for s in contract.observations if s.name not in contract.statistics]
    if missing:
        notes.append(f"The contract holds no statistics of {', '.join(missing)}: no drift can be told there.")
    for dimension, column, mean, std, low, high in references(log, contract):
        values = log.columns[column][judged]
        if len(values):
            yield _drift(dimension, values, mean, std, low, high)


def _drift(dimension: Dimension, values: Floats, mean: float, std: float, low: float, high: float) -> Drift:
    found, spread = float(values.mean()), float(values.std())
    scale = std if std > 0 else max(abs(mean), 1.0) * 1e-6
    shift = (found - mean) / scale
    margin = 1e-6 * (1 + max(abs(low), abs(high)))
    outside = float(((values < low - margin) | (values > high + margin)).mean())
    error = math.nan
    alarm = ""
    if len(values) >= FEWEST:
        batches = [float(batch.mean()) for batch in np.array_split(values, _BATCHES)]
        error = float(np.std(batches, ddof=1)) / math.sqrt(_BATCHES) / scale
        alarm = _alarm(shift, error, spread / scale, outside, constant=std == 0)
    return Drift(dimension.name, dimension.unit, found, spread, mean, std, shift, error, outside, alarm)


def _alarm(shift: float, error: float, ratio: float, outside: float, constant: bool) -> str:
    """What is wrong with a dimension, in words."""
    said = []
    if constant:
        if abs(shift) > 1 or ratio > 1:
            said.append("it never changed in training")
    else:
        if abs(shift) - 2 * error > SHIFT:
            moved = f"{shift:+.1f}".replace("-", "−")
            said.append(f"its mean is {moved} standard deviations from training's")
        if ratio > SPREAD or ratio < 1 / SPREAD:
            said.append(f"it varies {ratio:.2g} times as much as in training")
    if outside > OUTSIDE:
        said.append(f"{outside:.0%} of it lies outside of all that training saw")
    return ", ".join(said)
