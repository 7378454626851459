"""Each statistic against numbers worked out by hand."""

import numpy as np
import pytest

from warmstart.experiments.analysis.statistics import (
    bootstrap,
    holm,
    improvement,
    iqm,
    kaplan_meier,
    mean,
    median_time,
    paired_ratio,
    paired_t,
    restricted_mean,
    sign_flip_test,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_iqm_cuts_a_quarter_at_either_end():
    assert iqm(np.array([[100.0, 1, 2, 3, 4, 5, 6, -50]])) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert iqm(np.array([[1.0, 2, 9], [0, 5, 7]])) == pytest.approx([4, 4])  # three runs: nothing to cut
    assert iqm(np.array([[0.0, 5, 6, 7, 100]])) == pytest.approx(6)


def test_iqm_agrees_with_scipy():
    from scipy.stats import trim_mean

    values = rng().normal(size=(3, 21))
    assert iqm(values) == pytest.approx(trim_mean(values, 0.25, axis=1))


def test_bootstrap_resamples_whole_runs():
    # Runs of opposite slope: whichever are drawn, the mean over the two points stays.
    _, low, high = bootstrap([[0.0, 4.0], [4.0, 0.0]], mean, rng(), resamples=500)
    assert (low + high).tolist() == [4.0, 4.0]


def test_bootstrap_of_two_runs_by_hand():
    # Resampled means of (0, 1): 0 (1/4), .5 (1/2), 1 (1/4): the 40% interval is [.5, .5], the 60% one [0, 1].
    for level, ends in ((0.4, (0.5, 0.5)), (0.6, (0.0, 1.0))):
        _, low, high = bootstrap([[0.0], [1.0]], mean, rng(), resamples=2000, level=level)
        assert (low.item(), high.item()) == ends


def test_bootstrap_is_reproducible_and_needs_two_runs():
    scores = rng().normal(size=(6, 1))
    one, two = (bootstrap(scores, iqm, rng(), resamples=2000) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    estimate, low, _ = bootstrap([[1.0, 3.0]], mean, rng(), resamples=100)
    assert estimate.tolist() == [1.0, 3.0]
    assert np.isnan(low).all()


def test_bootstrap_band():
    centre, low, high = bootstrap([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]], mean, rng(), resamples=1000)
    assert centre.tolist() == [2.0, 5.0]
    assert (low[0], high[0]) == (0.0, 4.0)
    assert (low[1], high[1]) == (5.0, 5.0)


def test_improvement_counts_ties_half():
    # Pairs of (1, 3) against (2, 3, 0): 1>0; 3>2, 3=3, 3>0: (1 + 2.5) / 6.
    assert improvement([1, 3], [2, 3, 0], rng()).estimate == pytest.approx(3.5 / 6)
    assert np.isnan(improvement([], [1], rng()).estimate)


def test_improvement_interval():
    certain = improvement([5, 6, 7], [1, 2], rng())
    assert (certain.estimate, certain.low, certain.high) == (1.0, 1.0, 1.0)
    assert np.isnan(improvement([5], [1, 2], rng()).low)


def test_paired_t_by_hand():
    # Differences 1, 2, 3: mean 2, s = 1, s/√3 = .57735; t(2, .975) = 4.302653; t = 3.4641, p = .0741799.
    result = paired_t([1, 2, 3])
    assert result.interval.estimate == 2
    assert result.interval.low == pytest.approx(2 - 4.302653 * 0.5773503, abs=1e-5)
    assert result.interval.high == pytest.approx(2 + 4.302653 * 0.5773503, abs=1e-5)
    assert result.p == pytest.approx(0.0741799, abs=1e-6)


def test_paired_t_at_the_edges():
    assert np.isnan(paired_t([1.0]).p)
    assert paired_t([1.0]).interval.estimate == 1.0
    assert paired_t([0.0, 0.0]).p == 1.0
    assert paired_t([0.1 + 0.2, 0.3]).p == 0.0
    assert np.isnan(paired_t([]).interval.estimate)


def test_paired_ratio_by_hand():
    # A constant denominator of 2 leaves the t interval of the numerator (1, 2, 3), halved.
    ratio, t = paired_ratio([1, 2, 3], [2, 2, 2]), paired_t([1, 2, 3]).interval
    assert ratio.estimate == 1.0
    assert (ratio.low, ratio.high) == (pytest.approx(t.low / 2), pytest.approx(t.high / 2))


def test_paired_ratio_bounds_are_where_the_t_test_turns():
    x, y = np.array([4.0, 5.5, 6.1, 5.2]), np.array([2.0, 2.4, 2.9, 2.2])
    ratio = paired_ratio(x, y)
    for bound in (ratio.low, ratio.high):
        assert paired_t(x - bound * y).p == pytest.approx(0.05, abs=1e-6)
    assert np.isnan(paired_ratio([1, 2, 3], [-1.0, 0.1, 1.0]).low)  # denominator not told from zero


def test_sign_flip_by_hand():
    assert sign_flip_test([1, 1, 1]) == 0.25  # 2 of 8 patterns
    assert sign_flip_test([1, 2, 3, 4, 5]) == 0.0625
    assert sign_flip_test([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)
    # -1, 2, 3: |sum| 4; of 8 patterns |±1±2±3| is 6, 6, 4, 4, 2, 2, 0, 0: four at least 4.
    assert sign_flip_test([-1, 2, 3]) == 0.5
    assert sign_flip_test([0, 0]) == 1.0
    assert np.isnan(sign_flip_test([]))


def test_sign_flip_matches_brute_force():
    values = rng().normal(loc=0.4, size=9)
    patterns = np.array(np.meshgrid(*[[-1, 1]] * 9)).reshape(9, -1)
    brute = np.mean(np.abs(values @ patterns) >= abs(values.sum()) - 1e-12)
    assert sign_flip_test(values) == pytest.approx(brute)


def test_sign_flip_beyond_enumeration_draws_from_the_generator():
    values = rng().normal(loc=0.5, size=24)
    p = sign_flip_test(values, rng(), draws=20_000)
    assert p == sign_flip_test(values, rng(), draws=20_000)
    assert p == pytest.approx(paired_t(values).p, abs=0.02)
    with pytest.raises(ValueError, match="Generator"):
        sign_flip_test(values)


def test_holm_by_hand():
    # Sorted .01, .02, .03, .04: ×4 ×3 ×2 ×1 = .04, .06, .06, .04 -> running maximum .04, .06, .06, .06.
    assert holm([0.03, 0.01, 0.04, 0.02])[0] == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8])[0] == pytest.approx([1.0, 1.0])
    adjusted, _ = holm([0.04, np.nan, 0.01])
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.02])
    assert np.isnan(adjusted[1])


