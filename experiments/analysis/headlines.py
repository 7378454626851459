"""A verdict in plain words: what report and command print first. Imports verdict, metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from warmstart.experiments.analysis.metrics import Metric, TimeToThreshold
from warmstart.experiments.analysis.verdict import Verdict


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
    *,
    budget: float,
    source_steps: float,
    constant: bool,
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

    Returns:
        Title, effect and cost.
    """
    tentative = " (provisional)" if verdict.provisional else ""
    pairs = "1 pair of seeds" if verdict.pairs == 1 else f"{verdict.pairs} pairs of seeds"
    few = f" (provisional: {pairs})" if verdict.provisional else ""
    title = {
        "helps": f"{verdict.arm} helps{tentative}",
        "hurts": f"{verdict.arm} hurts{tentative}",
        "no difference shown": f"{verdict.arm}: no difference shown{few}",
        "not compared": f"{verdict.arm}: not compared",
    }[verdict.outcome]
    if verdict.outcome == "not compared":
        return Headline(title, _lower_first(verdict.reason), "")
    cost = _cost(times, baseline, budget, source_steps) if verdict.outcome == "helps" else ""
    return Headline(title, _effect(verdict, metrics, times, baseline, budget, constant), cost)


def _effect(
    verdict: Verdict,
    metrics: Mapping[str, Metric],
    times: Mapping[str, TimeToThreshold],
    baseline: str,
    budget: float,
    constant: bool,
) -> str:
    """What the arm does, as the part of a sentence that follows a colon."""
    difference = verdict.difference
    if verdict.outcome == "hurts":
        return f"negative transfer, {_relative(metrics, difference.estimate, baseline)}"
    if verdict.outcome == "no difference shown":
        if np.isnan(difference.low):
            return f"{_lower_first(verdict.reason)}"
        return (
            f"the area under the curve differs by {signed(difference.estimate)}, with zero inside the "
            f"interval from {signed(difference.low)} to {signed(difference.high)}"
            if difference.low <= 0 <= difference.high
            else f"the area under the curve differs by {signed(difference.estimate)}, "
            "but the exact sign-flip test doesn't confirm it"
        )
    median = times["steps"].median if times else float("nan")
    if constant:
        return (
            f"the source policy as it is holds {baseline}'s final return, without any training"
            if median <= 0
            else f"without any training, {_relative(metrics, difference.estimate, baseline)}"
        )
    if median <= 0:
        return f"starts at or above {baseline}'s final return and stays there"
    if np.isfinite(median):
        return f"reaches {baseline}'s final return after {percent(median / budget)} of its steps"
    return (
        f"{_relative(metrics, difference.estimate, baseline)}, "
        f"but most seeds don't hold {baseline}'s final return by the end"
    )


def _relative(metrics: Mapping[str, Metric], difference: float, baseline: str) -> str:
    """Size of the difference in area, relative to the cold arm where that means something."""
    ratio = metrics["transfer_ratio"].interval.estimate
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
