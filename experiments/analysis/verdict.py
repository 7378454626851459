"""Does the warm start help? One verdict per arm, with a bounded chance of a false one.

The primary metric is the difference in normalised area under the curve to the cold arm, paired by seed. Two
tests judge it, each Holm-corrected over the arms, so that the chance of any false verdict in a study is at
most α = 5%:

1. the paired t interval, which has power with few seeds but assumes roughly normal differences;
2. the exact sign-flip test, which assumes only that without an effect a difference is as likely to have
   either sign, but whose smallest p is ``2 / 2^n``: .25 with three seeds, .03 with six.

With few seeds the second test can't reach α at all. It first can with `confirming_pairs`: six pairs for one
arm, seven for two or three, eight for four to six (Holm multiplies the smallest of m p values by m, so
``2 m / 2^n ≤ α``). From there on both tests must agree. Below, the t interval alone decides and the verdict
is called *provisional*; the sign-flip p is shown beside it.

"No difference shown" isn't "no difference": it says that the data can't tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from warmstart.experiments.analysis.metrics import Metric, TimeToThreshold
from warmstart.experiments.analysis.statistics import Interval, holm, paired_t, sign_flip_test

Outcome = Literal["helps", "no difference shown", "hurts", "not compared"]

ALPHA = 0.05
"""Chance, per study, of any false verdict."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one arm."""

    arm: str
    outcome: Outcome
    """`hurts` is negative transfer."""
    provisional: bool
    """Whether there are too few pairs for the exact test to confirm it."""
    pairs: int
    """Seeds that both this arm and the cold one finished."""
    confirming_pairs: int
    """Pairs from which on the verdict isn't provisional."""
    difference: Interval
    """Mean difference with the t interval at the level at which Holm's procedure judged it: it excludes zero
    exactly where the t test rejects."""
    p_t: float
    p_t_holm: float
    """p of the paired t test, Holm-corrected over arms."""
    p_sign_flip: float
    p_sign_flip_holm: float
    """p of the exact sign-flip test, Holm-corrected over arms."""
    reason: str
    """One sentence on what decided."""


def confirming_pairs(arms: int) -> int:
    """Fewest pairs with which the Holm-corrected sign-flip test can reach α: ``2 arms / 2^pairs ≤ α``."""
    return int(np.ceil(np.log2(2 * max(arms, 1) / ALPHA) - 1e-12))


def judge_arms(
    differences: Mapping[str, ArrayLike],
    rng: np.random.Generator | None = None,
) -> dict[str, Verdict]:
    """Judge every arm of a study at once.

    Args:
        differences: Per arm, the paired differences of the primary metric, positive in the arm's favour.
            Shape of each: (pairs,).
        rng: Source of sign patterns, needed beyond 20 pairs only.

    Returns:
        A verdict per arm, in the order given.
    """
    samples = {arm: np.asarray(values, dtype=np.float64) for arm, values in differences.items()}
    # One pair tests nothing, so it isn't a hypothesis either.
    tested = [len(values) >= 2 for values in samples.values()]
    p_t = [paired_t(values).p for values in samples.values()]
    pairs = zip(samples.values(), tested, strict=True)
    p_flip = [sign_flip_test(values, rng) if many else float("nan") for values, many in pairs]
    (t_holm, levels), (flip_holm, _) = holm(p_t, ALPHA), holm(p_flip, ALPHA)
    needed = confirming_pairs(sum(tested))
    verdicts = {}
    for i, (arm, values) in enumerate(samples.items()):
        difference = paired_t(values, float(levels[i])).interval
        corrected = (float(t_holm[i]), float(flip_holm[i]))
        outcome, reason = _decide(len(values), difference.estimate, *corrected, needed)
        verdicts[arm] = Verdict(
            arm=arm,
            outcome=outcome,
            provisional=len(values) < needed and outcome != "not compared",
            pairs=len(values),
            confirming_pairs=needed,
            difference=difference,
            p_t=p_t[i],
            p_t_holm=corrected[0],
            p_sign_flip=p_flip[i],
            p_sign_flip_holm=corrected[1],
            reason=reason,
        )
    return verdicts


def _decide(pairs: int, difference: float, p_t: float, p_flip: float, needed: int) -> tuple[Outcome, str]:
    """Outcome and reason of one arm, from the corrected p values."""
    if pairs == 0:
        return "not compared", "No seed finished both in this arm and in the cold one."
    if pairs == 1:
        return "no difference shown", "One pair of seeds can't show a difference: run at least three seeds."
    direction: Outcome = "helps" if difference > 0 else "hurts"
    t, flip = f"paired t {p_text(p_t)}", f"sign-flip {p_text(p_flip)}"
    found = f"({t}, {flip}; {pairs} pairs of seeds)"
    by_t, by_flip = p_t <= ALPHA, p_flip <= ALPHA
    if pairs < needed and by_t:
        return direction, (
            f"Provisional, by the t interval alone ({t}): with {pairs} pairs of seeds the exact "
            f"sign-flip test can't confirm it ({flip}); {needed} pairs could."
        )
    if pairs < needed:
        return "no difference shown", f"The t interval holds zero {found}."
    if by_t and by_flip:
        return direction, f"Both tests agree {found}."
    why = "The two tests disagree" if by_t or by_flip else "Neither test rejects"
    return "no difference shown", f"{why} {found}."


