"""Verdicts by hand, and their false-verdict rate by simulation."""

import numpy as np
import pytest

from warmstart.experiments.analysis.verdict import confirming_pairs, judge_arms


def outcome(*differences, **others):
    return judge_arms({"warm": differences, **others})["warm"]


def test_three_clear_seeds_help_provisionally():
    verdict = outcome(1.0, 1.1, 0.9)
    assert (verdict.outcome, verdict.provisional, verdict.pairs) == ("helps", True, 3)
    assert verdict.p_sign_flip == 0.25
    assert "6 pairs could" in verdict.reason


def test_hurts_is_the_other_side():
    assert outcome(-1.0, -1.1, -0.9).outcome == "hurts"


def test_noise_shows_no_difference():
    verdict = outcome(1.0, -1.2, 0.3)
    assert verdict.outcome == "no difference shown"
    assert verdict.difference.low < 0 < verdict.difference.high


def test_six_pairs_need_both_tests():
    verdict = outcome(1.0, 1.1, 0.9, 1.0, 1.2, 0.8)
    assert (verdict.outcome, verdict.provisional) == ("helps", False)
    assert verdict.p_sign_flip == pytest.approx(2 / 64)
    # One sign is off by a hair: the t test rejects, the sign-flip test (p = 4/64) doesn't.
    split = outcome(1.0, 1.1, 0.9, 1.0, 1.2, -0.01)
    assert split.p_t < 0.05 < split.p_sign_flip
    assert split.outcome == "no difference shown"
    assert "disagree" in split.reason


def test_five_pairs_stay_provisional_whatever_they_show():
    assert outcome(*[5.0, 5.1, 5.2, 4.9, 5.05]).provisional


def test_more_arms_need_more_pairs_to_confirm():
    assert [confirming_pairs(arms) for arms in (1, 2, 3, 4, 6, 7)] == [6, 7, 7, 8, 8, 9]
    for arms in range(1, 30):
        needed = confirming_pairs(arms)
        assert arms * 2 / 2**needed <= 0.05 < arms * 2 / 2 ** (needed - 1)


def test_holm_over_arms_takes_away_what_one_arm_alone_would_show():
    strong, weak = (1.0, 1.1, 0.9, 1.05), (1.0, 2.0, 0.6, 0.9)
    assert judge_arms({"weak": weak})["weak"].outcome == "helps"
    # Beside a strong arm it is tested second, without a penalty; beside another weak one it isn't shown.
    both = judge_arms({"weak": weak, "strong": strong})
    assert [both[arm].outcome for arm in ("weak", "strong")] == ["helps", "helps"]
    two = judge_arms({"weak": weak, "other": (0.1, -0.1, 0.2, 0.0)})
    assert two["weak"].outcome == "no difference shown"
    assert two["weak"].p_t_holm == pytest.approx(2 * two["weak"].p_t)
    assert two["weak"].difference.low < 0


def test_without_pairs_nothing_is_compared():
    verdicts = judge_arms({"failed": (), "single": (3.0,), "warm": (1.0, 1.1, 0.9)})
    assert verdicts["failed"].outcome == "not compared"
    assert verdicts["single"].outcome == "no difference shown"
    assert np.isnan(verdicts["single"].p_t)
    assert verdicts["warm"].outcome == "helps"  # the untested two cost it nothing
    assert verdicts["warm"].p_t_holm == verdicts["warm"].p_t


def test_identical_arms_show_no_difference():
    assert outcome(0.0, 0.0, 0.0).outcome == "no difference shown"


@pytest.mark.parametrize("seeds", [3, 5, 8, 10])
@pytest.mark.parametrize("noise", ["normal", "heavy", "failing"])
def test_false_verdicts_are_as_rare_as_claimed(seeds, noise):
    """With no true difference, any false verdict in a study of four arms: at most 5%.

    All arms share the cold arm's seeds, so their differences are correlated, as in a real study. 1,500
    studies estimate the rate to ±1.1 points (two standard errors at 5%).
    """
    rng = np.random.default_rng([seeds, len(noise)])
    studies, arms = 1500, 4
    shape = (studies, arms + 1, seeds)
    if noise == "normal":
        areas = rng.normal(size=shape)
    elif noise == "heavy":
        areas = rng.standard_t(3, size=shape)
    else:  # one trial in five learns nothing
        areas = np.where(rng.random(shape) < 0.2, rng.normal(0, 0.1, shape), rng.normal(1, 0.2, shape))
    differences = areas[:, 1:] - areas[:, :1]
    false = 0
    for study in differences:
        verdicts = judge_arms(dict(enumerate(study)))
        false += any(verdict.outcome in ("helps", "hurts") for verdict in verdicts.values())
    assert false / studies <= 0.05 + 0.011


def test_the_nominal_rate_is_nearly_used_up_where_one_arm_is_compared():
    """The claim isn't met by never deciding: one arm, normal noise, three seeds: 5% false verdicts."""
    rng = np.random.default_rng(0)
    false = sum(outcome(*rng.normal(size=3)).outcome != "no difference shown" for _ in range(3000))
    assert false / 3000 == pytest.approx(0.05, abs=0.012)


def test_a_real_difference_is_found():
    """Power with ten seeds, effect 1.5 standard deviations of the paired difference: nearly always."""
    rng = np.random.default_rng(1)
    found = sum(outcome(*rng.normal(1.5, size=10)).outcome == "helps" for _ in range(300))
    assert found / 300 > 0.9
