"""Evaluation is the same every time and leaves training as it was; normalisers."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize

from tests.agents.conftest import DictTask, assert_same, gym_env, vectorise
from warmstart.agents.algorithms.seams import EvaluationResult, Feedback, Seams
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.normalization import (
    NormalizerState,
    read_normalizer,
    vec_normalize,
    write_normalizer,
)
from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.evaluation import EvaluationCallback, evaluate
from warmstart.agents.settings.config import PPOConfig, SACConfig, TD3Config
from warmstart.core.errors import WarmstartError

TASK = "InvertedPendulum-v5"
CONFIGS: dict[str, Any] = {
    "ppo": PPOConfig(n_envs=4, n_steps=32, batch_size=64, n_epochs=2),
    "sac": SACConfig(n_envs=1, learning_starts=20, buffer_size=500, batch_size=16, net_arch=(16,)),
    "td3": TD3Config(n_envs=1, learning_starts=20, buffer_size=500, batch_size=16, net_arch=(16,)),
}


def train(name: str, callback: Any, seams: Seams | None = None) -> Any:
    config = CONFIGS[name]
    agent = build_agent(config, make_training_env(config, TASK, 3), 3, seams=seams)
    return agent.learn(512 if name == "ppo" else 80, callback=callback)


@pytest.mark.parametrize("name", CONFIGS)
def test_same_bits_with_and_without_evaluation(name: str) -> None:
    heard: list[EvaluationResult] = []

    class Listener(Feedback):
        def on_evaluation(self, result: EvaluationResult) -> None:
            heard.append(result)

    total = 512 if name == "ppo" else 80
    callback = EvaluationCallback(TASK, total // 4, episodes=3)
    watched = train(name, callback, Seams(feedback=(Listener(),)))
    assert_same(watched, train(name, None))
    steps = [result.step for result in callback.results]
    assert steps == [0, total // 4, total // 2, 3 * total // 4, total]
    assert heard == callback.results
    assert callback.results[0].timesteps == 0
    assert callback.evaluation_seconds > 0
    assert callback.training_seconds > 0


def test_the_first_point_is_before_any_update_and_the_last_after_all() -> None:
    callback = EvaluationCallback(TASK, 256, episodes=2)
    agent = train("ppo", callback)
    fresh = build_agent(CONFIGS["ppo"], make_training_env(CONFIGS["ppo"], TASK, 3), 3)
    fresh.env.reset()  # type: ignore[union-attr]
    first = evaluate(Policy.from_model(fresh), TASK, 2)
    assert np.array_equal(callback.results[0].returns, first.returns)
    last = evaluate(Policy.from_model(agent), TASK, 2)
    assert np.array_equal(callback.results[-1].returns, last.returns)


def test_generators_are_as_before_and_seeds_are_paired() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002

    def stochastic(observations: NDArray[Any]) -> NDArray[Any]:
        return np.random.uniform(-1, 1, (len(observations), 1))  # noqa: NPY002

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    one = evaluate(stochastic, TASK, 4, seed=5)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected  # noqa: NPY002
    other = evaluate(stochastic, TASK, 4, seed=5)
    assert np.array_equal(one.returns, other.returns)
    assert np.array_equal(one.lengths, other.lengths)
    shorter = evaluate(lambda o: np.zeros((len(o), 1)), TASK, 2, seed=5)
    longer = evaluate(lambda o: np.zeros((len(o), 1)), TASK, 4, seed=5)
    assert np.array_equal(shorter.returns, longer.returns[:2])
    assert one.mean == one.returns.mean()
    with pytest.raises(WarmstartError, match="at least one episode"):
        evaluate(stochastic, TASK, 0)


def test_episodes_of_a_discrete_task() -> None:
    result = evaluate(lambda o: np.zeros(len(o), np.int64), "CartPole-v1", 3)
    assert (result.returns == result.lengths).all()
    assert (result.lengths < 20).all()


@pytest.mark.filterwarnings("ignore:.*diverged")
def test_diverged_simulations_are_counted() -> None:
    rng = np.random.default_rng(0)
    task = "HalfCheetah-v5:time_limit=50@gear=x80"
    played = evaluate(lambda seen: rng.uniform(-1, 1, (len(seen), 6)).astype(np.float32), task, 4, seed=1)
    assert played.diverged >= 4
    assert np.isfinite(played.returns).all()
    assert played.lengths.max() < 50
    assert evaluate(lambda seen: np.zeros((len(seen), 6), np.float32), task, 4, seed=1).diverged == 0


@pytest.mark.parametrize("observations", ["Box", "Dict"])
def test_normaliser_state_equals_vec_normalize(observations: str) -> None:
    def make() -> Any:
        inner = gym_env("Hopper-v5", 3) if observations == "Box" else vectorise(DictTask, 3)
        return vec_normalize(inner, clip_obs=3.0, gamma=0.9)

    env = make()
    env.reset()
    for _ in range(30):
        env.step(np.stack([env.action_space.sample() for _ in range(3)]))
    state = read_normalizer(env)
    assert state is not None
    raw = env.get_original_obs()
    expected, found = env.normalize_obs(raw), state.apply(raw)
    for key in raw if observations == "Dict" else [...]:
        assert np.array_equal(found[key], expected[key])
        assert found[key].dtype == expected[key].dtype
    assert NormalizerState.from_json(state.to_json()).to_json() == state.to_json()
    other = make()
    write_normalizer(other, replace(state, count=10, return_count=10), training=False)
    assert not other.training
    assert read_normalizer(other).count == 10  # type: ignore[union-attr]
    assert read_normalizer(other).return_count == 10  # type: ignore[union-attr]
    write_normalizer(other, state)
    assert read_normalizer(other).to_json() == state.to_json()  # type: ignore[union-attr]
    rewards = np.array([1.0, -5.0, 100.0])
    assert np.array_equal(other.normalize_reward(rewards), env.normalize_reward(rewards))
    assert state.without_returns().return_var == 1.0


def test_normaliser_mistakes() -> None:
    state = NormalizerState(np.zeros(3), np.ones(3), 1.0)
    with pytest.raises(WarmstartError, match="found none"):
        write_normalizer(gym_env("Hopper-v5", 1), state)
    with pytest.raises(WarmstartError, match=r"shape \(3,\) don't fit observations of shape \(11,\)"):
        write_normalizer(VecNormalize(gym_env("Hopper-v5", 1)), state)
    with pytest.raises(WarmstartError, match="norm_obs=False"):
        write_normalizer(VecNormalize(gym_env("Hopper-v5", 1), norm_obs=False), state)


@pytest.mark.slow
def test_ppo_learns_to_run() -> None:
    from warmstart.agents.settings.defaults import default_config

    config = default_config("ppo", "HalfCheetah-v5")
    agent = build_agent(config, make_training_env(config, "HalfCheetah-v5", 0), 0).learn(200_000)
    assert evaluate(Policy.from_model(agent), "HalfCheetah-v5", 4).mean > 1500
