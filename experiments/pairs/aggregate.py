"""What the studies of several pairs say of each method together.

The measure is that of a study's verdict: the paired difference in normalised area under the curve to the cold
arm. Pairs count alike. Intervals are stratified bootstraps (Agarwal et al. 2021, 2108.13264): seeds are drawn
anew within each pair, pairs stay as they are, so they say what other seeds would give, not other pairs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from warmstart.experiments.analysis.predicted import (
    LEAST_CORRELATED,
    Prediction,
    rank_correlation,
    share_of,
)
from warmstart.experiments.analysis.statistics import Interval
from warmstart.experiments.analysis.summary import ArmSummary, Summary
from warmstart.experiments.analysis.verdict import percent, signed

RESAMPLES = 5_000
LEVEL = 0.95
PROFILE = tuple(round(float(tau), 2) for tau in np.arange(-1.0, 1.51, 0.05))
"""Differences in area at which the performance profiles are given."""


def _ends(found: Interval, written: Callable[[float], str]) -> str:
    known = math.isfinite(found.low) and math.isfinite(found.high)
    return f" ({written(found.low)} to {written(found.high)})" if known else ""


@dataclass(frozen=True)
class PairRow:
    """One pair."""

    name: str
    source: str
    target: str
    methods: Mapping[str, "Cell"]
    """By arm; arms that gave no curve are missing."""
    prediction: Prediction | None = None
    """What was predicted before training, beside what was measured."""


@dataclass(frozen=True)
class Cell:
    """One arm in one pair."""

    outcome: str
    """The verdict: helps, hurts, no difference shown, not compared."""
    provisional: bool
    difference: Interval
    """Of the normalised area, with the interval of the verdict."""
    values: tuple[float, ...]
    """The difference of each seed."""
    seeds: tuple[int, ...]
    share_to_final: float
    """Median steps to the cold arm's final return, as a share of the budget; infinite where most seeds don't
    get there."""


@dataclass(frozen=True)
class MethodRow:
    """One method over all pairs in which it was run."""

    name: str
    pairs: int
    helps: int
    hurts: int
    area: Interval
    """Mean over pairs of the difference to the cold arm."""
    over_fine_tune: Interval
    """The same to ``fine_tune`` on the same pairs and seeds; NaN for itself and where there is none."""
    rank: float
    """Mean rank among the arms of a pair, the cold one included; 1 is best."""
    improvement: float
    """Share of seeds, pairs counting alike, that are better than their cold partner."""
    share_to_final: float
    """Median over pairs of `Cell.share_to_final`."""
    profile: tuple[float, ...]
    """Share of seeds whose difference is at least each of `PROFILE`."""


@dataclass(frozen=True)
class Foresight:
    """How well the benefit was predicted over the pairs."""

    pairs: int
    """With a predicted and a measured benefit."""
    correlation: Interval
    """Spearman's, of both over these pairs; NaN with fewer than four of them."""
    signs: int
    """Of these with a sign on both sides."""
    right: Interval
    """Share of these whose signs agree."""

    def __str__(self) -> str:
        """Both in words."""
        if not self.pairs:
            return "No pair has a predicted and a measured benefit."
        over = f"{self.pairs} pair{'' if self.pairs == 1 else 's'}"
        told = f"A rank correlation over {over} isn't shown: it takes {LEAST_CORRELATED}."
        if self.pairs >= LEAST_CORRELATED:
            value = signed(self.correlation.estimate) + _ends(self.correlation, signed)
            known = math.isfinite(self.correlation.estimate)
            told = f"Rank correlation over {over}: {value if known else 'none, as one side does not vary'}."
        if not self.signs:
            return f"{told} No sign could be compared."
        hits = round(self.right.estimate * self.signs)
        return f"{told} The sign is right in {hits} of {self.signs}{_ends(self.right, percent)}."


@dataclass(frozen=True)
class Aggregate:
    """All numbers of a run over pairs."""

    name: str
    baseline: str
    pairs: tuple[PairRow, ...]
    methods: tuple[MethodRow, ...]
    """The best first, by mean difference."""
    foresight: Foresight
    taus: tuple[float, ...] = PROFILE


def pair_row(summary: Summary) -> PairRow:
    """One pair's row from its study's summary."""
    study = summary.study
    cells = {arm.name: _cell(arm, summary.budget) for arm in summary.arms if arm.verdict is not None}
    source, target = (str(study.get(key) or "") for key in ("source", "target"))
    return PairRow(summary.name, source, target, cells, summary.prediction)


