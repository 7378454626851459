"""Terms as text and mappings, and the distributions behind them."""

import numpy as np
import pytest
from scipy import stats

from warmstart.core.errors import WarmstartError
from warmstart.core.keyed import coarse_normal, coarse_uniform, hashes, keys_of, uniforms
from warmstart.sim2real.randomization.distributions import (
    DISTRIBUTIONS,
    Beta,
    Categorical,
    LogUniform,
    Normal,
    TruncatedNormal,
    Uniform,
)
from warmstart.sim2real.randomization.terms import Term, When, read_term

FIXED = (0.2220047916013263, 0.38660080722105133)
"""What seed 1 gives environment 0 under the keys a and b, on any machine."""
SHARES = np.array([0.001, 0.2, 0.5, 0.9, 0.999])


@pytest.mark.parametrize(
    ("distribution", "peer"),
    [
        (Uniform(2, 5), stats.uniform(2, 3)),
        (LogUniform(0.5, 4), stats.loguniform(0.5, 4)),
        (Normal(1, 0.3), stats.norm(1, 0.3)),
        (TruncatedNormal(1, 0.5, 0.4, 3), stats.truncnorm(-1.2, 4, 1, 0.5)),
        (Beta(1, 3, 2, 5), stats.beta(2, 5, 1, 2)),
    ],
)
def test_quantiles_are_scipys(distribution, peer):
    np.testing.assert_allclose(distribution.quantile(SHARES), peer.ppf(SHARES), rtol=1e-9)


def test_choices_come_in_proportion_to_their_weights():
    choice = Categorical((3.0, 1.0, 2.0), (1, 2, 1))
    np.testing.assert_array_equal(choice.quantile(np.array([0.1, 0.3, 0.7, 0.8])), [3, 1, 1, 2])
    assert choice.bounds == (1, 3)
    np.testing.assert_array_equal(Categorical((1.0, 2.0)).quantile(np.array([0.49, 0.51])), [1, 2])
    assert Categorical((1.0, 2.0), (1, 0)).quantile(np.array([1 - 1e-16])) == 1


def test_unbounded_distributions_end_at_six_standard_deviations():
    low, high = Normal(0, 1).bounds
    assert -6.1 < low < -5.9
    assert high == pytest.approx(-low)


@pytest.mark.parametrize(
    ("written", "term"),
    [
        ("x0.5:x1.5", Term(("p",), Uniform(0.5, 1.5))),
        ("-=10:+=10", Term(("p",), Uniform(-10, 10), "add")),
        ("-1:0.3", Term(("p",), Uniform(-1, 0.3), "set")),
        ({"range": "x0.5:x2", "distribution": "log_uniform"}, Term(("p",), LogUniform(0.5, 2))),
        ({"mean": "x1", "std": 0.1}, Term(("p",), Normal(1, 0.1))),
        ({"mean": "-=1", "std": 0.1}, Term(("p",), Normal(-1, 0.1), "add")),
        ({"mean": 3, "std": 1, "range": "2:5"}, Term(("p",), TruncatedNormal(3, 1, 2, 5), "set")),
        ({"range": "x1:x2", "alpha": 2, "beta": 3}, Term(("p",), Beta(1, 2, 2, 3))),
        (
            {"values": ["x1", "x2"], "weights": [1, 3]},
            Term(("p",), Categorical((1.0, 2.0), (1.0, 3.0))),
        ),
        ({"values": [1, 2], "each": True}, Term(("p",), Categorical((1.0, 2.0)), "set", each=True)),
        (
            {"parameters": ["a", "b"], "range": "x1:x2", "when": "every 2 s", "probability": 0.5},
            Term(("a", "b"), Uniform(1, 2), when=When("seconds", 2), probability=0.5),
        ),
        ({"range": "x1:x2", "when": "startup"}, Term(("p",), Uniform(1, 2), when=When("startup"))),
        ({"range": "x1:x2", "when": "every 50 steps"}, Term(("p",), Uniform(1, 2), when=When("steps", 50))),
    ],
)
def test_terms_are_read_and_written(written, term):
    assert read_term("p", written) == term
    assert read_term(term.name, term.to_json()) == term


