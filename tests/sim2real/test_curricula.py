"""Curricula: what widens and when, whose return is whose, and optima that a grid search confirms."""

import copy
import json

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from warmstart.agents.ppo import PPO
from warmstart.agents.seams import EpisodeBatch, Seams
from warmstart.envs.errors import WarmstartError
from warmstart.envs.hooks import ContextSource
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec
from warmstart.sim2real import curriculum as curriculum_module
from warmstart.sim2real import doraemon
from warmstart.sim2real.adr import ADR, ADRSettings
from warmstart.sim2real.curricula import read_curriculum
from warmstart.sim2real.distributions import LogUniform, Uniform
from warmstart.sim2real.doraemon import DORAEMON, DORAEMONSettings, UpdateProblem
from warmstart.sim2real.pacing import PacedCurriculum, PacedSettings
from warmstart.sim2real.randomization import Randomization
from warmstart.sim2real.terms import Term, read_term

POLE = read_term("pole.mass", "x0.5:x4")
CART = read_term("cart.mass", "x0.5:x2.5")
LOG = Term(("damping",), LogUniform(0.25, 4))
METHODS = {
    "paced": {"success": 1, "window": 20, "rate": 0.25},
    "adr": {"success": 1, "t_low": 0.2, "buffer": 8, "start": 0.2},
    "doraemon": {"success": 1, "episodes_per_update": 50},
}


def make(method, terms, seed=0, **settings):
    return read_curriculum({"method": method, **METHODS[method], **settings}, terms, seed)


def tell(curriculum, returns, env_ids=None, step=0):
    ids = np.arange(len(returns)) if env_ids is None else np.asarray(env_ids)
    curriculum.on_episodes(
        EpisodeBatch(np.asarray(returns, float), np.ones(len(ids), np.int64), ids.astype(np.int64), step)
    )


def practise(curriculum, succeeds, rounds, n=32, first=0):
    """After a reset, rounds of one episode in each environment: return 1 where its values succeed, else 0."""
    envs = np.arange(n)
    values = curriculum.draw(envs, np.full(n, first))
    drawn = [values]
    for episode in range(first + 1, first + rounds + 1):
        returns = succeeds(values).astype(float)
        values = curriculum.draw(envs, np.full(n, episode))  # in the step in which the last ones end
        tell(curriculum, returns, envs, step=episode * n)
        drawn.append(values)
    return np.array(drawn)


class Watched(PacedCurriculum):
    """Keeps what it is told."""

    def __init__(self, terms, settings, seed):
        super().__init__(terms, settings, seed)
        self.told = []

    def update(self, finished, step):
        self.told.append((self.values(finished.positions), finished.returns))
        super().update(finished, step)


def watched(terms=(POLE, CART)):
    return Watched(terms, PacedSettings(success=5, start=0.3, window=10, upper=0.6), seed=5)


# --- whose return is whose


@pytest.mark.parametrize("reset_at", [None, 70])
def test_returns_are_told_of_the_context_they_were_earned_in(reset_at):
    """Environments restart in the step in which an episode ends, and a reset cuts episodes off untold."""
    curriculum = watched()
    env = make_vec("InvertedPendulum-v5", 5, seed=0, context_source=curriculum, n_threads=1)
    rng = np.random.default_rng(0)
    _, infos = env.reset(seed=0)
    in_force, earned = infos["drawn"].copy(), np.zeros(5)
    expected, ended = [], []
    for step in range(1, 201):
        _, rewards, terminations, truncations, infos = env.step(
            rng.uniform(-3, 3, env.action_space.shape).astype(np.float32)
        )
        earned += rewards
        for i in np.flatnonzero(terminations | truncations):
            expected.append((in_force[i].copy(), earned[i]))
            ended.append(i)
            in_force[i], earned[i] = infos["drawn"][i], 0
        if step % 35 == 0:  # a rollout
            assert len(set(ended)) < len(ended), "an environment ended several"
            tell(curriculum, [r for _, r in expected[-len(ended) :]], ended, step)
            ended.clear()
        if step == reset_at:
            _, infos = env.reset()
            in_force, earned = infos["drawn"].copy(), np.zeros(5)
    env.close()
    contexts, returns = (np.concatenate(column) for column in zip(*curriculum.told, strict=True))
    assert len(returns) > 50
    assert len({entry["step"] for entry in curriculum.history}) > 1, "it changed on the way"
    np.testing.assert_array_equal(contexts, [context for context, _ in expected[: len(returns)]])
    np.testing.assert_array_equal(returns, [r for _, r in expected[: len(returns)]])


