"""What SAC and TD3 have in common here: who acts in the first steps, and a seeded replay buffer."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback, RolloutReturn
from stable_baselines3.common.utils import polyak_update
from torch import nn

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.seams import Seams
from warmstart.core.errors import WarmstartError


class OffPolicySeams(SeamAgent, OffPolicyAlgorithm):
    """Mixin before SB3's SAC or TD3.

    ``random_steps`` separates what SB3's ``learning_starts`` mixes: a warm agent should gather experience
    before its first gradient step (``learning_starts``) but with its own policy, not uniformly at random
    (SB3 #1916, #435).
    """

    random_steps: int | None

    def __init__(
        self,
        policy: Any,
        env: Any,
        *args: Any,
        seams: Seams | None = None,
        random_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        experience = seams.experience if seams is not None else None
        if experience is not None and experience.random_steps is not None:
            random_steps = experience.random_steps
        self.random_steps = random_steps
        self._buffer_seeded = False
        super().__init__(policy, env, *args, seams=seams, **kwargs)

    def _setup_learn(
        self, total_timesteps: int, callback: MaybeCallback = None, *args: Any, **kwargs: Any
    ) -> Any:
        prepared = super()._setup_learn(total_timesteps, callback, *args, **kwargs)
        if self.seams.experience is not None and not self._buffer_seeded:
            self._buffer_seeded = True
            self.seams.experience.seed_buffer(self)
        return prepared

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        random_steps = learning_starts if self.random_steps is None else self.random_steps
        actions, stored = super()._sample_action(random_steps, action_noise, n_envs)
        guide = self._guide_actions()
        if guide is None or not guide.mask.any():
            return actions, stored
        if guide.actions.shape != actions.shape:
            raise WarmstartError(
                f"The guide's actions have the shape {guide.actions.shape}, expected {actions.shape}."
            )
        assert isinstance(self.action_space, spaces.Box)
        actions, stored = actions.copy(), stored.copy()
        low, high = self.action_space.low, self.action_space.high
        actions[guide.mask] = np.clip(guide.actions[guide.mask], low, high)
        stored[guide.mask] = self.policy.scale_action(actions[guide.mask])
        return actions, stored

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        """Collect experience as SB3 does, then tell the feedback seam of the episodes that ended."""
        rollout = super().collect_rollouts(*args, **kwargs)
        self._tell_episodes()
        return rollout

    @property
    def _plain(self) -> bool:
        """Whether SB3's own update does what is asked."""
        return self.trainability is None and not self.seams.loss_terms

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_buffer_seeded"]


def follow(network: nn.Module, target: nn.Module, tau: float) -> None:
    """Move a target network towards its network, except where the network is frozen.

    Without the exception a frozen parameter's target would still change by rounding.
    """
    pairs = [
        (p, t) for p, t in zip(network.parameters(), target.parameters(), strict=True) if p.requires_grad
    ]
    polyak_update([p for p, _ in pairs], [t for _, t in pairs], tau)


def any_trains(module: nn.Module) -> bool:
    """Whether a parameter of the module needs a gradient."""
    return any(parameter.requires_grad for parameter in module.parameters())
