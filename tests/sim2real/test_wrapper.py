"""Randomization of plain Gymnasium environments: the wrapper, and `make_vec`'s."""

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from warmstart.envs.errors import WarmstartError
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization import Randomization, read_terms
from warmstart.sim2real.wrapper import RandomizedEnv

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
    ],
)
def test_mistakes_are_named(task, terms, said):
    with pytest.raises(WarmstartError, match=said):
        RandomizedEnv(gymnasium.make(task), terms)
