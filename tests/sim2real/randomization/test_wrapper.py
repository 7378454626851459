"""Randomization of plain Gymnasium environments: the wrapper, and `make_vec`'s."""

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.randomization import Randomization, read_terms
from warmstart.sim2real.randomization.recipes import randomize_terms
from warmstart.sim2real.randomization.wrapper import RandomizedEnv

TERMS = {"torso.mass": "x0.5:x2", "friction": "x0.6:x1.4", "gravity": "-=1:+=1"}


def test_a_wrapped_environment_has_the_same_physics_as_the_batched_one():
    source = Randomization(read_terms(TERMS)[0], 3)
    batched = make_vec(
        "Hopper-v5@leg.mass=x1.2,torso.mass=x1.1", 3, seed=3, context_source=source, n_threads=1
    )
    plain = make_vec(
        "Hopper-v5@leg.mass=x1.2,torso.mass=x1.1", 3, seed=3, context_source=source, stepper="gymnasium"
    )
    first, infos = batched.reset(seed=3)
    second, others = plain.reset(seed=3)
    np.testing.assert_array_equal(infos["drawn"], others["drawn"])
    np.testing.assert_array_equal(first, second)
    action = np.full((3, 3), 0.4, np.float32)
    episodes = 0
    for _ in range(150):
        first, *_, ended, _, infos = batched.step(action)
        second, *_, others = plain.step(action)
        np.testing.assert_array_equal(first, second)
        if ended.any():
            np.testing.assert_array_equal(infos["drawn"][ended], others["drawn"][ended])
        episodes += ended.sum()
    assert episodes > 3
    batched.close()
    plain.close()


def test_draws_follow_the_seed_of_a_reset_and_nothing_compounds():
    env = RandomizedEnv(gymnasium.make("Hopper-v5"), TERMS)
    assert env.drawn_names == ("torso.mass", "friction", "gravity")
    nominal = gymnasium.make("Hopper-v5").unwrapped.model.body("torso").mass[0]
    drawn = []
    for seed in (5, None, None, 5, None):
        _, info = env.reset(seed=seed)
        drawn.append(info["drawn"])
        mass = env.unwrapped.model.body("torso").mass[0]
        assert mass == nominal * info["drawn"][0]
        env.step(env.action_space.sample())
    np.testing.assert_array_equal(drawn[0], drawn[3])
    np.testing.assert_array_equal(drawn[1], drawn[4])
    assert (drawn[0] != drawn[1]).all()


def test_attributes_of_other_environments_are_randomized_with_what_follows_from_them():
    env = RandomizedEnv(gymnasium.make("CartPole-v1"), {"length": "x0.5:x2", "masspole": "+=0.1:+=0.2"})
    for seed in range(20):
        _, info = env.reset(seed=seed)
        inner = env.unwrapped
        assert inner.length == 0.5 * info["drawn"][0]
        assert inner.masspole == pytest.approx(0.1 + info["drawn"][1])
        assert inner.polemass_length == pytest.approx(inner.masspole * inner.length)
        assert inner.total_mass == pytest.approx(inner.masspole + inner.masscart)


def test_terms_within_an_episode_and_of_each_parameter():
    env = RandomizedEnv(
        gymnasium.make("Hopper-v5"),
        {"body.*.mass": {"range": "x0.5:x2", "each": True, "when": "every 3 steps"}},
    )
    assert len(env.drawn_names) == 4
    env.reset(seed=0)
    seen = []
    for _ in range(7):
        seen.append(env.unwrapped.model.body_mass.copy())
        env.step(np.zeros(3))
    seen.append(env.unwrapped.model.body_mass.copy())
    changed = (np.diff(seen, axis=0)[:, 1:] != 0).all(axis=1)
    assert changed.tolist() == [False, False, False, True, False, False, True]


def test_recipes_are_those_of_the_batched_tasks():
    env = RandomizedEnv(gymnasium.make("Hopper-v5"), "medium")
    terms = randomize_terms("medium", Task.parse("Hopper-v5"))[0]
    batched = make_vec("Hopper-v5", 1, n_threads=1)
    assert env.drawn_names == Randomization(terms, 0).expanded(batched.parameters).names
    batched.close()
    on_top = RandomizedEnv(gymnasium.make("Hopper-v5"), {"recipe": "light", "torso.mass": "x0.5:x2"})
    assert "torso.mass" in on_top.drawn_names
    assert "body.torso.mass" not in on_top.drawn_names


def test_without_a_seed_every_wrapper_draws_its_own():
    def drawn(seed):
        env = gymnasium.make_vec(
            "Hopper-v5",
            3,
            vectorization_mode="sync",
            wrappers=[lambda env: RandomizedEnv(env, TERMS)],
        )
        values = env.reset(seed=seed)[1]["drawn"]
        env.close()
        return np.array(list(values))

    first, second = drawn(None), drawn(None)
    assert len(np.unique([first[:, 0], second[:, 0]])) == 6
    np.testing.assert_array_equal(drawn(3), drawn(3))
    assert len(np.unique(drawn(3)[:, 0])) == 3


