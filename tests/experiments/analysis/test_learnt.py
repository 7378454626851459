"""Agents that haven't learnt are called so, and nothing is judged between two of them."""

import re

import numpy as np
import pytest

from warmstart.experiments.analysis.curves import Curve, RunData
from warmstart.experiments.analysis.learnt import why_unlearnt
from warmstart.experiments.analysis.summary import Summary, summarise

STEPS = np.arange(0, 1001, 100)


def curve(last: float, length: float = 100.0, arm: str = "scratch", seed: int = 0, **known: object) -> Curve:
    returns = np.full(len(STEPS), last)
    returns[0] = 10.0
    lengths = np.full(len(STEPS), length)
    return Curve(arm, seed, STEPS, returns + seed, np.zeros(len(STEPS)), lengths=lengths, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "last", "length", "said"),
    [
        ("Hopper-v5", 40.0, 30, r"X hasn't learnt: its last returns, 40\.0 on average, .* \(15\.0 ± 14\.0\)"),
        ("Hopper-v5", 44.0, 30, ""),  # 15 + 2 · 14 is 43
        ("Hopper-v5@friction=x0.5", 997.0, 1000, "X hasn't learnt to move: 997 in 1,000 steps .* It stands"),
        ("Hopper-v5", 1101.0, 1000, ""),
        ("Hopper-v5", 300.0, 300, ""),  # falls: it does something else than stand
        ("HalfCheetah-v5", 997.0, 1000, ""),
        ("Humanoid-v5", 5100.0, 1000, "It stands"),
        ("HumanoidStandup-v5", 5000.0, 1000, ""),
        ("Hopper-v5:healthy_reward=0.5", 997.0, 1000, ""),
        ("Own-v0", float("nan"), 10, ""),
    ],
)
def test_who_has_not_learnt(task: str, last: float, length: float, said: str) -> None:
    found = why_unlearnt("X", [curve(last, length)], task, (15.0, 14.0), "random actions'")
    assert bool(found) == bool(said)
    assert re.search(said, found)


def test_nobody_tells_without_a_reference_or_of_what_never_trained() -> None:
    nothing = (float("nan"), float("nan"))
    assert why_unlearnt("X", [curve(1.0)], "Own-v0", nothing, "") == ""
    assert "X hasn't learnt" in why_unlearnt("X", [curve(1.0, constant=True)], "Own-v0", (5.0, 1.0), "Z")
    assert why_unlearnt("X", [], "Own-v0", (5.0, 1.0), "") == ""


def judged(cold: float, warm: float, source: float, **known: object) -> Summary:
    seeds = range(8)
    curves = [curve(cold, seed=s) for s in seeds]
    curves += [curve(warm, arm="warm", seed=s, source_steps=1000, **known) for s in seeds]
    sources = tuple(curve(source, arm="source", seed=s, start_spread=8.0) for s in seeds)
    study = {"target": "Hopper-v5@gravity=x2", "source": "Hopper-v5"}
    run = RunData("r", study, tuple(curves), sources, random_return=15.0, random_spread=14.0)
    return summarise(run)


def test_each_is_named_before_the_other_notes() -> None:
    summary = judged(11.0, 12.0, 20.0)
    first, second = summary.unlearnt
    assert first.startswith("The source agent hasn't learnt: its last returns, 23.5 on average,")
    assert second.startswith("scratch hasn't learnt: its last returns, 14.5 on average,")
    assert summary.notes[:2] == (first, second)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("cold", "warm", "source", "told"),
    [
        (11.0, 12.0, 20.0, "not compared: neither warm nor scratch has learnt"),
        (11.0, 12.0, 900.0, "not compared: neither warm nor scratch has learnt"),
        (700.0, 500.0, 20.0, "not compared: the source agent hasn't learnt"),
        (11.0, 500.0, 20.0, "not compared: the source agent hasn't learnt"),
        (11.0, 500.0, 900.0, "helps"),
        (700.0, 500.0, 900.0, "hurts"),
    ],
)
def test_nothing_is_judged_where_nobody_learnt(
    cold: float, warm: float, source: float, told: str, constant: bool
) -> None:
    arm = judged(cold, warm, source, constant=constant).arm("warm")
    assert str(arm.headline).startswith(f"warm: {told}") or str(arm.headline).startswith(f"warm {told}")
