"""What an agent remembers: the last observations and the actions between them, as one vector.

A policy that observes them can tell how the world answers, and so what its physics is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from typing_extensions import override

from warmstart.agents.observing.base import Observing
from warmstart.agents.observing.privileged import multilayer, vector_space
from warmstart.core.bounds import Count, State
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check
from warmstart.envs.simulation.layouts import Layout, generic_layout
from warmstart.envs.wrappers import Ids, ObservationWrapper

Array = NDArray[Any]


@dataclass(frozen=True)
class ObservationHistory(Observing):
    """The last observations and the actions between them.

    Raises:
        WarmstartError: There is no frame.
    """

    kind: ClassVar[str] = "history"
    frames: Count = 8
    """Observations, the newest included."""
    actions: bool = True
    """Whether the ``frames - 1`` actions between them are observed, too."""

    def __post_init__(self) -> None:
        check(self)

    @override
    def wrapper(self, env: VectorEnv[Any, Any, Any]) -> "HistoryEnv":
        return HistoryEnv(env, self.frames, self.actions)


class HistoryEnv(ObservationWrapper):
    """Observes the last observations, oldest first, then the actions between them, oldest first.

    For k frames of d numbers and m actions an observation has k d + (k - 1) m numbers. An episode begins with
    its first observation repeated and with actions of zero; nothing of the last episode is left. Actions are
    remembered within the range of their space, to which MuJoCo clips them.

    Args:
        env: Observes vectors; resets in the same step.
        frames: Observations, the newest included.
        actions: Whether actions are observed, too.

    Raises:
        WarmstartError: Observations (or actions that are observed) aren't vectors.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], frames: int, actions: bool) -> None:
        super().__init__(env)
        seen, done = vector_space(env), env.single_action_space
        if actions and not (isinstance(done, spaces.Box) and len(done.shape) == 1):
            raise WarmstartError(
                f"Expected actions that are vectors (a Box of one dimension), found {done}: leave them out "
                "of the history with actions=False."
            )
        low, high, dtype = [seen.low] * frames, [seen.high] * frames, seen.dtype
        width = 0
        if actions:
            assert isinstance(done, spaces.Box)
            width, dtype = done.shape[0], np.result_type(seen.dtype, done.dtype)
            low += [np.minimum(done.low, 0)] * (frames - 1)  # zero stands for no action yet
            high += [np.maximum(done.high, 0)] * (frames - 1)
            self._bounds = done.low, done.high
        self._seen = np.zeros((self.num_envs, frames, seen.shape[0]), dtype=dtype)
        self._done = np.zeros((self.num_envs, frames - 1, width), dtype=dtype)
        least, most = np.concatenate(low).astype(dtype), np.concatenate(high).astype(dtype)
        self.observe_as(spaces.Box(least, most, dtype=dtype.type))

    @property
    def observation_layout(self) -> Layout:
        """The newest observation has its own names, others the suffix ``@-1``, ``@-2``, ….

        The action before the newest observation is ``action.NAME@-1``.
        """
        seen = self._layout("observation_layout", self.env.single_observation_space, "obs")
        frames = self._seen.shape[1]
        found = [
            replace(dimension, name=f"{dimension.name}@-{age}" if age else dimension.name)
            for age in range(frames - 1, -1, -1)
            for dimension in seen.dimensions
        ]
        if self._done.shape[2]:
            done = self._layout("action_layout", self.env.single_action_space, "action")
            found += [
                replace(dimension, name=f"action.{dimension.name}@-{age}")
                for age in range(frames - 1, 0, -1)
                for dimension in done.dimensions
            ]
        return Layout(tuple(found))

    def _layout(self, name: str, space: spaces.Space[Any], prefix: str) -> Layout:
        known: Layout | None = getattr(self.env, name, None)
        return generic_layout(space, prefix) if known is None else known

    @override
    def begin(self, observations: Array, ids: Ids) -> None:
        self._seen[ids] = observations[:, None]
        self._done[ids] = 0

    @override
    def proceed(self, observations: Array, actions: Array) -> None:
        self._seen[:, :-1] = self._seen[:, 1:]
        self._seen[:, -1] = observations
        if self._done.size:
            self._done[:, :-1] = self._done[:, 1:]
            self._done[:, -1] = np.clip(actions, *self._bounds)

    @override
    def observed(self, observations: Array, ids: Ids) -> Array:
        n = len(ids)
        return np.concatenate([self._seen[ids].reshape(n, -1), self._done[ids].reshape(n, -1)], axis=1)

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), "seen": self._seen.copy(), "done": self._done.copy()}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._seen[...], self._done[...] = state["seen"], state["done"]


class AdaptationExtractor(BaseFeaturesExtractor):
    """Features of a history: its newest observation, and a latent code phi(history) of the physics.

    The adaptation module phi of RMA (2107.04034, section III-B). Every transition (observation, action, next
    observation) is embedded by the same small network, and another one reads the embeddings in order. (The
    paper has convolutions over 50 steps in its place, and no next observation; its observations hold the last
    action.)

    Args:
        observation_space: As ``ObservationHistory(frames, actions=True)`` makes it.
        frames: Observations of d numbers in it, at least 2.
        n_actions: Numbers of one action.
        latent_dim: Numbers of the code.
        embedding: Numbers that a transition becomes.
        hidden: Widths of the hidden layers after that.

    Raises:
        WarmstartError: The observations are others.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        frames: int,
        n_actions: int,
        latent_dim: int = 8,
        embedding: int = 16,
        hidden: Sequence[int] = (128, 64),
    ) -> None:
        size = spaces.flatdim(observation_space) - (frames - 1) * n_actions
        if frames < 2 or size < frames or size % frames:
            raise WarmstartError(
                f"Expected a history of at least 2 frames with {n_actions} actions between, found frames="
                f"{frames} and {observation_space}."
            )
        super().__init__(observation_space, size // frames + latent_dim)
        self.frames, self.n_actions, self.n_seen = frames, n_actions, size // frames
        self.embed = multilayer(2 * self.n_seen + n_actions, (2 * embedding,), embedding)
        self.phi = multilayer((frames - 1) * embedding, hidden, latent_dim)

    def latent(self, observations: torch.Tensor) -> torch.Tensor:
        """The code of the physics. Shape: (n, latent_dim)."""
        n, split = observations.shape[0], self.frames * self.n_seen
        seen = observations[:, :split].reshape(n, self.frames, self.n_seen)
        done = observations[:, split:].reshape(n, self.frames - 1, self.n_actions)
        transitions = torch.cat([seen[:, :-1], done, seen[:, 1:]], dim=2)
        embedded = nn.functional.elu(self.embed(transitions))
        return self.phi(embedded.flatten(1))  # type: ignore[no-any-return]

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Newest observation and code. Shape: (n, d + latent_dim)."""
        newest = observations[:, (self.frames - 1) * self.n_seen : self.frames * self.n_seen]
        return torch.cat([newest, self.latent(observations)], dim=1)
