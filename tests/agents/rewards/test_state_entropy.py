"""State entropy: its arithmetic by hand, its memory, determinism, and that states really spread."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecNormalize

from tests.agents.conftest import DictTask, assert_same, vectorise
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import checkpoint_of, save_checkpoint
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.rewards.base import Floats, Reward, RewardConfig, RewardLog, register_reward, trained_on
from warmstart.agents.rewards.state_entropy import Particles, StateEntropy
from warmstart.agents.rewards.table import REWARDS, read_reward, recorded_reward
from warmstart.agents.settings.config import PPOConfig, SACConfig
from warmstart.core.bounds import SettingError
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.vector import make_vec

TASK = "InvertedPendulum-v5"
SMALL = PPOConfig(n_envs=4, n_steps=32, batch_size=32, n_epochs=2, net_arch=(8,))


def particles(dimensions: int, n_envs: int, **options: Any) -> Particles:
    made = StateEntropy(**options).build(dimensions, n_envs, seed=0)
    assert isinstance(made, Particles)
    return made


def test_rewards_by_hand() -> None:
    """Of the corners (0|3, 0|1000) mean and deviation are (1.5, 500): they become (±1, ±1).

    The centre is √2 away from each of them. The corner (3, 1000) is 0 from itself and 2 from two others: the
    two nearest are 1 away on average. (9, 500) becomes (5, 0), and the two nearest are √(4² + 1) away;
    (3, 500) becomes (1, 0), and they are 1 away.
    """
    reward = particles(2, 4, neighbours=2, every=100)
    corners = np.array([[0, 0], [0, 1000], [3, 0], [3, 1000]], np.float64)
    np.testing.assert_array_equal(reward.rewards(corners), np.zeros(4))  # nothing is remembered yet
    found = reward.rewards(np.array([[1.5, 500], [3, 1000], [9, 500], [3, 500]], np.float64))
    expected = np.log([1 + np.sqrt(2), 2, 1 + np.sqrt(17), 2])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_float32_is_good_to_what_it_says() -> None:
    rng = np.random.default_rng(0)
    reward = particles(17, 64, every=1)
    for _ in range(70):
        reward.rewards(rng.normal(3, 5, (64, 17)))
    states = np.concatenate([rng.normal(3, 5, (32, 17)), reward.remembered[:32] + 0.05])
    mean, deviation = reward.moments.mean, np.sqrt(reward.moments.var)
    a, b = ((x - mean) / deviation for x in (states, reward.remembered))
    exact = np.sort(np.linalg.norm(a[:, None] - b[None], axis=2), axis=1)[:, :12]
    np.testing.assert_allclose(np.sort(reward._distances(states), axis=1), exact, atol=5e-3)


def test_moments_are_those_of_all_that_was_remembered() -> None:
    rng = np.random.default_rng(1)
    seen = rng.normal(1e6, 1e-2, (40, 8, 3))  # where a sum of squares would lose everything
    reward = particles(3, 8, memory=16, neighbours=1, every=2)
    for states in seen:
        reward.rewards(states)
    kept = seen[::2].reshape(-1, 3)
    np.testing.assert_allclose(reward.moments.mean, kept.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(reward.moments.var, kept.var(axis=0), rtol=1e-4)


def test_the_memory_is_bounded_and_holds_the_last_states() -> None:
    reward = particles(1, 3, memory=7, neighbours=1, every=2)
    for step in range(20):
        reward.rewards(np.full((3, 1), float(step)))
        assert len(reward.remembered) <= 7
    assert sorted(reward.remembered[:, 0]) == [14, 16, 16, 16, 18, 18, 18]


def test_it_does_not_matter_which_environment_gives_which_state() -> None:
    rng = np.random.default_rng(2)
    one, other = particles(3, 6, neighbours=3, every=2), particles(3, 6, neighbours=3, every=2)
    for _ in range(30):
        states, order = rng.normal(size=(6, 3)), rng.permutation(6)
        np.testing.assert_allclose(other.rewards(states[order]), one.rewards(states)[order], atol=1e-5)


def test_new_states_pay_more_than_old_ones() -> None:
    rng = np.random.default_rng(3)
    reward = particles(4, 8)
    for _ in range(200):
        reward.rewards(rng.normal(size=(8, 4)))
    found = reward.rewards(np.concatenate([rng.normal(size=(4, 4)), rng.normal(5, 1, (4, 4))]))
    assert found[4:].min() > found[:4].max()


def test_of_an_ended_episode_the_last_state_counts() -> None:
    """A cart begins near zero, and its pole has fallen at 0.2 rad: that state is remembered."""
    env = StateEntropy(neighbours=1, every=1).wrap(as_sb3(make_vec("CartPole-v1", 2, seed=0)), 0)
    assert isinstance(reward := env._reward, Particles)  # type: ignore[attr-defined]
    env.reset()
    ended = 0
    for _ in range(60):
        _, _, dones, infos = env.step(np.ones(2, np.int64))
        for index in np.flatnonzero(dones):
            ended += 1
            last = infos[index]["terminal_observation"]
            assert abs(last[2]) > 0.2
            assert np.isclose(reward.remembered, last, atol=1e-6).all(axis=1).any()
    assert ended > 4
    env.close()


def test_the_normaliser_scales_it_and_the_episode_tells_the_tasks_return() -> None:
    env: Any = make_training_env(SMALL, TASK, 0, reward={"name": "state_entropy", "neighbours": 2})
    plain: Any = make_training_env(SMALL, TASK, 0)
    env.reset(), plain.reset()
    actions = np.random.default_rng(0).uniform(-3, 3, (80, 4, 1)).astype(np.float32)
    returns = ([], [])
    for action in actions:
        step, other = env.step(action), plain.step(action)
        np.testing.assert_array_equal(step[0], other[0])
        np.testing.assert_array_equal(step[2], other[2])  # episodes end as the task has it
        for found, infos in zip(returns, (step[3], other[3]), strict=True):
            found.extend(info["episode"]["r"] for info in infos if "episode" in info)
        assert (plain.get_original_reward() != env.get_original_reward()).any()
    assert returns[0] == returns[1]
    assert len(returns[0]) > 4
    assert env.ret_rms.var != plain.ret_rms.var


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_the_same_seed_gives_the_same_bits_and_the_checkpoint_says_what_it_was(
    algorithm: str, tmp_path: Any
) -> None:
    sac = SACConfig(n_envs=2, learning_starts=32, batch_size=16, net_arch=(8,), buffer_size=300)
    config = SMALL if algorithm == "ppo" else sac
    agents = []
    for reward in ("state_entropy", "state_entropy", "task"):
        env = make_training_env(config, TASK, 5, reward=reward)
        agents.append(build_agent(config, env, 5, device="cpu").learn(256))
    assert_same(*agents[:2])
    with pytest.raises(AssertionError):
        assert_same(*agents[1:])
    assert checkpoint_of(agents[2]).reward is None
    assert trained_on(agents[0].get_env()) == {
        "name": "state_entropy",
        "neighbours": 12,
        "memory": 4096,
        "every": 8,
    }
    read = load_checkpoint(save_checkpoint(agents[0], tmp_path / "agent"))
    assert read.reward == trained_on(agents[0].get_env())


def test_what_is_given_per_step_is_logged_beside_the_tasks_return() -> None:
    found: dict[str, float] = {}

    class Look(BaseCallback):
        def _on_rollout_end(self) -> None:
            found.update(self.logger.name_to_value)

        def _on_step(self) -> bool:
            return True

    agent = build_agent(SMALL, make_training_env(SMALL, TASK, 0, reward="state_entropy"), 0, device="cpu")
    agent.learn(384, callback=[RewardLog(), Look()])
    assert 0 < found["rollout/state_entropy"] < 10


def test_names_and_options() -> None:
    assert list(REWARDS)[:2] == ["task", "state_entropy"]
    assert recorded_reward("task") == {}
    assert read_reward({"name": "state_entropy", "neighbours": 3}) == StateEntropy(neighbours=3)
    with pytest.raises(SettingError, match=r"Unknown reward 'state_entrpy'. Did you mean 'state_entropy'"):
        read_reward("state_entrpy")
    with pytest.raises(SettingError, match=r"reward.neighbors: Unknown setting 'neighbors'. Did you mean"):
        read_reward({"name": "state_entropy", "neighbors": 3}, ("reward",))
    with pytest.raises(SettingError, match="neighbours: expected a number at least 1, found 0"):
        read_reward({"name": "state_entropy", "neighbours": 0})
    with pytest.raises(WarmstartError, match="a memory for at least 12 neighbours, found 4"):
        StateEntropy(memory=4)
    with pytest.raises(WarmstartError, match=r"a memory for at least the 64 environments' .* found 32"):
        StateEntropy(memory=32).build(3, 64, 0)


def test_dicts_discrete_observations_and_pixels_are_refused() -> None:
    with pytest.raises(WarmstartError, match=r"state_entropy measures distances .* found Dict"):
        StateEntropy().wrap(vectorise(DictTask, 2), 0)
    with pytest.raises(WarmstartError, match=r"have to be vectors.* found Discrete"):
        StateEntropy().wrap(as_sb3(make_vec("FrozenLake-v1", 2)), 0)
    image = spaces.Box(0, 255, (84, 84, 3), np.uint8)
    assert is_image_space(image)
    env = vectorise(lambda: gymnasium.make(TASK), 2)
    env.observation_space = image
    with pytest.raises(WarmstartError, match="Frames become vectors by a frozen encoder"):
        StateEntropy().wrap(env, 0)


def test_a_reward_of_ones_own() -> None:
    class Still(Reward):
        def rewards(self, reached: Floats) -> Floats:
            return -np.abs(reached).sum(axis=1)

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    @register_reward
    @dataclass(frozen=True, kw_only=True)
    class Stillness(RewardConfig):
        name = "stillness"  # type: ignore[misc]

        def build(self, dimensions: int, n_envs: int, seed: int) -> Reward:
            del dimensions, n_envs, seed
            return Still()

    try:
        env = make_training_env(SACConfig(n_envs=2), TASK, 0, reward="stillness")
        env.reset()
        observations, rewards, *_ = env.step(np.zeros((2, 1), np.float32))
        np.testing.assert_allclose(rewards, -np.abs(observations).sum(axis=1), rtol=1e-6)
        with pytest.raises(WarmstartError, match="a name that is there already: 'stillness'"):
            register_reward(type("Other", (Stillness,), {}))
    finally:
        del REWARDS["stillness"]


class Room(gymnasium.Env[Any, Any]):
    """A point in a square that starts in its middle; every episode has 40 steps, every reward is 0."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at, self.t = self.np_random.uniform(-0.02, 0.02, 2).astype(np.float32), 0
        return self.at.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at, self.t = (
            np.clip(self.at + 0.06 * np.clip(action, -1, 1), -1, 1).astype(np.float32),
            self.t + 1,
        )
        return self.at.copy(), 0.0, False, self.t >= 40, {}


