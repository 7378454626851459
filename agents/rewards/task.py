"""The task's own reward, which nothing replaces."""

from dataclasses import dataclass
from typing import ClassVar

from stable_baselines3.common.vec_env import VecEnv
from typing_extensions import override

from warmstart.agents.rewards.base import Reward, RewardConfig, register_reward
from warmstart.core.errors import WarmstartError


@register_reward
@dataclass(frozen=True, kw_only=True)
class TaskReward(RewardConfig):
    """The task's own reward."""

    name: ClassVar[str] = "task"
    title: ClassVar[str] = "the task's own reward"
    replaces: ClassVar[bool] = False

    @override
    def build(self, dimensions: int, n_envs: int, seed: int) -> Reward:
        raise WarmstartError("The task's own reward is the environment's: there is nothing to build.")

    @override
    def wrap(self, env: VecEnv, seed: int) -> VecEnv:
        return env