@pytest.mark.parametrize(
    ("task", "term", "steps"),
    [
        ("CartPole-v1", "length", 10),  # tau of 0.02 s
        ("Pendulum-v1", "l", 4),  # dt of 0.05 s
        ("MountainCar-v0", "gravity", 6),  # 30 frames/s
        ("Hopper-v5", "friction", 25),  # dt of 0.008 s
    ],
)
def test_seconds_are_those_of_the_environment_and_changes_are_told(task, term, steps):
    env = RandomizedEnv(gymnasium.make(task), {term: {"range": "x0.9:x1.1", "when": "every 0.2 s"}}, seed=1)
    env.reset(seed=0)
    rng, discrete = np.random.default_rng(0), isinstance(env.action_space, gymnasium.spaces.Discrete)
    told = []
    for step in range(3 * steps):
        action = step % 2 if discrete else 0.01 * rng.normal(size=env.action_space.shape)
        *_, info = env.step(action)
        if "drawn" in info:
            told.append((step, float(info["drawn"][0])))
    assert [step for step, _ in told] == [steps, 2 * steps]
    assert len({value for _, value in told}) == 2


def test_what_is_told_within_an_episode_is_in_force():
    env = RandomizedEnv(
        gymnasium.make("CartPole-v1"), {"length": {"range": "x0.5:x2", "when": "every 3 steps"}}, seed=1
    )
    _, info = env.reset(seed=0)
    now = info["drawn"]
    for step in range(8):
        *_, info = env.step(step % 2)
        assert ("drawn" in info) == (step in (3, 6))
        now = info.get("drawn", now)
        assert env.unwrapped.length == 0.5 * now[0]


def test_an_environment_without_a_period_counts_steps_only():
    class Clockless(gymnasium.Env):
        observation_space = action_space = gymnasium.spaces.Discrete(2)
        size = 1.0

    with pytest.raises(
        WarmstartError, match=r"control period of Clockless .* found none: write every N steps"
    ):
        RandomizedEnv(Clockless(), {"size": {"range": "x1:x2", "when": "every 1 s"}})
    RandomizedEnv(Clockless(), {"size": {"range": "x1:x2", "when": "every 1 steps"}})
    with pytest.raises(WarmstartError, match=r"Expected an environment of gymnasium.make.* found Clockless"):
        RandomizedEnv(Clockless(), "light")


def test_diverged_simulations_are_counted_and_the_first_one_warns():
    env = RandomizedEnv(gymnasium.make("Hopper-v5"), TERMS)

    def diverge():
        env.reset()
        env.unwrapped.data.qvel[:] = np.nan
        _, reward, terminated, _, info = env.step(np.zeros(3))
        assert terminated
        assert reward == 0
        assert info["diverged"]

    with pytest.warns(UserWarning, match="Hopper-v5: the simulation diverged"):
        diverge()
    diverge()
    assert env.n_diverged == 2


def test_sb3_trains_in_wrapped_environments_that_all_differ():
    env = make_vec_env(
        "Hopper-v5", 3, seed=0, wrapper_class=RandomizedEnv, wrapper_kwargs={"randomize": TERMS}
    )
    env.reset()
    drawn = np.array([info["drawn"] for info in env.reset_infos])
    assert len(np.unique(drawn[:, 0])) == 3
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(96)
    assert np.isfinite(model.policy.predict(env.reset())[0]).all()


@pytest.mark.parametrize(
    ("task", "terms", "said"),
    [
        ("Hopper-v5", {"torso.mas": "x1:x2"}, "Did you mean 'torso.mass'"),
        ("CartPole-v1", {"lenght": "x1:x2"}, "Did you mean 'length'"),
        ("Hopper-v5", {"torso.mass": "heavy"}, "such as x0.5:x1.5"),
        ("Hopper-v5", {"torso.mass": "x-1:x2"}, "reaches values that can't be"),
        ("Hopper-v5", "mediun", "Did you mean 'medium'"),
        ("CartPole-v1", "medium", "There is no recipe for CartPole-v1"),
        ("CartPole-v1", {"recipe": "light"}, "There is no recipe for CartPole-v1"),
        ("CartPole-v1", 3, "Expected terms by name, .* found 3"),
        (
            "CartPole-v1",
            {"length": "-2:-1"},
            "length of CartPoleEnv above 0, as its own 0.5 is, found -2 to -1",
        ),
        ("CartPole-v1", {"length": "x0:x1"}, "above 0, as its own 0.5 is, found 0 to 0.5"),
        ("CartPole-v1", {"length": "-=1:+=1"}, "found -0.5 to 1.5"),
        (
            "CartPole-v1",
            {"length": "x1:x2", "both": {"parameters": ["length", "gravity"], "range": "x1:x2"}},
            "Expected one term about length, found 2",
        ),
    ],
)
def test_mistakes_are_named(task, terms, said):
    with pytest.raises(WarmstartError, match=said):
        RandomizedEnv(gymnasium.make(task), terms)
