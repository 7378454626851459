"""Whether agents have learnt what could be compared: more than random actions, more than standing."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from warmstart.experiments.analysis.curves import Curve
from warmstart.experiments.analysis.metric_kinds import LAST_EVALUATIONS

SURVIVAL = {"Hopper": 1.0, "Walker2d": 1.0, "Ant": 1.0, "Humanoid": 5.0}
"""What Gymnasium's walkers get per step for not falling (``healthy_reward``)."""
LONG = 500
"""Steps of an episode from which on a walker that gets nothing else is said to stand."""
CLOSE = 0.1
"""Share of the bonus by which such a walker's reward per step may differ from it: what its motors cost."""
CLEARLY = 2.0
"""Standard deviations of single episodes by which a mean is clearly above another."""

SOURCE = "source"
"""What a study's source agents are called among its arms."""

USUAL_REWARD = "task"
"""What a study calls the task's own reward."""

Reference = tuple[float, float]
"""Mean and standard deviation over episodes of what hasn't learnt; NaN where unknown."""


def reward_name(written: object) -> str:
    """What a study says that agents train on in place of their task's reward; empty for that itself."""
    name = written.get("name") if isinstance(written, Mapping) else written
    return str(name) if name and name != USUAL_REWARD else ""


def unrewarded(study: Mapping[str, Any]) -> dict[str, str]:
    """Say which agents of a study are trained without their task's reward.

    Args:
        study: The resolved study; empty for curves that others made.

    Returns:
        A sentence for each of these arms, and for the source agents (`SOURCE`): their returns don't tell
        whether they have learnt.
    """
    written = {arm["name"]: arm.get("reward") for arm in study.get("arms", ())}
    names = {name: reward_name(reward) for name, reward in written.items()}
    called = {SOURCE: "The source agent", **{name: name for name in names}}
    names = {SOURCE: reward_name(study.get("source_reward")), **names}
    return {
        who: f"{called[who]} was trained without the task's reward, on {name}: its returns, which are the "
        "task's, don't tell what it has learnt."
        for who, name in names.items()
        if name
    }


def why_unlearnt(name: str, curves: Sequence[Curve], task: str, reference: Reference, whose: str) -> str:
    """Say why agents haven't learnt.

    Args:
        name: What they are called.
        curves: Theirs, over seeds.
        task: The task they were trained in.
        reference: Returns of what hasn't learnt in that task.
        whose: What that is called: ``random actions'``.

    Returns:
        A sentence; empty where they have learnt, or nobody can tell.
    """
    trained = [curve for curve in curves if curve.constant or len(curve.steps) > 1]
    if not trained:
        return ""
    last = float(np.mean([curve.returns[-LAST_EVALUATIONS:].mean() for curve in trained]))
    mean, spread = reference
    if np.isfinite([last, mean, spread]).all() and last <= mean + CLEARLY * spread:
        return (
            f"{name} hasn't learnt: its last returns, {last:,.1f} on average, aren't clearly above {whose} "
            f"({mean:,.1f} ± {spread:,.1f})."
        )
    found = re.search(r"(\w+?)-v\d", task)
    bonus = SURVIVAL.get(found[1], 0.0) if found and "healthy_reward" not in task else 0.0
    held = [curve.lengths[-LAST_EVALUATIONS:].mean() for curve in trained if len(curve.lengths)]
    length = float(np.mean(held)) if held else 0.0
    if bonus and length >= LONG and abs(last / length - bonus) <= CLOSE * bonus:
        return (
            f"{name} hasn't learnt to move: {last:,.0f} in {length:,.0f} steps is what it gets for not "
            f"falling ({bonus:g} per step). It stands."
        )
    return ""