def _cell(arm: ArmSummary, budget: float) -> Cell:
    verdict = arm.verdict
    assert verdict is not None
    metric, times = arm.metrics.get("area_difference"), arm.time_to_threshold.get("steps")
    values = () if metric is None else metric.values
    share = float("nan") if times is None or not budget else times.median / budget
    seeds = () if metric is None else metric.seeds
    return Cell(verdict.outcome, verdict.provisional, verdict.difference, tuple(values), seeds, share)


def aggregate(name: str, baseline: str, rows: Sequence[PairRow], seed: int = 0) -> Aggregate:
    """Put the pairs together.

    Args:
        name: Of the run.
        baseline: The cold arm.
        rows: One for each pair that has results.
        seed: Of the resamples.
    """
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(arm for row in rows for arm in row.methods))
    ranks: dict[str, list[float]] = {arm: [] for arm in names}
    for row in rows:
        means = {arm: float(np.mean(cell.values)) for arm, cell in row.methods.items() if cell.values}
        ordered = [*means.values(), 0.0]  # the cold arm differs from itself by nothing
        for arm, mean in means.items():
            better, equal = sum(v > mean for v in ordered), sum(v == mean for v in ordered)
            ranks[arm].append(1 + better + (equal - 1) / 2)
    found = []
    for arm in names:
        cells = [row.methods[arm] for row in rows if arm in row.methods and row.methods[arm].values]
        if not cells:
            continue
        strata = [np.array(cell.values) for cell in cells]
        shares = [cell.share_to_final for cell in cells if not np.isnan(cell.share_to_final)]
        found.append(
            MethodRow(
                name=arm,
                pairs=len(cells),
                helps=sum(cell.outcome == "helps" for cell in cells),
                hurts=sum(cell.outcome == "hurts" for cell in cells),
                area=stratified(strata, rng),
                over_fine_tune=stratified(_over(arm, "fine_tune", rows), rng),
                rank=float(np.mean(ranks[arm])),
                improvement=float(np.mean([np.mean(v > 0) + np.mean(v == 0) / 2 for v in strata])),
                share_to_final=float(np.median(shares)) if shares else float("nan"),
                profile=tuple(float(np.mean([np.mean(v >= tau) for v in strata])) for tau in PROFILE),
            )
        )
    found.sort(key=lambda method: -method.area.estimate)
    return Aggregate(name, baseline, tuple(rows), tuple(found), foresight(rows))


def foresight(rows: Sequence[PairRow]) -> Foresight:
    """How well predicted and measured benefit agree over pairs."""
    said = [row.prediction for row in rows if row.prediction is not None]
    both = [(each.predicted.estimate, each.measured.estimate) for each in said]
    known = np.array([pair for pair in both if np.isfinite(pair).all()]).reshape(-1, 2)
    signs = [each.right for each in said if each.right is not None]
    correlation = rank_correlation(known[:, 0], known[:, 1])
    return Foresight(len(known), correlation, len(signs), share_of(sum(signs), len(signs)))


def stratified(strata: Sequence[ArrayLike], rng: np.random.Generator) -> Interval:
    """Mean of the strata's means with a stratified bootstrap interval.

    Args:
        strata: Values of each pair's seeds.
        rng: Source of the resamples.

    Returns:
        NaN without any; without bounds where every stratum has one value.
    """
    values: list[NDArray[np.float64]] = [np.asarray(each, np.float64) for each in strata]
    values = [each for each in values if len(each)]
    if not values:
        return Interval(float("nan"), float("nan"), float("nan"), LEVEL)
    estimate = float(np.mean([each.mean() for each in values]))
    if all(len(each) < 2 for each in values):
        return Interval(estimate, float("nan"), float("nan"), LEVEL)
    drawn = [each[rng.integers(len(each), size=(RESAMPLES, len(each)))].mean(1) for each in values]
    low, high = np.percentile(np.mean(drawn, axis=0), [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(estimate, float(low), float(high), LEVEL)


def _over(arm: str, other: str, rows: Sequence[PairRow]) -> list[NDArray[np.float64]]:
    """Differences between two arms, seed by seed, in the pairs where both have the same seeds."""
    found = []
    for row in rows:
        ours, theirs = (row.methods.get(each) for each in (arm, other))
        if arm != other and ours and theirs:
            other_values = dict(zip(theirs.seeds, theirs.values, strict=True))
            pairs = zip(ours.seeds, ours.values, strict=True)
            found.append(np.array([value - other_values[s] for s, value in pairs if s in other_values]))
    return found
