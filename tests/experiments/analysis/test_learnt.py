"""Agents that haven't learnt are called so, and nothing is judged between two of them."""

import re

import numpy as np
import pytest

from warmstart.experiments.analysis.curves import Curve, RunData
from warmstart.experiments.analysis.learnt import why_unlearnt
from warmstart.experiments.analysis.summary import summarise

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
    assert why_unlearnt("X", [curve(1.0, constant=True)], "Own-v0", (5.0, 1.0), "") == ""
    assert why_unlearnt("X", [], "Own-v0", (5.0, 1.0), "") == ""


@pytest.mark.parametrize(("warm", "outcome"), [(12.0, "not compared"), (500.0, "helps")])
def test_nothing_is_judged_between_two_that_have_not_learnt(warm: float, outcome: str) -> None:
    seeds = range(8)
    curves = [curve(11.0, seed=s) for s in seeds] + [curve(warm, arm="fine_tune", seed=s) for s in seeds]
    source = tuple(curve(20.0, arm="source", seed=s, start_spread=8.0) for s in seeds)
    study = {"target": "Hopper-v5@gravity=x2", "source": "Hopper-v5"}
    run = RunData("r", study, tuple(curves), source, random_return=15.0, random_spread=14.0)
    summary = summarise(run)
    first, second = summary.unlearnt
    assert first.startswith("The source agent hasn't learnt: its last returns, 23.5 on average,")
    assert second.startswith("scratch hasn't learnt: its last returns, 14.5 on average,")
    assert summary.notes[:2] == (first, second)
    arm = summary.arm("fine_tune")
    assert arm.verdict is not None
    assert arm.verdict.outcome == outcome
    if outcome == "not compared":
        assert str(arm.headline) == "fine_tune: not compared: neither fine_tune nor scratch has learnt"