def entropy(agent: Any, *, trained: bool) -> float:
    """Entropy of the cells of a 10 by 10 grid over the room that are visited, in nats; ln 100 is 4.6."""
    env = vectorise(Room, 32, seed=99)
    env.action_space.seed(0)
    observations, seen = env.reset(), []
    for _ in range(40):
        if trained:
            actions = agent.predict(agent.get_vec_normalize_env().normalize_obs(observations))[0]
        else:
            actions = np.array([env.action_space.sample() for _ in range(32)])
        observations = env.step(actions)[0]
        seen.append(observations)
    counts = np.histogram2d(*np.concatenate(seen).T, bins=10, range=[[-1, 1], [-1, 1]])[0].ravel()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("seed", [0, 1])
def test_visited_states_spread(seed: int) -> None:
    env = VecNormalize(StateEntropy(neighbours=5, every=2).wrap(vectorise(Room, 16, seed=seed), seed))
    agent = PPO("MlpPolicy", env, n_steps=40, batch_size=160, n_epochs=5, gamma=0.97, seed=seed, device="cpu")
    random, fresh = entropy(agent, trained=False), entropy(agent, trained=True)
    agent.learn(12_800)
    found = entropy(agent, trained=True)
    assert found > max(random, fresh) + 0.8, (random, fresh, found)
