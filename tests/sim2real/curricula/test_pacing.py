"""Performance-paced widening, by hand."""

import copy

import numpy as np
import pytest

from tests.sim2real.curricula.practice import LOG, POLE, make, practise, tell


def test_paced_ranges_by_hand():
    curriculum = make("paced", [POLE, LOG], window=4, rate=0.25, upper=0.75, lower=0.5)
    envs = np.arange(4)

    def episodes(returns, step):
        curriculum.draw(envs, np.full(4, step))
        tell(curriculum, returns, step=step)
        return curriculum.share

    assert episodes([1, 1, 0, 0], 1) == 0, "half: neither"
    assert episodes([1, 1, 0, 0], 2) == 0, "0 of 4 old ones left, still half"
    assert episodes([1, 1, 1, 0], 3) == 0.25, "three quarters of the last four"
    entry = curriculum.history[-1]
    assert entry == {
        "step": 3,
        "pole.mass/low": pytest.approx(1 - 0.5 / 4),
        "pole.mass/high": pytest.approx(1 + 3 / 4),
        "damping/low": pytest.approx(4**-0.25),
        "damping/high": pytest.approx(4**0.25),
        "entropy": pytest.approx(np.log(0.25)),
        "width": pytest.approx(0.25),
        "success_rate": 0.75,
    }
    values = copy.deepcopy(curriculum).draw(np.arange(1000), np.full(1000, 99))
    assert 0.875 <= values[:, 0].min() < 0.89
    assert 1.73 < values[:, 0].max() <= 1.75
    for share in (0.5, 0.75, 1.0, 1.0):
        assert episodes([1, 1, 1, 1], 4) == share
    assert episodes([0, 0, 1, 1], 5) == 1.0, "four of the last four count, half succeed"
    assert episodes([0, 0, 0, 1], 6) == 0.75
    for _ in range(4):
        episodes([0, 0, 0, 0], 7)
    assert curriculum.share == 0
    assert [entry["width"] for entry in curriculum.history] == pytest.approx(
        [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]
    )


def test_episodes_from_before_a_change_dont_count():
    curriculum = make("paced", [POLE], window=4, rate=0.25)
    for episode in range(3):
        curriculum.draw(np.arange(4), np.full(4, episode))
    tell(curriculum, [1] * 8, [0, 1, 2, 3, 0, 1, 2, 3])
    assert curriculum.share == 0.25, "the second four were as narrow as the first"
    tell(curriculum, [1] * 4)
    assert curriculum.share == 0.25


def test_paced_never_narrows_below_its_start():
    curriculum = make("paced", [POLE], start=0.5, window=4)
    practise(curriculum, lambda values: values[:, 0] > 9, 5)
    assert curriculum.share == 0.5
    assert len(curriculum.history) == 1
