"""Automatic domain randomization: which ends are probed, and when they move."""

import numpy as np
import pytest
from scipy import stats

from tests.sim2real.curricula.practice import CART, LOG, POLE, make, practise, tell
from warmstart.sim2real.curricula.adr import ADR, ADRSettings


def test_adr_probes_every_end_alike():
    curriculum = make("adr", [POLE, CART, LOG], seed=1, start=0.5)
    n = 24_000
    values = curriculum.draw(np.arange(n), np.zeros(n, int))
    low, high = (
        term.distribution.quantile(position)
        for term, position in zip([POLE] * 2, (curriculum.low[0], curriculum.high[0]), strict=True)
    )
    ends = np.array([(0.75, 2.5), (0.75, 1.75), (0.5, 2.0)])
    assert (low, high) == pytest.approx(ends[0])
    at = np.isclose(values[:, :, None], ends)
    np.testing.assert_allclose(at.mean(axis=0), 1 / 12, atol=0.01)
    assert at.sum(axis=(1, 2)).max() == 1, "one term at one end"
    inside = values[~at.any(axis=(1, 2))]
    assert len(inside) / n == pytest.approx(0.5, abs=0.01)
    assert stats.kstest(inside[:, 0], stats.uniform(0.75, 1.75).cdf).pvalue > 1e-3
    assert stats.kstest(np.log2(inside[:, 2]), stats.uniform(-1, 2).cdf).pvalue > 1e-3
    probing_others = values[at[:, 1:].any(axis=(1, 2))]
    assert stats.kstest(probing_others[:, 0], stats.uniform(0.75, 1.75).cdf).pvalue > 1e-3


def probes(curriculum, end, returns, first):
    """Feed returns of episodes that probe an end, found among those that are drawn."""
    episode = first
    for value in returns:
        while True:
            curriculum.draw(np.array([0]), np.array([episode]))
            episode += 1
            found = int(curriculum._begun[0][-1][1])
            if found == end:
                tell(curriculum, [value], [0], step=episode)
                break
            tell(curriculum, [100.0], [0], step=episode)
            for buffer in curriculum.buffers[:end] + curriculum.buffers[end + 1 :]:
                buffer.clear()  # the other ends aren't asked about
    return episode


def test_adr_moves_ends_by_hand():
    """The widest range of the cart's mass is 0.5 to 2.5: a tenth of its half is 0.1."""
    settings = ADRSettings(success=10, t_low=4, buffer=3)
    curriculum = ADR([CART], settings, seed=0)
    episode = probes(curriculum, 1, [12, 8, 10], 0)
    assert curriculum.history[-1]["cart.mass/high"] == pytest.approx(1.1), "mean 10 reaches t_high"
    assert curriculum.history[-1]["cart.mass/low"] == pytest.approx(1.0)
    episode = probes(curriculum, 1, [10, 10, 9.9], episode)
    assert len(curriculum.history) == 2, "mean 9.97: neither"
    episode = probes(curriculum, 1, [30, 0, 0], episode)
    assert curriculum.history[-1]["cart.mass/high"] == pytest.approx(1.2)
    episode = probes(curriculum, 1, [4, 4, 4], episode)
    assert len(curriculum.history) == 3, "t_low itself isn't below it"
    episode = probes(curriculum, 1, [4, 4, 3.7], episode)
    assert curriculum.history[-1]["cart.mass/high"] == pytest.approx(1.1)
    episode = probes(curriculum, 0, [20] * 3 * 7, episode)
    assert curriculum.history[-1]["cart.mass/low"] == 0.5, "the widest"
    assert len(curriculum.history) == 4 + 5
    episode = probes(curriculum, 1, [0] * 3 * 4, episode)
    assert curriculum.history[-1]["cart.mass/high"] == pytest.approx(1.0), "never past the nominal"
    assert curriculum.history[-1]["entropy"] == pytest.approx(np.log(0.25))
    assert len(curriculum.history) == 4 + 5 + 1


def test_adr_collects_no_episode_from_before_its_end_moved():
    curriculum = make("adr", [CART], buffer=4, start=0.2, t_low=-1)
    n = 64
    curriculum.draw(np.arange(n), np.zeros(n, int))
    probing = sum(begun[0][1] == 1 for begun in curriculum._begun.values())
    assert probing >= 2 * 4
    curriculum.draw(np.arange(n), np.ones(n, int))
    tell(curriculum, [1.0] * n)
    assert [len(buffer) for buffer in curriculum.buffers] == [0, 0]
    assert curriculum.history[-1]["cart.mass/high"] == pytest.approx(1.3 + 0.1), "once, not twice"


def test_adr_widens_to_where_the_agent_fails():
    curriculum = make("adr", [CART, POLE], start=0, t_low=0.5)
    practise(curriculum, lambda values: (values[:, 0] < 1.65) & (values[:, 1] > 0.7), 400)
    found = curriculum.snapshot()
    assert found["cart.mass/low"] == 0.5
    assert 1.5 < found["cart.mass/high"] < 1.75, "the first step past 1.65 is 1.7"
    assert 0.5 < found["pole.mass/low"] < 0.83, "steps of 0.175"
    assert found["pole.mass/high"] == pytest.approx(4)
