"""What the transfer metrics are: name, unit, direction and how to read them, each written once.

Report, command and ``docs/metrics.md`` use these words. Imports nothing of ours.
"""

from dataclasses import dataclass
from typing import Literal

LAST_EVALUATIONS = 3
"""How many of the last evaluations make up the final return."""


@dataclass(frozen=True)
class MetricKind:
    """What a metric is: its name, unit and one line on how to read it."""

    key: str
    label: str
    unit: Literal["return", "normalised", "steps", "s", "ratio"]
    better: Literal["higher", "lower", "zero"]
    """Which direction is good; ``higher`` for differences: above zero favours the warm arm."""
    paired: bool
    """Whether it is a difference to the cold arm, paired by seed."""
    explanation: str


METRICS: dict[str, MetricKind] = {
    kind.key: kind
    for kind in (
        MetricKind(
            "area_difference",
            "Area under the curve",
            "normalised",
            "higher",
            True,
            "The primary metric. Mean height of the normalised curve over the training budget (0: random "
            "policy, 1: where the cold arm ends), minus that of the cold arm.",
        ),
        MetricKind(
            "jumpstart",
            "Jumpstart",
            "return",
            "higher",
            True,
            "Return before any training in the target, minus that of the cold arm.",
        ),
        MetricKind(
            "asymptotic_gain",
            "Asymptotic gain",
            "return",
            "higher",
            True,
            f"Mean return of the last {LAST_EVALUATIONS} evaluations, minus that of the cold arm.",
        ),
        MetricKind(
            "total_reward_difference",
            "Total reward",
            "return",
            "higher",
            True,
            "Mean return over the whole training budget (area under the curve divided by its width), minus "
            "that of the cold arm.",
        ),
        MetricKind(
            "transfer_ratio",
            "Transfer ratio",
            "ratio",
            "higher",
            True,
            "Difference of the normalised areas relative to the cold arm's area: 1 means twice the area. The "
            "interval is Fieller's.",
        ),
        MetricKind(
            "steps_saved",
            "Steps saved to the threshold",
            "steps",
            "higher",
            True,
            "Cold arm's time to threshold minus this arm's; a run that never stays there counts with the "
            "whole budget.",
        ),
        MetricKind(
            "area_difference_with_source",
            "Area, source counted",
            "normalised",
            "higher",
            True,
            "The primary metric when the source's training is part of the bill: within the cold arm's "
            "budget the curve starts only after the source's steps and has nothing to show (0) before.",
        ),
        MetricKind(
            "steps_saved_with_source",
            "Steps saved, source counted",
            "steps",
            "higher",
            True,
            "Steps saved to the threshold minus the steps that the source agent was trained for.",
        ),
        MetricKind(
            "initial_return",
            "Return before training",
            "return",
            "higher",
            False,
            "Return of the policy as it starts in the target, before any update.",
        ),
        MetricKind(
            "final_return",
            "Final return",
            "return",
            "higher",
            False,
            f"Mean return of the last {LAST_EVALUATIONS} evaluations.",
        ),
        MetricKind(
            "normalised_area",
            "Normalised area",
            "normalised",
            "higher",
            False,
            "Mean height of the normalised curve over the training budget.",
        ),
        MetricKind(
            "maximum_dip",
            "Maximum dip",
            "return",
            "lower",
            False,
            "How far the curve falls below its own start at worst: what training destroys before it builds.",
        ),
        MetricKind(
            "training_seconds",
            "Training time",
            "s",
            "lower",
            False,
            "Wall-clock of training in the target; evaluation isn't counted.",
        ),
        MetricKind(
            "training_seconds_with_source",
            "Training time, source counted",
            "s",
            "lower",
            False,
            "Wall-clock of training in the target and of the source agent.",
        ),
    )
}
