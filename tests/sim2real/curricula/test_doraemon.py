"""DORAEMON: its formulas, optima that a grid search confirms, and what it does as an agent learns."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from tests.sim2real.curricula.practice import CART, LOG, POLE, make, practise
from warmstart.sim2real.curricula import beta
from warmstart.sim2real.curricula.beta import UpdateProblem
from warmstart.sim2real.curricula.doraemon import DORAEMON, DORAEMONSettings

# --- formulas


def betas(seed, terms):
    return np.exp(np.random.default_rng(seed).uniform(0.05, 4, (2, terms)))


def test_beta_formulas():
    one, other = betas(0, 3), betas(1, 3)
    assert beta.entropy(one) == pytest.approx(stats.beta(*one).entropy().sum())
    assert beta.entropy(np.ones((2, 3))) == 0

    def relative(x, i):
        return stats.beta(*one[:, i]).pdf(x) * (
            stats.beta(*one[:, i]).logpdf(x) - stats.beta(*other[:, i]).logpdf(x)
        )

    integral = sum(integrate.quad(relative, 1e-12, 1 - 1e-12, args=(i,), limit=200)[0] for i in range(3))
    assert beta.divergence(one, other) == pytest.approx(integral, rel=1e-6)
    assert beta.divergence(one, one) == 0
    positions = np.random.default_rng(2).uniform(0.01, 0.99, (5, 3))
    expected = stats.beta(*one).logpdf(positions).sum(axis=1)
    np.testing.assert_allclose(beta.log_density(one, positions), expected)


def problem(old, succeeds, alpha=0.5, epsilon=0.1, n=2000, seed=0):
    positions = np.random.default_rng(seed).beta(*old, size=(n, old.shape[1]))
    densities = beta.log_density(old, positions)
    return UpdateProblem(old, positions, succeeds(positions), densities, alpha, epsilon)


@pytest.mark.parametrize("which", ["entropy", "divergence", "success_rate"])
def test_gradients(which):
    old, new = betas(3, 2), betas(3, 2) * 1.1
    rates = problem(old, lambda x: x[:, 0] < 0.6)
    function, gradient = {
        "entropy": (beta.entropy, beta.entropy_gradient),
        "divergence": (
            lambda x: beta.divergence(x, old),
            lambda x: beta.divergence_gradient(x, old),
        ),
        "success_rate": (rates.success_rate, rates.success_rate_gradient),
    }[which]
    numeric = optimize.approx_fprime(new.ravel(), lambda x: function(x.reshape(2, 2)), 1e-6)
    np.testing.assert_allclose(gradient(new).ravel(), numeric, rtol=1e-3, atol=1e-5)


def test_importance_weights_by_hand():
    """Two episodes of different distributions: uniform, and Beta(2, 1) of density 2x."""
    positions, densities = np.array([[0.25], [0.5]]), np.log([1.0, 2 * 0.5])
    problem = UpdateProblem(np.ones((2, 1)), positions, np.array([True, False]), densities, 0.5, 0.1)
    new = np.array([[2.0], [1.0]])
    np.testing.assert_allclose(problem.weights(new), [0.5 / 1, 1.0 / 1])
    assert problem.success_rate(new) == pytest.approx(0.25)
    assert problem.effective_sample_size(new) == pytest.approx(1.5**2 / 1.25)


# --- optima


def on_grid(rates, objective, keeps, n=400):
    """The best of a fine grid over both parameters of one Beta."""
    old = rates.old[:, 0]
    a, b = (np.geomspace(max(1.0, x / 4), min(500.0, x * 4), n) for x in old)
    best = -np.inf
    for first in a:
        for second in b:
            new = np.array([[first], [second]])
            if beta.divergence(new, rates.old) <= rates.epsilon and keeps(new):
                best = max(best, objective(new))
    return best


@pytest.mark.parametrize(("old", "limit"), [((40.0, 40.0), 1.0), ((30.0, 60.0), 0.36), ((2.0, 5.0), 0.35)])
def test_the_widest_is_that_of_a_grid_search(old, limit):
    """Bound by the trust region alone, and by the success rate, too."""
    rates = problem(np.array([[x] for x in old]), lambda x: x[:, 0] < limit, alpha=0.6, n=300)
    found = rates.widest(rates.old)
    grid = on_grid(rates, beta.entropy, lambda new: rates.success_rate(new) >= 0.6, n=120)
    assert beta.entropy(found) >= grid - 1e-3
    assert beta.entropy(found) > beta.entropy(rates.old) + 0.05
    assert beta.divergence(found, rates.old) <= 0.1 + 1e-8
    assert rates.success_rate(found) >= 0.6 - 1e-8


def test_the_backup_is_that_of_a_grid_search():
    rates = problem(np.array([[20.0], [20.0]]), lambda x: x[:, 0] < 0.4, n=300)
    before = rates.success_rate(rates.old)
    assert before < 0.2
    found = rates.most_successful()
    assert rates.success_rate(found) >= on_grid(rates, rates.success_rate, lambda _: True, n=120) - 1e-3
    assert rates.success_rate(found) > 1.5 * before
    assert beta.divergence(found, rates.old) <= 0.1 + 1e-8


@pytest.mark.parametrize("seed", range(8))
def test_constraints_hold_in_many_dimensions(seed):
    """Also where one Beta is narrow and another wide, or a parameter lies on its bound."""
    old = betas(seed, 6)
    old[0, 0], old[:, 1] = 1.0, 200.0
    rates = problem(old, lambda x: x[:, 1] < 0.51, epsilon=0.05, n=200, seed=seed)
    found = rates.widest(old)
    assert rates.within(found)
    assert rates.success_rate(found) >= 0.5 - 1e-8
    assert beta.entropy(found) > beta.entropy(old) + 0.1
    assert (found >= 1).all()


# --- the curriculum


def test_doraemon_starts_with_its_mode_at_the_nominal():
    curriculum = DORAEMON([POLE, LOG], DORAEMONSettings(success=1, concentration=50), 0)
    values = curriculum.draw(np.arange(20_000), np.zeros(20_000, int))
    a, b = curriculum.parameters
    np.testing.assert_allclose((a - 1) / (a + b - 2), [0.5 / 3.5, 0.5])
    np.testing.assert_allclose(a + b, 50)
    spread = stats.beta(a[0], b[0], 0.5, 3.5)
    assert stats.kstest(values[:, 0], spread.cdf).pvalue > 1e-3
    found = curriculum.snapshot()
    assert (found["pole.mass/low"], found["pole.mass/high"]) == pytest.approx(spread.ppf([0.05, 0.95]))
    assert found["entropy"] == pytest.approx(stats.beta(a, b).entropy().mean())
    assert found["divergence"] is None


def test_doraemon_widens_as_far_as_the_agent_succeeds():
    """Success is a pole of less than twice its mass: 3/7 of the widest range, and a half is asked for."""
    curriculum = make("doraemon", [POLE, CART], episodes_per_update=256)
    practise(curriculum, lambda values: values[:, 0] < 2.0, 200, n=64)
    updates = curriculum.history[1:]
    assert len(updates) == 50
    assert max(entry["divergence"] for entry in updates) <= 0.1 + 1e-8
    assert min(entry["estimated_success_rate"] for entry in updates) >= 0.5 - 1e-8
    measured = [entry["measured_success_rate"] for entry in updates]
    assert min(measured) > 0.4
    assert np.mean(measured[-20:]) == pytest.approx(0.5, abs=0.03)
    growing = [entry["entropy"] for entry in curriculum.history]
    assert (np.diff(growing[:10]) > 0.1).all()
    assert growing[-1] > growing[0] + 2
    last = updates[-1]
    assert last["cart.mass/low"] < 0.65, "what doesn't matter becomes nearly uniform"
    assert last["cart.mass/high"] > 2.35
    assert all(50 < entry["effective_sample_size"] <= 256.5 for entry in updates)


def test_doraemon_retreats_when_the_agent_gets_worse():
    curriculum = make("doraemon", [POLE], episodes_per_update=128)
    practise(curriculum, lambda values: values[:, 0] < 2.5, 40)
    wide = curriculum.entropy
    assert {entry["update"] for entry in curriculum.history[1:8]} == {"widened"}
    worse = lambda values: values[:, 0] < 1.2  # noqa: E731
    practise(curriculum, worse, 40, first=40)
    after = curriculum.history[11:]
    rates = [entry["measured_success_rate"] for entry in after]
    assert after[0]["update"] == "retreated"
    assert after[0]["estimated_success_rate"] > rates[0] + 0.05
    assert rates[0] < 0.35
    assert np.mean(rates[-3:]) > 0.45
    assert curriculum.entropy < wide


@pytest.mark.parametrize(("wait", "said"), [(True, "waiting"), (False, "kept")])
def test_doraemon_stays_where_nothing_succeeds(wait, said):
    curriculum = make("doraemon", [POLE], wait=wait)
    start = curriculum.parameters.copy()
    practise(curriculum, lambda values: values[:, 0] > 100, 6)
    np.testing.assert_array_equal(curriculum.parameters, start)
    assert [entry["update"] for entry in curriculum.history[1:]] == [said] * 3


def test_doraemon_waits_for_an_agent_that_has_learned_nothing():
    """A few lucky successes of light poles don't move the distribution before the rate was reached."""
    lucky = lambda values: values[:, 0] < 0.93  # noqa: E731
    waiting, hasty = (make("doraemon", [POLE], wait=wait) for wait in (True, False))
    for curriculum in (waiting, hasty):
        practise(curriculum, lucky, 6)
    assert {entry["update"] for entry in waiting.history[1:]} == {"waiting"}
    assert hasty.history[1]["update"] == "retreated"
    practise(waiting, lambda values: values[:, 0] < 4, 4, first=6)
    assert waiting.history[-1]["update"] == "widened"