def p_text(p: float) -> str:
    """A p value as text: ``p = .031``, ``p < .001``, ``p = 1``."""
    if np.isnan(p):
        return "p unknown"
    if p < 0.001:
        return "p < .001"
    return "p = 1" if p > 0.9995 else f"p = {f'{p:.3f}'.removeprefix('0')}"


SOONER = 0.95
"""Share of the cold arm's own time to its final return (and of its steps) within which it comes sooner."""


@dataclass(frozen=True)
class Headline:
    """A verdict as sentences."""

    title: str
    """``fine_tune helps (provisional)``, ``shuffled: no difference shown (provisional: 2 pairs of …)``."""
    effect: str
    """What it does, after a colon: ``reaches scratch's final return after 4% of its steps``."""
    cost: str
    """What it takes when the source's training is counted in; empty without a source."""

    def __str__(self) -> str:
        """``fine_tune helps (provisional): reaches scratch's final return after 4% of its steps``."""
        return f"{self.title}: {self.effect}"


def headline(
    verdict: Verdict,
    metrics: Mapping[str, Metric],
    times: Mapping[str, TimeToThreshold],
    baseline: str,
    budget: float,
    source_steps: float,
    constant: bool,
    cold: Mapping[str, TimeToThreshold],
) -> Headline:
    """Put a verdict into words.

    Args:
        verdict: The verdict.
        metrics: Metrics of the arm.
        times: Times to the threshold by clock.
        baseline: Name of the cold arm.
        budget: Last step of the comparison.
        source_steps: Mean training steps of the source agents; 0 without.
        constant: Whether nothing trains in the arm.
        cold: The cold arm's times to the threshold by clock.
    """
    decided = verdict.outcome in ("helps", "hurts")
    title = f"{verdict.arm}{'' if decided else ':'} {verdict.outcome}"
    if verdict.provisional:
        pairs = "1 pair of seeds" if verdict.pairs == 1 else f"{verdict.pairs} pairs of seeds"
        title += " (provisional)" if decided else f" (provisional: {pairs})"
    if verdict.outcome == "not compared":
        return Headline(title, _lower_first(verdict.reason), "")
    cost = _cost(times, baseline, budget, source_steps) if verdict.outcome == "helps" else ""
    return Headline(title, _effect(verdict, metrics, times, baseline, budget, constant, cold), cost)


def _effect(
    verdict: Verdict,
    metrics: Mapping[str, Metric],
    times: Mapping[str, TimeToThreshold],
    baseline: str,
    budget: float,
    constant: bool,
    cold: Mapping[str, TimeToThreshold],
) -> str:
    """What the arm does, as the part of a sentence that follows a colon."""
    difference = verdict.difference
    relative = _relative(metrics, difference.estimate, baseline)
    if verdict.outcome == "hurts":
        return f"negative transfer, {relative}"
    if verdict.outcome == "no difference shown":
        if np.isnan(difference.low):
            return _lower_first(verdict.reason)
        differs = f"the area under the curve differs by {signed(difference.estimate)}"
        if difference.low <= 0 <= difference.high:
            ends = f"from {signed(difference.low)} to {signed(difference.high)}"
            return f"{differs}, with zero inside the interval {ends}"
        return f"{differs}, but the exact sign-flip test doesn't confirm it"
    median = times["steps"].median if times else float("nan")
    if constant and median <= 0:
        return f"the source policy as it is holds {baseline}'s final return, without any training"
    if constant:
        return f"without any training, {relative}"
    if median <= 0:
        return f"starts at or above {baseline}'s final return and stays there"
    own = cold["steps"].median if cold else float("nan")
    if np.isfinite(median) and median >= SOONER * np.fmin(own, budget):
        return (
            f"{_relative(metrics, difference.estimate, baseline)}, "
            f"but it holds {baseline}'s final return no sooner than {baseline} itself"
        )
    if np.isfinite(median):
        return f"reaches {baseline}'s final return after {percent(median / budget)} of its steps"
    return f"{relative}, but most seeds don't hold {baseline}'s final return by the end"


def _relative(metrics: Mapping[str, Metric], difference: float, baseline: str) -> str:
    """Size of the difference in area, relative to the cold arm where that means something."""
    ratio = metrics["transfer_ratio"].interval.estimate if metrics else float("nan")
    more = "larger" if difference > 0 else "smaller"
    if np.isfinite(ratio) and abs(ratio) < 10:
        return f"the area under the curve is {percent(abs(ratio))} {more} than {baseline}'s"
    return f"the area under the curve is {more} than {baseline}'s by {abs(difference):.2f} (normalised)"


def _cost(times: Mapping[str, TimeToThreshold], baseline: str, budget: float, source_steps: float) -> str:
    """What reaching the threshold takes with the source's steps counted in."""
    counted = times["steps_with_source"].median if times else float("nan")
    if source_steps <= 0 or not np.isfinite(counted):
        return ""
    return (
        f"With the source's {source_steps:,.0f} steps counted in, that takes {counted:,.0f} steps; "
        f"{baseline} had {budget:,.0f}."
    )


def percent(share: float) -> str:
    """A share as a percentage with two digits that matter: ``0.4%``, ``4%``, ``37%``, ``250%``."""
    value = 100 * share
    return f"{value:.1f}%" if 0 < value < 0.95 else f"{value:.0f}%"


def signed(value: float) -> str:
    """A number with its sign and two decimals: ``+0.31``, ``−0.07``."""
    return f"{value:+.2f}".replace("-", "−")


def _lower_first(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")
