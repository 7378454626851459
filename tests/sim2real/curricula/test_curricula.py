"""Curricula: whose return is whose, what is drawn, and that they go on when saved."""

import copy
import json

import numpy as np
import pytest

from tests.sim2real.curricula.practice import CART, LOG, METHODS, POLE, make, practise, tell
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.seams import Seams
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import to_plain
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.tasks.hooks import ContextSource
from warmstart.envs.vector import make_vec
from warmstart.sim2real.curricula import base as curriculum_module
from warmstart.sim2real.curricula.adr import ADR
from warmstart.sim2real.curricula.paced import PacedCurriculum, PacedSettings
from warmstart.sim2real.curricula.table import read_curriculum
from warmstart.sim2real.randomization.distributions import LogUniform, Uniform
from warmstart.sim2real.randomization.randomization import Randomization
from warmstart.sim2real.randomization.terms import Term, read_term


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
    written = json.loads(json.dumps({"method": method, **to_plain(curriculum.settings)}))
    again = read_curriculum(written, [POLE], 0)
    assert again.settings == curriculum.settings
    np.testing.assert_array_equal(again.nominal, curriculum.nominal)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"success": 1}, r"curriculum: expected the name of a curriculum, .*\(paced, adr, doraemon\)"),
        ("doraemon", "curriculum: 'success' is missing"),
        ({"method": "doreamon", "success": 1}, "Unknown curriculum 'doreamon'. Did you mean 'doraemon'"),
        ({"method": "adr", "sucess": 1}, "Unknown setting 'sucess'. Did you mean 'success'"),
        ({"method": "paced"}, "curriculum: 'success' is missing"),
        ({"method": "adr", "success": 1}, "curriculum: 't_low' is missing"),
        ({"method": "adr", "success": 1, "t_low": 2}, "expected t_low of at most success, 1, found 2"),
        ({"method": "adr", "success": 1, "t_low": 5, "t_high": 3}, "t_low of at most t_high, 3, found 5"),
        ({"method": "adr", "success": 1, "t_low": 0, "delta": 0}, "delta: expected a number above 0 and at"),
        ({"method": "paced", "success": "high"}, "curriculum.success: expected a number, found 'high'"),
        (
            {"method": "paced", "success": float("nan")},
            "success: expected .* that is finite, found nan",
        ),
        ({"method": "paced", "success": 1, "window": 2.5}, "window: expected a whole number, found 2.5"),
        ({"method": "paced", "success": 1, "rate": 0}, "rate: expected a number above 0 and at most 1"),
        (
            {"method": "paced", "success": 1, "upper": 0.3},
            "upper: expected .* from 0.4 to 1, found 0.3",
        ),
        (
            {"method": "doraemon", "success": 1, "alpha": 1.5},
            "alpha: expected .* from 0 to 1, found 1.5",
        ),
        ({"method": "doraemon", "success": 1, "epsilon": 0}, "epsilon: expected a number above 0 .*found 0"),
        ({"method": "doraemon", "success": 1, "wait": 1}, "wait: expected true or false, found 1"),
        ({"method": "doraemon", "success": 1, "concentration": 900}, "concentration: .* from 2 to 500"),
        ({"method": "paced", "success": 1, "nominal": 3}, "nominal: expected a mapping, found 3"),
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
