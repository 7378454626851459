"""What a warm start is expected to gain on a cold one, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from tests.transfer.similarity.test_similarity import SHORT, source_of
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.similarity.expected import Learning, cold_share, expected_difference
from warmstart.transfer.similarity.similarity import outlook_of, similarity


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5), (-0.4, -0.2), (1.5, 1.0)]
)
def test_without_known_learning_it_is_half_of_the_share_up_to_one(share, expected):
    assert expected_difference(share, 100.0, 20.0, None, 1_000) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("share", "budget", "expected"),
    [
        # from 10 to 90 at 100 and 110 at 200: gains on chance (10) of 0, 80, 100; areas 40 and 65 of them
        (1.0, 100, (100 + 100) / 2 / 80 - 40 / 80),
        (0.5, 100, (50 + 80) / 2 / 80 - 40 / 80),
        (0.0, 100, 0.0),
        (1.0, 200, 1.0 - 0.65),
        (0.0, 200, 0.5 - 0.65),
        (1.0, 400, 1.0 - (65 + 100) / 2 / 100),  # the last value is held
    ],
)
def test_a_cold_start_learns_as_the_source_did(share, budget, expected):
    learning = Learning((0, 100, 200), (10.0, 90.0, 110.0))
    assert expected_difference(share, 100.0, 10.0, learning, budget) == pytest.approx(expected, abs=2e-3)


def test_who_starts_near_its_end_leaves_little_to_gain():
    learning = Learning((0, 100), (-11.0, -7.0))  # chance earns -43
    assert expected_difference(1.0, 36.0, -43.0, learning, 100) == pytest.approx(1 - 34 / 36, abs=1e-3)
    assert cold_share(36.0, -43.0, learning, 100) == pytest.approx(34 / 36, abs=1e-3)


def test_who_did_not_learn_within_the_budget_gives_a_finite_benefit():
    learning = Learning((0, 100, 200), (0.0, 0.0, 100.0))
    assert expected_difference(1.0, 100.0, 0.0, learning, 50) == pytest.approx(100 / 5)


@pytest.mark.parametrize(
    ("steps", "returns"), [((), ()), ((0, 0), (1.0, 2.0)), ((5, 1), (1.0, 2.0)), ((0, 1), (1.0,))]
)
def test_learning_is_told_at_growing_steps(steps, returns):
    with pytest.raises(WarmstartError, match="returns at growing steps, one for each"):
        Learning(steps, returns)


@pytest.mark.parametrize(
    ("low", "high", "method", "expected"),
    [
        (0.1, 0.3, "fine_tune", ("helps", "fine_tune")),
        (-0.1, 0.3, "fine_tune", ("open", "fine_tune")),
        (-0.3, -0.1, "fine_tune", ("hurts", "guarded")),
        (-0.3, -0.1, "kickstart", ("hurts", "kickstart")),
    ],
)
def test_the_interval_decides_on_the_outlook(low, high, method, expected):
    assert outlook_of(low, high, method) == expected


def test_similarity_says_how_fast_a_cold_start_is(envs):
    source = read_source(source_of("ppo", envs, 4.0))
    asked = {"episodes": 4, "source_task": SHORT}
    target = f"{SHORT}@pole.mass=x1.2"
    plain = similarity(source, target, **asked)
    slow, fast = (
        similarity(
            source, target, **asked, learning=Learning((0, 10, 1_000), (1.0, at_ten, 100.0)), budget=1_000
        )
        for at_ten in (1.0, 100.0)
    )
    assert fast.predicted < plain.predicted <= slow.predicted + 0.01
    assert "average over 1,000 steps" in fast.reason
    assert "average over" not in plain.reason
    assert np.isfinite([fast.predicted_low, fast.predicted_high]).all()
    assert not math.isnan(slow.predicted)
