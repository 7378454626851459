"""Predicted beside measured: what was said of a warm start before training, and what came of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from warmstart.core.bounds import State
from warmstart.experiments.analysis.metrics import Metric
from warmstart.experiments.analysis.statistics import Interval
from warmstart.experiments.analysis.verdict import Verdict, signed

NONE = Interval(math.nan)
LEAST_CORRELATED = 4
"""Pairs from which on a rank correlation is given."""
SIGNS = {True: "the sign is right", False: "the sign is wrong", None: "no sign to compare"}


class Judged(Protocol):
    """What is asked of an arm, which `summary.ArmSummary` tells."""

    @property
    def name(self) -> str:
        """Its own."""

    @property
    def method(self) -> str:
        """Transfer method."""

    @property
    def verdict(self) -> Verdict | None:
        """None for the cold arm."""

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """By key."""


@dataclass(frozen=True)
class Prediction:
    """A prediction and the benefit that was measured, both as differences in area to the cold arm."""

    arm: str
    """That is spoken of: fine-tuning, or the first with a source."""
    seed: int
    """Of the source agent that was asked."""
    problem: str = ""
    """Why nothing was predicted; empty where something was."""
    predicted: Interval = NONE
    """NaN where the source has nothing to give."""
    measured: Interval = NONE
    """Mean over all seeds, with a t interval."""
    unmeasured: str = ""
    """Why nothing was measured; empty where something was."""
    right: bool | None = None
    """Whether both have the same sign; None where one of them has none."""
    outlook: str = ""
    """``helps``, ``hurts`` or ``open``."""
    method: str = ""
    """What was recommended."""
    reason: str = ""
    recommended: Interval = NONE
    """What that measured: 0 for a cold start; NaN where the study hasn't tried it."""
    best: str = ""
    """The arm with the largest area, the cold one among them; empty where nothing was compared."""
    best_measured: Interval = NONE
    """Its difference; 0 for the cold arm."""
    steps: int = 0
    """Taken in the target for the prediction; they count as nobody's training."""
    measures: tuple[State, ...] = field(default_factory=tuple)
    """Name, value, ends and meaning of each."""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What was predicted and what came, in one sentence."""
        if self.problem:
            return f"{self.arm}: nothing was predicted. {_ended(self.problem)}"
        if math.isnan(self.predicted.estimate):
            return f"{self.arm}: no benefit can be predicted. {_ended(self.reason)}"
        said = f"{self.arm}: predicted {signed(self.predicted.estimate)}"
        if self.unmeasured:
            return f"{said}, nothing measured. {_ended(self.unmeasured)}"
        return f"{said}, measured {signed(self.measured.estimate)}; {SIGNS[self.right]}."


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."


def beside(said: State | None, arms: Sequence[Judged], baseline: str) -> Prediction | None:
    """Put what came of it beside what was predicted.

    Args:
        said: `similarity.json`.
        arms: All of the study, with their verdicts.
        baseline: The cold arm.

    Returns:
        None where nothing was to be predicted.
    """
    if said is None:
        return None
    if said["problem"]:
        return Prediction(said["arm"], said["seed"], said["problem"])
    differences = {baseline: Interval(0.0, 0.0, 0.0)}
    untold = {}
    for arm in arms:
        metric = arm.metrics.get("area_difference")
        if arm.verdict is not None and arm.verdict.outcome == "not compared":
            untold[arm.name] = arm.verdict.reason
        elif arm.verdict is not None and metric is not None and math.isfinite(metric.interval.estimate):
            differences[arm.name] = metric.interval
    ends = (said[key] for key in ("predicted", "predicted_low", "predicted_high"))
    predicted = Interval(*(math.nan if value is None else float(value) for value in ends))
    measured = differences.get(said["arm"], NONE)
    missing = "" if said["arm"] in differences else untold.get(said["arm"], f"{said['arm']} has no result.")
    tried = [arm.name for arm in arms if arm.method == said["method"] and arm.name in differences]
    warm = len(differences) > 1
    best = max(differences, key=lambda name: differences[name].estimate) if warm else ""
    return Prediction(
        arm=said["arm"],
        seed=said["seed"],
        predicted=predicted,
        measured=measured,
        unmeasured=missing,
        right=same_sign(predicted.estimate, measured.estimate),
        outlook=said["outlook"],
        method=said["method"],
        reason=said["reason"],
        recommended=differences[tried[0]] if tried else NONE,
        best=best,
        best_measured=differences.get(best, NONE),
        steps=said["steps"],
        measures=tuple(said["measures"]),
        notes=tuple(said["notes"]),
    )


def same_sign(one: float, other: float) -> bool | None:
    """Whether two numbers have the same sign; None where one is zero or unknown."""
    product = one * other
    return None if math.isnan(product) or one == 0 or other == 0 else product > 0


def rank_correlation(one: ArrayLike, other: ArrayLike) -> Interval:
    """Spearman's rank correlation, ties sharing their mean rank, with the interval of Bonett & Wright (2000).

    ``tanh(artanh(r) ± 1.96 √((1 + r² / 2) / (n − 3)))``.

    Args:
        one: Shape: (n,).
        other: Shape: (n,).

    Returns:
        NaN with fewer than `LEAST_CORRELATED` pairs, or where one side doesn't vary; without bounds where the
        ranks agree or disagree throughout.
    """
    values = [np.asarray(side, dtype=np.float64) for side in (one, other)]
    n = len(values[0])
    if n < LEAST_CORRELATED or any(np.ptp(side) == 0 for side in values):
        return Interval(float("nan"))
    below = [side[:, None] > side for side in values]
    equal = [side[:, None] == side for side in values]
    ranks = [b.sum(1) + (e.sum(1) + 1) / 2 for b, e in zip(below, equal, strict=True)]
    r = float(np.corrcoef(*ranks)[0, 1])
    if 1 - abs(r) < 1e-12:
        return Interval(r)
    half = 1.96 * np.sqrt((1 + r * r / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(r) + np.array([-half, half]))
    return Interval(r, float(low), float(high))


def share_of(hits: int, n: int) -> Interval:
    """A share with Wilson's 95% interval (1927); NaN of nothing."""
    if not n:
        return Interval(float("nan"))
    p, z = hits / n, 1.96
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, float((centre - half) / scale), float((centre + half) / scale))