def test_holm_levels_give_intervals_that_agree_with_the_adjusted_p():
    generator = rng()
    for _ in range(200):
        samples = generator.normal(loc=generator.uniform(0, 2, size=4)[:, None], size=(4, 5))
        p = [paired_t(sample).p for sample in samples]
        for sample, adjusted, level in zip(samples, *holm(p), strict=True):
            interval = paired_t(sample, level).interval
            assert (interval.low > 0 or interval.high < 0) == (adjusted <= 0.05)


def test_holm_levels_by_hand():
    # .001 · 3 rejects (α/3), .04 · 2 doesn't: it and the last are judged at α/2.
    assert holm([0.04, 0.001, 0.3])[1] == pytest.approx([0.975, 1 - 0.05 / 3, 0.975])


def test_kaplan_meier_by_hand():
    # Events at 2 (of 4 at risk) and 5 (of 2 at risk), censored at 3 and 8.
    moments, survival = kaplan_meier([2, 3, 5, 8], [True, False, True, False])
    assert moments.tolist() == [2, 5]
    assert survival == pytest.approx([0.75, 0.375])
    # Area to 8: 2·1 + 3·.75 + 3·.375.
    assert restricted_mean([2, 3, 5, 8], [True, False, True, False], 8) == pytest.approx(5.375)
    assert median_time([2, 3, 5, 8], [True, False, True, False]) == 5


def test_restricted_mean_counts_a_failure_with_the_horizon():
    assert restricted_mean([10, 20, 100], [True, True, False], 100) == pytest.approx(130 / 3)
    assert restricted_mean([100, 100], [False, False], 100) == 100
    assert restricted_mean([0, 0], [True, True], 100) == 0
    assert restricted_mean([50, 200], [True, True], 100) == 75  # later than the horizon counts as the horizon
    assert median_time([10, 100, 100], [True, False, False]) == np.inf
    assert median_time([10, 20, 100], [True, True, False]) == 20
    assert np.isnan(restricted_mean([], [], 1))
