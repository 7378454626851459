"""What a reward is that an agent trains on in place of its task's, and the wrapper that gives it.

A kind of your own is a frozen dataclass of options that derives from ``RewardConfig`` and is registered, and
builds the ``Reward`` that it describes. Evaluation never sees it: there the task's own reward counts.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn
from typing_extensions import override

from warmstart.core.bounds import State, show
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check, register_named, to_plain
from warmstart.envs.sb3 import env_attribute

Floats = NDArray[np.float64]


class Reward(ABC):
    """Gives rewards for the states that a step led to."""

    @abstractmethod
    def rewards(self, reached: Floats) -> Floats:
        """Give the rewards of one step of every environment, and learn from it.

        Args:
            reached: Observations that the step led to: of ended episodes the last one, not the first of the
                next. Shape: (n_envs, dimensions).

        Returns:
            Shape: (n_envs,).
        """

    @abstractmethod
    def state_dict(self) -> State:
        """Everything that the next rewards depend on, as plain values and arrays."""

    @abstractmethod
    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """Options of a reward."""

    name: ClassVar[str] = ""
    """What it is called in settings."""

    title: ClassVar[str] = ""
    """What it is, in a few words."""

    paper: ClassVar[str] = ""
    """arXiv number of the paper that it follows; empty where there is none."""

    replaces: ClassVar[bool] = True
    """Whether it takes the place of the task's own."""

    def __post_init__(self) -> None:
        check(self)

    def build(self, dimensions: int, n_envs: int, seed: int) -> Reward:
        """Make the reward.

        Args:
            dimensions: Numbers that an agent observes.
            n_envs: Environments that it trains in.
            seed: Of every random draw.

        Raises:
            WarmstartError: The options don't go with these numbers.
        """
        raise NotImplementedError(f"{type(self).__name__} has no build(dimensions, n_envs, seed).")

    def wrap(self, env: VecEnv, seed: int) -> VecEnv:
        """Give an agent's training environments this reward.

        Raises:
            WarmstartError: Its observations are no vectors.
        """
        dimensions = vector_size(env.observation_space, self.name)
        return RewardWrapper(env, self, self.build(dimensions, env.num_envs, seed))

    def to_json(self) -> State:
        """Plain values of every option, with the reward's name under ``name``."""
        return {"name": self.name, **to_plain(self)}


def vector_size(space: spaces.Space[Any], name: str) -> int:
    """How many numbers an observation holds.

    Args:
        space: Of one observation.
        name: The reward's, for the message.

    Raises:
        WarmstartError: They aren't numbers on a scale, or pixels: distances mean nothing there.
    """
    if not isinstance(space, spaces.Box) or is_image_space(space):
        raise WarmstartError(
            f"{name} measures distances between observations, which have to be vectors: expected Box "
            f"observations that are no images, found {space}. Frames become vectors by a frozen encoder."
        )
    return int(np.prod(space.shape))


class RewardWrapper(VecEnvWrapper):
    """Replaces the rewards of training environments; belongs below ``VecNormalize``, which scales them.

    ``info["episode"]``, and so SB3's ``rollout/ep_rew_mean``, go on telling the task's own return.

    Attributes:
        training_reward: What the agent trains on, as plain values; a checkpoint records it.
        mean_reward: Mean over the environments of the last step.
    """

    def __init__(self, env: VecEnv, config: RewardConfig, reward: Reward) -> None:
        super().__init__(env)
        self.training_reward, self.mean_reward = config.to_json(), 0.0
        self._reward = reward

    @override
    def reset(self) -> Any:
        return self.venv.reset()

    @override
    def step_wait(self) -> VecEnvStepReturn:
        observations, _, dones, infos = self.venv.step_wait()
        reached = np.array(observations, np.float64)
        for index in np.flatnonzero(dones):
            reached[index] = infos[index]["terminal_observation"]
        rewards = self._reward.rewards(reached.reshape(len(reached), -1)).astype(np.float32)
        self.mean_reward = float(rewards.mean())
        return observations, rewards, dones, infos

    def state_dict(self) -> State:
        """State of the reward."""
        return {"mean_reward": self.mean_reward, "reward": self._reward.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""
        self.mean_reward = state["mean_reward"]
        self._reward.load_state_dict(state["reward"])


def trained_on(env: VecEnv | None) -> State | None:
    """What an agent's environments give it in place of the task's reward; ``None`` for that itself."""
    found: State | None = env_attribute(env, "training_reward")
    return found


def named_reward(recorded: State) -> State:
    """What a checkpoint says that its agent was trained on.

    Raises:
        WarmstartError: It has no name.
    """
    if not isinstance(recorded.get("name"), str):
        raise WarmstartError(f"expected the name of a reward under 'name', found {show(recorded)}.")
    return recorded


class RewardLog(BaseCallback):
    """Logs what an agent is given in place of its task's reward, per step: ``rollout/NAME``."""

    @override
    def _on_step(self) -> bool:
        env = self.training_env
        reward = trained_on(env)
        if reward is not None:
            self.logger.record_mean(f"rollout/{reward['name']}", env_attribute(env, "mean_reward"))
        return True


REWARDS: dict[str, type[RewardConfig]] = {}
"""Options of each reward, by name; importing ``warmstart.agents.rewards.table`` registers those of this
room."""

Config = TypeVar("Config", bound=type[RewardConfig])


def register_reward(config: Config) -> Config:
    """Add a reward to the table; a class decorator.

    Raises:
        WarmstartError: It has no name, or the name is taken.
    """
    register_named("reward", REWARDS, config)
    return config
