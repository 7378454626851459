"""What the transfer metrics are: name, unit and how to read them, each written once.

Report, command and ``docs/metrics.md`` use these words.
"""

from dataclasses import dataclass
from typing import Literal

LAST_EVALUATIONS = 3
"""How many of the last evaluations make up the final return."""


@dataclass(frozen=True)
class MetricKind:
    """What a metric is: its name, unit and one line on how to read it."""

    label: str
    unit: Literal["return", "normalised", "steps", "s", "ratio"]
    explanation: str
    paired: bool = True
    """Whether it is a difference to the cold arm, paired by seed: above zero favours the warm arm."""


METRICS: dict[str, MetricKind] = {
    "area_difference": MetricKind(
        "Area under the curve",
        "normalised",
        "The primary metric. Mean height of the normalised curve over the training budget (0: random "
        "policy, 1: where the cold arm ends), minus that of the cold arm.",
    ),
    "jumpstart": MetricKind(
        "Jumpstart",
        "return",
        "Return before any training in the target, minus that of the cold arm.",
    ),
    "asymptotic_gain": MetricKind(
        "Asymptotic gain",
        "return",
        f"Mean return of the last {LAST_EVALUATIONS} evaluations, minus that of the cold arm.",
    ),
    "total_reward_difference": MetricKind(
        "Total reward",
        "return",
        "Mean return over the whole training budget (area under the curve divided by its width), minus "
        "that of the cold arm.",
    ),
    "transfer_ratio": MetricKind(
        "Transfer ratio",
        "ratio",
        "Difference of the normalised areas relative to the cold arm's area: 1 means twice the area. The "
        "interval is Fieller's.",
    ),
    "steps_saved": MetricKind(
        "Steps saved to the threshold",
        "steps",
        "Cold arm's time to threshold minus this arm's; a run that never stays there counts with the "
        "whole budget.",
    ),
    "area_difference_with_source": MetricKind(
        "Area, source counted",
        "normalised",
        "The primary metric when the source's training is part of the bill: within the cold arm's "
        "budget the curve starts only after the source's steps and has nothing to show (0) before.",
    ),
    "steps_saved_with_source": MetricKind(
        "Steps saved, source counted",
        "steps",
        "Steps saved to the threshold minus the steps that the source agent was trained for.",
    ),
    "initial_return": MetricKind(
        "Return before training",
        "return",
        "Return of the policy as it starts in the target, before any update.",
        paired=False,
    ),
    "final_return": MetricKind(
        "Final return",
        "return",
        f"Mean return of the last {LAST_EVALUATIONS} evaluations.",
        paired=False,
    ),
    "normalised_area": MetricKind(
        "Normalised area",
        "normalised",
        "Mean height of the normalised curve over the training budget.",
        paired=False,
    ),
    "maximum_dip": MetricKind(
        "Maximum dip",
        "return",
        "How far the curve falls below its own start at worst: what training destroys before it builds.",
        paired=False,
    ),
    "training_seconds": MetricKind(
        "Training time",
        "s",
        "Wall-clock of training in the target; evaluation isn't counted.",
        paired=False,
    ),
    "training_seconds_with_source": MetricKind(
        "Training time, source counted",
        "s",
        "Wall-clock of training in the target and of the source agent.",
        paired=False,
    ),
}
