"""Small tasks and threads for the agents' tests."""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class DictTask(gymnasium.Env[dict[str, Any], Any]):
    """Drive a number to zero, seen as a flat Dict."""

    def __init__(self, discrete: bool = False) -> None:
        self.observation_space = spaces.Dict(
            {
                "position": spaces.Box(-10, 10, (1,), np.float32),
                "rest": spaces.Box(np.array([-1.5, -2], np.float32), np.array([np.inf, 2], np.float32)),
            }
        )
        self.action_space = spaces.Discrete(3) if discrete else spaces.Box(-2, 2, (2,), np.float32)
        self.x, self.t = 0.0, 0

    def _observe(self) -> dict[str, Any]:
        return {
            "position": np.array([self.x], np.float32),
            "rest": np.array([self.t / 50, self.x / 10], np.float32),
        }

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.uniform(-2, 2)), 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        push = float(action) - 1 if np.ndim(action) == 0 else float(action[0])
        self.x = float(np.clip(self.x + 0.2 * push, -9, 9))
        self.t += 1
        return self._observe(), -abs(self.x), abs(self.x) > 8, self.t >= 40, {}


def vectorise(make: Callable[[], Any], n: int, seed: int = 3) -> VecEnv:
    env = DummyVecEnv([lambda: Monitor(make()) for _ in range(n)])
    env.seed(seed)
    return env


def gym_env(task: str, n: int = 4, **options: Any) -> VecEnv:
    return vectorise(lambda: gymnasium.make(task, **options), n)


def assert_same(one: Any, other: Any) -> None:
    """Every tensor of two policies is equal bit for bit."""
    a, b = one.policy.state_dict(), other.policy.state_dict()
    assert list(a) == list(b)
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different, different