def test_every_distribution_is_read():
    kinds = {type(read_term("p", w).distribution) for w in (
        "x1:x2", {"range": "x1:x2", "distribution": "log_uniform"}, {"mean": "x1", "std": 1},
        {"mean": "x1", "std": 1, "range": "x0.5:x2"}, {"values": [1]},
        {"range": "x1:x2", "alpha": 1, "beta": 1},
    )}  # fmt: skip
    assert kinds == set(DISTRIBUTIONS.values())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("0.5 to 1.5", "p: expected a range such as x0.5:x1.5"),
        ("x1:2", "p: expected values that all scale, all add or all set, such as x0.5:x1.5"),
        ("x1:two", r"p.range\[1\]: expected a value such as x0.5, \+=1 or 0.3, found 'two'"),
        ("x2:x1", "p.uniform: A range goes from low to high, found 2 to 1: swap them"),
        ("x0.1:x1e999", "p.uniform.high: expected a number that is finite, found inf"),
        (3, "p: expected a range such as"),
        ({"rage": "x1:x2"}, "p.rage: Unknown setting 'rage'. Did you mean 'range'"),
        (
            {"range": "x0:x2", "distribution": "log_uniform"},
            "p.log_uniform.low: expected a number above 0 and finite, found 0",
        ),
        ({"range": "x1:x2", "distribution": "gauss"}, "p: Unknown distribution 'gauss'"),
        ({"range": "x1:x2", "distribution": "normal"}, "p.normal.low: Unknown setting 'low'. Valid: mean"),
        ({"mean": "x1", "distribution": "truncated_normal"}, "p.truncated_normal: 'std' is missing"),
        ({"range": "x1:x2", "alpha": 1, "distribution": "uniform"}, "p.uniform.alpha: Unknown setting"),
        ({"mean": "x1"}, "p.normal: 'std' is missing"),
        ({"mean": "x1", "std": 0}, "p.normal.std: expected a number above 0 and finite, found 0"),
        ({"mean": "x1", "std": 0.1, "range": "x5:x6"}, "has nothing between 5 and 6"),
        ({"mean": "x1", "std": 0.1, "range": "+=0:+=1"}, "all scale, all add or all set"),
        ({"values": []}, "all scale, all add or all set.* found none"),
        ({"values": ["x1", "+=2"]}, "all scale, all add or all set"),
        ({"values": [1, 2], "weights": [1]}, "a weight of at least 0 for each of 2 values"),
        ({"range": "x1:x2", "weights": [1]}, "p.uniform.weights: Unknown setting 'weights'"),
        ({"range": "x1:x2", "alpha": 0, "beta": 1}, "p.beta.alpha: expected a number above 0 .* found 0"),
        ({"range": "x1:x2", "when": "sometimes"}, "when: startup, episode, every N steps or every N s"),
        ({"range": "x1:x2", "when": "every 0 steps"}, "positive whole number"),
        ({"range": "x1:x2", "when": "every 1.5 steps"}, "positive whole number"),
        ({"range": "x1:x2", "probability": 2}, "p.probability: expected a number from 0 to 1, found 2"),
        ({"range": "x1:x2", "probability": "often"}, "p.probability: expected a number, found 'often'"),
        ({"range": "x1:x2", "each": "yes"}, "p.each: expected true or false, found 'yes'"),
        ({"range": "x1:x2", "parameters": []}, "needs the name of a parameter"),
        ({"parameters": ["a"]}, "found none"),
        ({"range": "x1:x2", "parameters": 3}, r"p.parameters.* expected text.*, found"),
        ({"range": "x1:x2", "parameters": ["a", 3]}, r"p.parameters\[1\]: expected text, found 3"),
        ({"values": [1, 2], "weights": 3}, "p.weights: expected a list or nothing .*, found 3"),
        ({"values": [1, 2], "weights": ["a", "b"]}, r"p.weights\[0\]: expected a number, found 'a'"),
        ({"mean": [1], "std": 1}, r"p.mean: expected a value such as .* found \[1\]"),
        ({"mean": "x1", "std": "wide"}, "p.std: expected a number or nothing .*, found 'wide'"),
    ],
)
def test_mistakes_name_the_term(written, said):
    with pytest.raises(WarmstartError, match=said) as found:
        read_term("p", written)
    assert "p" in str(found.value)


def test_seconds_become_the_nearest_number_of_steps():
    assert When.from_plain("every 2 s").steps(0.05) == 40
    assert When.from_plain("every 0.001 s").steps(0.05) == 1
    assert When.from_plain("every 7 steps").steps(0.05) == 7
    assert When().steps(0.05) == 0


def test_keyed_numbers_are_uniform_independent_and_the_same_in_every_process():
    keys = keys_of(["a", "b"])
    found = uniforms(1, keys, np.arange(50_000), np.full(50_000, 3))
    assert found.min() > 0
    assert found.max() < 1
    assert stats.kstest(found[:, 0], "uniform").pvalue > 0.01
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.01
    assert abs(np.corrcoef(found[:-1, 0], found[1:, 0])[0, 1]) < 0.01
    swapped = uniforms(3, keys, np.arange(5), np.full(5, 1))
    assert not np.isin(swapped, found).any()
    bits = hashes(0, keys, np.arange(20_000))
    assert stats.kstest(coarse_uniform(bits)[:, 0], "uniform").pvalue > 0.01
    assert stats.kstest(coarse_normal(bits)[:, 1], "norm").pvalue > 0.01
    extremes = np.array([0, 2**64 - 1], dtype=np.uint64)
    assert coarse_uniform(extremes).tolist() == [2**-24, 1 - 2**-24]
    assert np.isfinite(coarse_normal(extremes)).all()
    np.testing.assert_allclose(uniforms(1, keys, np.arange(1))[0], FIXED, rtol=1e-12)
