"""Policies of sb3-contrib's RecurrentPPO: they act on what they have seen of an episode."""

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO
from typing_extensions import override

from warmstart.agents.checkpoints.policy import Observation, Policy
from warmstart.core.errors import WarmstartError
from warmstart.envs.wrappers import PassingWrapper

RECURRENT = "recurrent_ppo"
"""Name of the algorithm in a checkpoint. It is read, evaluated and shown, and not trained."""
RECURRENT_POLICIES = {cls.__name__: cls for cls in RecurrentPPO.policy_aliases.values()}


class RecurrentPolicy(Policy):
    """A policy with an LSTM, whose state begins anew with every episode.

    `wrap` tells it when episodes begin. In a loop of one's own `reset` does; a batch of another size begins
    anew, too.
    """

    _state: tuple[NDArray[Any], ...] | None = None
    _starts: NDArray[np.bool_] | None = None

    def reset(self, starts: NDArray[np.bool_] | None = None) -> None:
        """Begin anew.

        Args:
            starts: Which environments begin an episode; ``None`` for all. Shape: (n,).
        """
        self._starts = starts
        if starts is None:
            self._state = None

    @override
    def wrap(self, env: VectorEnv[Any, Any, Any]) -> VectorEnv[Any, Any, Any]:
        return _TellsStarts(super().wrap(env), self)

    @override
    def predict(self, observations: Observation, deterministic: bool = True) -> NDArray[Any]:
        self._check(observations)
        if self.normalizer is not None:
            observations = self.normalizer.apply(observations)
        _, batched = self.module.obs_to_tensor(observations)
        first = next(iter(observations.values())) if isinstance(observations, dict) else observations
        n = len(first) if batched else 1
        if self._state is not None and self._state[0].shape[1] != n:
            self.reset()
        starts = np.zeros(n, bool) if self._starts is None else self._starts
        actions, self._state = self.module.predict(observations, self._state, starts, deterministic)
        self._starts = None
        return actions


class _TellsStarts(PassingWrapper):
    """Tells a recurrent policy which environments begin an episode."""

    def __init__(self, env: VectorEnv[Any, Any, Any], policy: RecurrentPolicy) -> None:
        super().__init__(env)
        self._policy = policy

    @override
    def reset(self, **kwargs: Any) -> Any:
        self._policy.reset()
        return super().reset(**kwargs)

    @override
    def step(self, actions: Any) -> Any:
        stepped = super().step(actions)
        self._policy.reset(np.asarray(stepped[2]) | np.asarray(stepped[3]))
        return stepped


def refuse_recurrent(algorithm: str) -> None:
    """Say why a recurrent source's networks can't start a target's.

    Raises:
        WarmstartError: The source's algorithm is RecurrentPPO.
    """
    if algorithm == RECURRENT:
        raise WarmstartError(
            "The source is a policy of RecurrentPPO. Its layers read the units of its LSTM and not the "
            "observations, and the agents that are trained here have no LSTM: neither the LSTM nor what "
            "reads it can be carried over. It can be evaluated, filmed and compared (warmstart evaluate, "
            "video, gap). A source to start from is one of ppo; an arm's history: 4 gives it a memory."
        )
