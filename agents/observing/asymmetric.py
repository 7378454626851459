"""Policies whose critic reads more than their actor: PPO's, SAC's and TD3's.

Asymmetric actor-critic (Pinto et al. 2017, 1710.06542): the actor reads the observation, the critic the
physical context as well, which only a simulator knows.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import stable_baselines3.sac.policies as sac
import stable_baselines3.td3.policies as td3
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from warmstart.agents.observing.privileged import POLICY, is_privileged
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import env_attribute


class PolicyExtractor(BaseFeaturesExtractor):
    """The part of a privileged observation that the actor may read, as it is. Shape: (n, d)."""

    def __init__(self, observation_space: spaces.Dict) -> None:
        super().__init__(observation_space, spaces.flatdim(observation_space[POLICY]))

    def forward(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The observation without its privileged part. Shape: (n, d)."""
        return observations[POLICY].flatten(1)


class AsymmetricMlpExtractor(MlpExtractor):
    """SB3's hidden layers of actor and critic, for inputs of different sizes.

    Args:
        actor_dim: Features that the actor reads.
        critic_dim: Features that the critic reads.
        net_arch: Widths, as SB3's ``net_arch``.
        activation_fn: Nonlinearity after each layer.
        device: Where they are.
    """

    def __init__(
        self,
        actor_dim: int,
        critic_dim: int,
        net_arch: list[int] | dict[str, list[int]],
        activation_fn: type[nn.Module],
        device: torch.device | str = "auto",
    ) -> None:
        super().__init__(actor_dim, net_arch, activation_fn, device)
        critic = MlpExtractor(critic_dim, net_arch, activation_fn, device)
        self.value_net, self.latent_dim_vf = critic.value_net, critic.latent_dim_vf


class AsymmetricActorCriticPolicy(MultiInputActorCriticPolicy):
    """SB3's policy of PPO whose actor reads ``policy`` and whose critic reads ``policy`` and ``privileged``.

    The constructor takes what SB3's takes, but for ``share_features_extractor``; ``features_extractor_class``
    is the critic's.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        **kwargs: Any,
    ) -> None:
        check_asymmetric(type(self), observation_space, kwargs)
        super().__init__(
            observation_space, action_space, lr_schedule, **{**kwargs, "share_features_extractor": False}
        )

    def _build_mlp_extractor(self) -> None:
        assert isinstance(self.observation_space, spaces.Dict)
        self.features_extractor = self.pi_features_extractor = PolicyExtractor(self.observation_space)
        self.features_dim = self.features_extractor.features_dim
        self.mlp_extractor = AsymmetricMlpExtractor(
            self.features_dim,
            self.vf_features_extractor.features_dim,
            self.net_arch,
            self.activation_fn,
            self.device,
        )


class _AsymmetricPolicy(BasePolicy):
    """Mixin before SB3's policies of SAC and TD3."""

    actor_class: ClassVar[type[BasePolicy]]
    actor_kwargs: State

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        **kwargs: Any,
    ) -> None:
        check_asymmetric(type(self), observation_space, kwargs)
        kwargs.setdefault("features_extractor_class", CombinedExtractor)
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Make an actor that reads what it may, whatever extractor it is given."""
        del features_extractor
        assert isinstance(self.observation_space, spaces.Dict)
        own = PolicyExtractor(self.observation_space)
        kwargs = self._update_features_extractor(self.actor_kwargs, own)
        return self.actor_class(**kwargs).to(self.device)


class AsymmetricSACPolicy(_AsymmetricPolicy, sac.SACPolicy):
    """SB3's policy of SAC; its actor reads ``policy``, its critics ``policy`` and ``privileged``."""

    actor_class = sac.Actor


class AsymmetricTD3Policy(_AsymmetricPolicy, td3.TD3Policy):
    """SB3's policy of TD3; its actor reads ``policy``, its critics ``policy`` and ``privileged``."""

    actor_class = td3.Actor


ASYMMETRIC_POLICIES: dict[str, type[BasePolicy]] = {
    "ppo": AsymmetricActorCriticPolicy,
    "sac": AsymmetricSACPolicy,
    "td3": AsymmetricTD3Policy,
}
"""The policy class of an algorithm whose critic alone reads what is privileged."""


def wants_asymmetric(env: VecEnv) -> bool:
    """Whether an environment's observations have a privileged part that its actor must not read.

    That is so where they have exactly the keys ``policy`` and ``privileged``, unless they come from a
    ``PrivilegedObservation(who="both")``.
    """
    return is_privileged(env.observation_space) and getattr(env_attribute(env, "vision"), "who", "") != "both"


def check_asymmetric(policy: type[BasePolicy], space: spaces.Space[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise where an asymmetric policy can't be built."""
    if not is_privileged(space):
        raise WarmstartError(
            f"{policy.__name__} takes observations with the keys policy and privileged, found {space}: wrap "
            "the environment by PrivilegedObservation."
        )
    if kwargs.get("share_features_extractor"):
        raise WarmstartError(
            f"{policy.__name__}: the actor must not read what the critic reads; leave "
            "share_features_extractor out."
        )