def test_an_agent_tells_its_curriculum_even_after_learning_anew():
    curriculum = watched()
    env = as_sb3(make_vec("InvertedPendulum-v5", 3, seed=0, context_source=curriculum, n_threads=1))
    seams = Seams(feedback=(curriculum,))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu", seams=seams)
    for _ in range(2):  # the second resets the environment
        model.learn(192 * 2)
    env.close()
    assert sum(len(returns) for _, returns in curriculum.told) > 40
    assert [len(begun) for begun in curriculum._begun.values()] == [1, 1, 1]
    assert isinstance(curriculum, ContextSource)


def test_ends_of_episodes_that_never_began():
    curriculum = make("paced", [POLE])
    curriculum.draw(np.array([0, 1]), np.array([0, 0]))
    with pytest.raises(
        WarmstartError, match="Environment 1 ended 2 episodes of which this curriculum began 1"
    ):
        tell(curriculum, [1.0, 1.0], [1, 1])


def test_a_curriculum_that_nobody_tells_says_so(monkeypatch):
    monkeypatch.setattr(curriculum_module, "MOST_BEGUN", 3)
    curriculum = make("paced", [POLE])
    for episode in range(3):
        curriculum.draw(np.array([0]), np.array([episode]))
    with pytest.raises(WarmstartError, match=r"3 episodes of environment 0 began and none ended.*feedback"):
        curriculum.draw(np.array([0]), np.array([3]))


# --- draws


def test_draws_are_randomizations_at_the_widest():
    """The same key gives the same share."""
    terms = [POLE, LOG, Term(("gravity", "wind"), Uniform(-1, 2), "add")]
    widest = make("paced", terms, seed=3, start=1.0)
    plain = Randomization(terms, seed=3)
    envs, episodes = np.arange(50), np.arange(50) % 7
    expected = plain.draw(envs, episodes)
    np.testing.assert_allclose(widest.draw(envs, episodes), expected, rtol=1e-12)
    np.testing.assert_allclose(make("adr", terms, 3, start=1).bounds, plain.bounds)
    assert widest.terms == plain.terms
    assert widest.names == ("pole.mass", "damping", "gravity", "wind")
    backwards = make("paced", terms, seed=3, start=1.0).draw(envs[::-1], episodes[::-1])
    np.testing.assert_allclose(backwards[::-1], expected, rtol=1e-12)


def test_terms_begin_at_the_nominal():
    terms = [
        POLE,
        read_term("a", "-=1:+=3"),
        LOG,
        read_term("b", "0.1:0.3"),
        read_term("c", "x2:x4"),
        Term(("d",), LogUniform(1, 4), "set"),
    ]
    values = make("paced", terms, nominal={"d": 2.0}).draw(np.arange(3), np.zeros(3, int))
    np.testing.assert_allclose(values, np.tile([1, 0, 1, 0.2, 2, 2], (3, 1)), atol=1e-12)


def test_entropy_and_width_of_ranges():
    curriculum = make("adr", [POLE, CART], start=0.5)
    found = curriculum.snapshot()
    assert found["entropy"] == pytest.approx(np.log(0.5))
    assert found["width"] == pytest.approx(0.5)
    assert make("paced", [POLE]).entropy == -np.inf
    point = make("paced", [POLE]).snapshot()
    assert point == {
        "pole.mass/low": 1.0,
        "pole.mass/high": 1.0,
        "entropy": None,
        "width": 0.0,
        "success_rate": None,
    }


# --- paced


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


