"""Warm starts of agents whose HerReplayBuffer draws from ended episodes only."""

import gymnasium
import numpy as np
import pytest
import stable_baselines3
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv

import warmstart
from warmstart.core.errors import WarmstartError
from warmstart.transfer.methods import critic
from warmstart.transfer.methods.critic import fit_critic

GOALS = ("achieved_goal", "desired_goal", "observation")


class Reach(gymnasium.Env):
    """A point that is to reach a goal, with the observations of Gymnasium-Robotics."""

    observation_space = spaces.Dict({name: spaces.Box(-9, 9, (2,), np.float32) for name in GOALS})
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.point, self.goal = np.zeros(2, np.float32), self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self._observed(), {}

    def step(self, action):
        self.point = np.clip(self.point + 0.1 * action, -9, 9).astype(np.float32)
        return self._observed(), self.compute_reward(self.point, self.goal, {}), False, False, {}

    def compute_reward(self, achieved, desired, info):
        return -(np.linalg.norm(achieved - desired, axis=-1) > 0.1).astype(np.float32)

    def _observed(self):
        return {
            "achieved_goal": self.point.copy(),
            "desired_goal": self.goal.copy(),
            "observation": self.goal - self.point,
        }


def agent(episode, kind=stable_baselines3.SAC, n_envs=1, learning_starts=1_000):
    limit = gymnasium.wrappers.TimeLimit
    envs = DummyVecEnv([lambda: Reach() if episode is None else limit(Reach(), episode)] * n_envs)
    return kind(
        "MultiInputPolicy",
        envs,
        replay_buffer_class=HerReplayBuffer,
        buffer_size=1_000,
        learning_starts=learning_starts,
        policy_kwargs={"net_arch": [8]},
        batch_size=8,
        seed=0,
        device="cpu",
    )


QUICK = [
    (stable_baselines3.SAC, 0, 20),  # plain SB3 would take its first gradient step at once
    (warmstart.TD3, 0, 20),
    (stable_baselines3.TD3, 5, 20),  # shorter than an episode
    (warmstart.SAC, 5, 20),
    (warmstart.TD3, 30, 30),
]
EVERY = [
    (kind, fit, used)
    for kind in (stable_baselines3.SAC, stable_baselines3.TD3, warmstart.SAC, warmstart.TD3)
    for fit, used in ((0, 20), (5, 20), (30, 30))
]


@pytest.mark.parametrize(
    ("kind", "fit", "used"),
    [pytest.param(*each, marks=() if each in QUICK else pytest.mark.slow) for each in EVERY],
)
def test_an_episode_has_ended_before_the_first_gradient_step(kind, fit, used):
    model = agent(20, kind)
    report = warmstart.warm_start(model, agent(20, kind), critic_fit_steps=fit, critic_updates=2)
    if fit == 0 and kind.__module__.startswith("warmstart"):
        assert report.steps == 0  # ours keeps its learning_starts, 1,000 steps
        assert model.learning_starts == 1_000
        return
    assert report.steps == model.num_timesteps == used
    assert f"HerReplayBuffer draws from ended episodes only: {used} steps hold at least one." in report.notes
    model.learn(10, reset_num_timesteps=False, callback=report.callback)
    assert model.num_timesteps == used + 10


def test_two_environments_collect_together():
    model = agent(20, n_envs=2)
    assert fit_critic(model, 6, updates=1) == 40


def test_budget_that_ends_before_an_episode_is_refused():
    with pytest.raises(WarmstartError, match=r"none ended in 15 steps: give more steps \(max_steps\)"):
        warmstart.warm_start(agent(20), agent(20), critic_fit_steps=5, max_steps=15)


def test_episode_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(critic, "LONGEST", 60)
    with pytest.raises(WarmstartError, match=r"none ended in 60 steps: give .*, or a time limit"):
        fit_critic(agent(None), 5, updates=1)
