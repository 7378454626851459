"""State entropy: a policy that visits as many different states as it can, told nothing of the task.

The entropy of the visited states is estimated from distances to nearest neighbours, without a network.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from typing_extensions import override

from warmstart.agents.rewards.base import Floats, Reward, RewardConfig, register_reward
from warmstart.core.bounds import Count, State
from warmstart.core.errors import WarmstartError

EPSILON = 1e-8
_MOMENTS = ("mean", "var", "count")
_REMEMBERED = ("_states", "_steps", "_kept", "_centre", "_scale", "_particles", "_half_norms")
"""Added to a variance before its root is taken."""


class Particles(Reward):
    """Remembers states of the last steps, and rewards those that are far from them.

    ``r = log(1 + mean distance to the k nearest)``: APT's reward (Liu & Abbeel 2021, 2103.04551), on
    standardised observations in place of learned features. RE3 (2102.09430) takes the distance to the k-th
    alone. Unlike there, off-policy agents keep the reward of the moment at which a step was taken.

    Nothing is drawn at random, and it doesn't matter which environment gave which state.

    Args:
        config: The options.
        dimensions: Of a state.
        n_envs: States that a step leads to.

    Attributes:
        moments: Mean and variance of the remembered and forgotten states, by which they are standardised.
    """

    def __init__(self, config: "StateEntropy", dimensions: int, n_envs: int) -> None:
        if n_envs > config.memory:
            raise WarmstartError(
                f"state_entropy: expected a memory for at least the {n_envs} environments' states of one "
                f"step, found {config.memory}."
            )
        self.config = config
        self.moments = RunningMeanStd(0.0, (dimensions,))
        self._states = np.zeros((config.memory, dimensions))
        self._steps, self._kept = 0, 0
        self._centre: Floats = np.zeros(dimensions)
        self._scale: Floats = np.ones(dimensions)
        self._particles = np.zeros((0, dimensions), np.float32)
        self._half_norms = np.zeros(0, np.float32)

    @property
    def remembered(self) -> Floats:
        """States in memory, oldest overwritten first. Shape: (at most `memory`, dimensions)."""
        return self._states[: min(self._kept, len(self._states))]

    @override
    def rewards(self, reached: Floats) -> Floats:
        known = len(self._particles) >= self.config.neighbours
        found = np.log1p(self._distances(reached).mean(axis=1)) if known else np.zeros(len(reached))
        if self._steps % self.config.every == 0:
            self._remember(reached)
        self._steps += 1
        return found

    @override
    def state_dict(self) -> State:
        moments = {name: getattr(self.moments, name) for name in _MOMENTS}
        return {"moments": moments, **{name: getattr(self, name) for name in _REMEMBERED}}

    @override
    def load_state_dict(self, state: State) -> None:
        for name, value in state["moments"].items():
            setattr(self.moments, name, value)
        for name in _REMEMBERED:
            setattr(self, name, state[name])

    def _distances(self, states: Floats) -> Floats:
        """Distances of states to the nearest remembered ones. Shape: (n, neighbours).

        In float32, from ``|x − m|² / 2 = |x|² / 2 + (|m|² / 2 − x · m)``, of which only the nearest are made
        roots: good to some thousandths of a standard deviation.
        """
        k, points = self.config.neighbours, self._standardised(states)
        scores = self._half_norms - points @ self._particles.T
        nearest: Floats = np.partition(scores, k - 1, axis=1)[:, :k].astype(np.float64)
        squares: Floats = np.square(points, dtype=np.float64).sum(axis=1, keepdims=True) + 2 * nearest
        return np.sqrt(np.maximum(squares, 0.0))

    def _remember(self, states: Floats) -> None:
        rows = (self._kept + np.arange(len(states))) % len(self._states)
        self._states[rows] = states
        self._kept += len(states)
        self.moments.update(states)
        self._centre, self._scale = self.moments.mean, 1 / np.sqrt(self.moments.var + EPSILON)
        self._particles = self._standardised(self.remembered)
        self._half_norms = np.square(self._particles).sum(axis=1) / 2

    def _standardised(self, states: Floats) -> NDArray[np.float32]:
        """States less their mean, over their deviation."""
        return ((states - self._centre) * self._scale).astype(np.float32)


@register_reward
@dataclass(frozen=True, kw_only=True)
class StateEntropy(RewardConfig):
    """Entropy of the visited states, by distances to the nearest of those visited lately."""

    name: ClassVar[str] = "state_entropy"
    title: ClassVar[str] = "entropy of the visited states, by nearest neighbours"
    paper: ClassVar[str] = "2103.04551"

    neighbours: Count = 12
    """Nearest remembered states whose distances are averaged."""
    memory: Count = 4_096
    """States that are remembered."""
    every: Count = 8
    """Of the steps of all environments, one in so many is remembered: the memory reaches back
    ``memory × every`` environment steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory < self.neighbours:
            raise WarmstartError(
                f"state_entropy: expected a memory for at least {self.neighbours} neighbours, found "
                f"{self.memory}."
            )

    @override
    def build(self, dimensions: int, n_envs: int, seed: int) -> Reward:
        return Particles(self, dimensions, n_envs)