# --- ADR


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
            for buffer in curriculum._buffers[:end] + curriculum._buffers[end + 1 :]:
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
    assert [len(buffer) for buffer in curriculum._buffers] == [0, 0]
    assert curriculum.history[-1]["cart.mass/high"] == pytest.approx(1.3 + 0.1), "once, not twice"


def test_adr_widens_to_where_the_agent_fails():
    curriculum = make("adr", [CART, POLE], start=0, t_low=0.5)
    practise(curriculum, lambda values: (values[:, 0] < 1.65) & (values[:, 1] > 0.7), 400)
    found = curriculum.snapshot()
    assert found["cart.mass/low"] == 0.5
    assert 1.5 < found["cart.mass/high"] < 1.75, "the first step past 1.65 is 1.7"
    assert 0.5 < found["pole.mass/low"] < 0.83, "steps of 0.175"
    assert found["pole.mass/high"] == pytest.approx(4)


# --- DORAEMON: formulas


def betas(seed, terms):
    return np.exp(np.random.default_rng(seed).uniform(0.05, 4, (2, terms)))


def test_beta_formulas():
    one, other = betas(0, 3), betas(1, 3)
    assert doraemon.entropy(one) == pytest.approx(stats.beta(*one).entropy().sum())
    assert doraemon.entropy(np.ones((2, 3))) == 0

    def relative(x, i):
        return stats.beta(*one[:, i]).pdf(x) * (
            stats.beta(*one[:, i]).logpdf(x) - stats.beta(*other[:, i]).logpdf(x)
        )

    integral = sum(integrate.quad(relative, 1e-12, 1 - 1e-12, args=(i,), limit=200)[0] for i in range(3))
    assert doraemon.divergence(one, other) == pytest.approx(integral, rel=1e-6)
    assert doraemon.divergence(one, one) == 0
    positions = np.random.default_rng(2).uniform(0.01, 0.99, (5, 3))
    expected = stats.beta(*one).logpdf(positions).sum(axis=1)
    np.testing.assert_allclose(doraemon.log_density(one, positions), expected)


def problem(old, succeeds, alpha=0.5, epsilon=0.1, n=2000, seed=0):
    positions = np.random.default_rng(seed).beta(*old, size=(n, old.shape[1]))
    densities = doraemon.log_density(old, positions)
    return UpdateProblem(old, positions, succeeds(positions), densities, alpha, epsilon)


@pytest.mark.parametrize("which", ["entropy", "divergence", "success_rate"])
def test_gradients(which):
    old, new = betas(3, 2), betas(3, 2) * 1.1
    rates = problem(old, lambda x: x[:, 0] < 0.6)
    function, gradient = {
        "entropy": (doraemon.entropy, doraemon.entropy_gradient),
        "divergence": (
            lambda x: doraemon.divergence(x, old),
            lambda x: doraemon.divergence_gradient(x, old),
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


# --- DORAEMON: optima


def on_grid(rates, objective, keeps, n=400):
    """The best of a fine grid over both parameters of one Beta."""
    old = rates.old[:, 0]
    a, b = (np.geomspace(max(1.0, x / 4), min(500.0, x * 4), n) for x in old)
    best = -np.inf
    for first in a:
        for second in b:
            new = np.array([[first], [second]])
            if doraemon.divergence(new, rates.old) <= rates.epsilon and keeps(new):
                best = max(best, objective(new))
    return best


@pytest.mark.parametrize(("old", "limit"), [((40.0, 40.0), 1.0), ((30.0, 60.0), 0.36), ((2.0, 5.0), 0.35)])
def test_the_widest_is_that_of_a_grid_search(old, limit):
    """Bound by the trust region alone, and by the success rate, too."""
    rates = problem(np.array([[x] for x in old]), lambda x: x[:, 0] < limit, alpha=0.6, n=300)
    found = rates.widest(rates.old)
    grid = on_grid(rates, doraemon.entropy, lambda new: rates.success_rate(new) >= 0.6, n=120)
    assert doraemon.entropy(found) >= grid - 1e-3
    assert doraemon.entropy(found) > doraemon.entropy(rates.old) + 0.05
    assert doraemon.divergence(found, rates.old) <= 0.1 + 1e-8
    assert rates.success_rate(found) >= 0.6 - 1e-8


def test_the_backup_is_that_of_a_grid_search():
    rates = problem(np.array([[20.0], [20.0]]), lambda x: x[:, 0] < 0.4, n=300)
    before = rates.success_rate(rates.old)
    assert before < 0.2
    found = rates.most_successful()
    assert rates.success_rate(found) >= on_grid(rates, rates.success_rate, lambda _: True, n=120) - 1e-3
    assert rates.success_rate(found) > 1.5 * before
    assert doraemon.divergence(found, rates.old) <= 0.1 + 1e-8


@pytest.mark.parametrize("seed", range(8))
def test_constraints_hold_in_many_dimensions(seed):
    """Also where one Beta is narrow and another wide, or a parameter lies on its bound."""
    old = betas(seed, 6)
    old[0, 0], old[:, 1] = 1.0, 200.0
    rates = problem(old, lambda x: x[:, 1] < 0.51, epsilon=0.05, n=200, seed=seed)
    found = rates.widest(old)
    assert rates.within(found)
    assert rates.success_rate(found) >= 0.5 - 1e-8
    assert doraemon.entropy(found) > doraemon.entropy(old) + 0.1
    assert (found >= 1).all()


# --- DORAEMON: the curriculum


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


# --- state, settings, errors


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_curriculum_goes_on_bit_for_bit(method):
    """Saved in the midst of its buffers and of episodes."""

    def succeeds(values):
        return (values[:, 0] < 2.2) & (values[:, 1] > 0.6)

    straight = make(method, [POLE, CART])
    practise(straight, succeeds, 31, n=11)
    extra = np.array([2, 5])
    straight.draw(extra, np.array([32, 32]))
    state = copy.deepcopy(straight.state_dict())
    resumed = make(method, [POLE, CART], seed=99)
    resumed.load_state_dict(state)
    outcomes = []
    for curriculum in (straight, resumed):
        tell(curriculum, [1.0, 0.0], extra)
        drawn = practise(curriculum, succeeds, 31, n=11, first=40)
        outcomes.append((drawn, curriculum.history, curriculum.state_dict()))
    (drawn, history, ended), (again, history_again, ended_again) = outcomes
    np.testing.assert_array_equal(drawn, again)
    assert history == history_again
    assert len(history) > len(state["history"]) > 1
    np.testing.assert_equal(ended, ended_again)
    json.dumps(history, allow_nan=False)


def test_a_saved_environment_takes_its_curriculum_along():
    def build():
        curriculum = make("paced", [POLE], start=0.5)
        return make_vec("InvertedPendulum-v5", 2, seed=0, context_source=curriculum, n_threads=1)

    def go(env, steps):
        found = []
        for _ in range(steps):
            observations, *_, infos = env.step(np.full(env.action_space.shape, 2, np.float32))
            found.append((observations, infos.get("drawn")))
        return found

    first, second = build(), build()
    first.reset(seed=0)
    go(first, 30)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    np.testing.assert_equal(go(first, 40), go(second, 40))
    for env in (first, second):
        env.close()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_curriculum(method):
    def run(seed):
        curriculum = make(method, [POLE, CART], seed)
        return practise(curriculum, lambda values: values[:, 0] < 2, 20), curriculum.history

    (drawn, history), (again, history_again), (other, _) = run(0), run(0), run(1)
    np.testing.assert_array_equal(drawn, again)
    assert history == history_again
    assert (drawn[-1] != other[-1]).any()


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_written_and_read_back(method):
    curriculum = make(method, [POLE], nominal={"pole.mass": 2})
    written = json.loads(json.dumps(curriculum.to_json()))
    assert written["method"] == method
    again = read_curriculum(written, [POLE], 0)
    assert again.settings == curriculum.settings
    np.testing.assert_array_equal(again.nominal, curriculum.nominal)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"success": 1}, r"Expected a curriculum such as .*one of the methods paced, adr, doraemon"),
        ("doraemon", "Expected a curriculum such as"),
        ({"method": "doreamon", "success": 1}, "Unknown curriculum 'doreamon'. Did you mean 'doraemon'"),
        (
            {"method": "adr", "sucess": 1},
            "Unknown setting of the curriculum adr 'sucess'. Did you mean 'success'",
        ),
        ({"method": "paced"}, "The curriculum paced needs success, a number"),
        ({"method": "adr", "success": 1}, "The curriculum adr needs t_low"),
        ({"method": "adr", "success": 1, "t_low": 2}, "expected t_low of at most success, 1, found 2"),
        ({"method": "adr", "success": 1, "t_low": 5, "t_high": 3}, "t_low of at most t_high, 3, found 5"),
        ({"method": "adr", "success": 1, "t_low": 0, "delta": 0}, "a delta of 0 no end ever moves"),
        ({"method": "paced", "success": "high"}, "paced: expected a number as success, found 'high'"),
        ({"method": "paced", "success": float("nan")}, "expected a number as success, found nan"),
        (
            {"method": "paced", "success": 1, "window": 2.5},
            "a whole number of at least 1 as window, found 2.5",
        ),
        ({"method": "paced", "success": 1, "rate": 0}, "a rate of 0 never widens"),
        ({"method": "paced", "success": 1, "upper": 0.3}, "a number from 0.4 to 1 as upper, found 0.3"),
        ({"method": "doraemon", "success": 1, "alpha": 1.5}, "from 0 to 1 as alpha, found 1.5"),
        ({"method": "doraemon", "success": 1, "epsilon": 0}, "an epsilon of 0 forbids any change"),
        ({"method": "doraemon", "success": 1, "wait": 1}, "expected true or false as wait, found 1"),
        ({"method": "doraemon", "success": 1, "concentration": 900}, "from 2 to 500 as concentration"),
        ({"method": "paced", "success": 1, "nominal": 3}, "nominal maps terms to numbers"),
        ({"method": "paced", "success": 1, "nominal": {"pole": 1}}, "Unknown term in nominal 'pole'"),
        (
            {"method": "paced", "success": 1, "nominal": {"pole.mass": 9}},
            "pole.mass: expected a nominal value within the widest range, 0.5 to 4, found 9",
        ),
    ],
)
def test_mistaken_settings(written, message):
    with pytest.raises(WarmstartError, match=message):
        read_curriculum(written, [POLE], 0)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"mean": "x1", "std": 0.1}, "widens a range .uniform or log_uniform., not the distribution normal"),
        ({"values": ["x1", "x2"]}, "not the distribution categorical"),
        ("x2:x2", "the range is the single value 2"),
        ({"range": "x1:x2", "when": "startup"}, "drawn at every episode; leave out when: startup"),
        ({"range": "x1:x2", "when": "every 5 steps"}, "leave out when: every 5 steps"),
        ({"range": "x1:x2", "probability": 0.5}, "leave out probability: 0.5"),
        ({"range": "x1:x2", "each": True}, "write a term for each parameter instead of each"),
    ],
)
def test_terms_that_cant_be_widened(term, message):
    with pytest.raises(WarmstartError, match=f"^friction: .*{message}"):
        make("paced", [read_term("friction", term)])


def test_other_mistakes():
    with pytest.raises(WarmstartError, match="needs a term to widen"):
        make("paced", [])
    with pytest.raises(WarmstartError, match=r"pole\.mass: a curriculum knows terms by name, and 2"):
        make("paced", [POLE, POLE])
    with pytest.raises(WarmstartError, match="ADR expects ADRSettings, found PacedSettings"):
        ADR([POLE], PacedSettings(success=1), 0)
    state = make("paced", [POLE]).state_dict()
    with pytest.raises(
        WarmstartError, match=r"Expected the state of adr over pole\.mass, found that of paced"
    ):
        make("adr", [POLE]).load_state_dict(state)
    with pytest.raises(WarmstartError, match=r"paced over cart\.mass, found that of paced over pole\.mass"):
        make("paced", [CART]).load_state_dict(state)
