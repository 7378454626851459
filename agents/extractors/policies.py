"""Policies of SAC and TD3 whose encoder is trained by the critic's loss alone.

SB3's ``share_features_extractor=True`` trains it by the actor's loss alone, the reverse of what DrQ
(2004.13649) and SAC-AE (1910.01741) found essential.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import stable_baselines3.sac.policies as sac
import stable_baselines3.td3.policies as td3
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from warmstart.agents.extractors.extractor import EncoderExtractor
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError


class _EncoderActor(BasePolicy):
    """Mixin before SB3's actors: reads the critic's maps through a trunk of its own and can't train them."""

    features_extractor: EncoderExtractor

    def extract_features(self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor) -> torch.Tensor:
        """Features without a gradient to the backbone."""
        assert isinstance(features_extractor, EncoderExtractor)
        return super().extract_features(obs, features_extractor.detached)  # type: ignore[arg-type]

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The actor's own parameters, without the backbone's.

        So its optimizer doesn't get them, and TD3's target backbone doesn't follow twice.
        """
        theirs = {id(parameter) for parameter in self.features_extractor.backbone.parameters()}
        for name, parameter in super().named_parameters(prefix, recurse, remove_duplicate):
            if id(parameter) not in theirs:
                yield name, parameter


class _SACActor(_EncoderActor, sac.Actor): ...


class _TD3Actor(_EncoderActor, td3.Actor): ...


class _EncoderCritic(ContinuousCritic):
    """Owns the encoder, and doesn't differentiate it in the actor's loss."""

    features_extractor: EncoderExtractor

    def forward(self, obs: PyTorchObs, actions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Q-values, without a gradient to the encoder where the actions have one. Shapes: (n, 1)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not actions.requires_grad):
            features = self.extract_features(obs, self.features_extractor)
        inputs = torch.cat([features, actions], dim=1)
        return tuple(network(inputs) for network in self.q_networks)


class _EncoderPolicy(BasePolicy):
    """Mixin before SB3's policies of SAC and TD3."""

    actor_class: ClassVar[type[_EncoderActor]]
    actor_kwargs: State
    critic_kwargs: State

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("features_extractor_class", EncoderExtractor)
        kwargs.setdefault("normalize_images", False)
        name = type(self).__name__
        if kwargs["normalize_images"]:
            raise WarmstartError(f"{name} prepares frames itself: give it normalize_images=False.")
        if kwargs.get("share_features_extractor"):
            raise WarmstartError(
                f"{name} shares the encoder and trains it by the critic's loss; share_features_extractor "
                "would train it by the actor's: leave it out."
            )
        if not issubclass(kwargs["features_extractor_class"], EncoderExtractor):
            raise WarmstartError(
                f"{name} needs an EncoderExtractor, found {kwargs['features_extractor_class'].__name__}."
            )
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)
        networks: dict[str, Any] = dict(self.named_children())
        for name in networks.keys() & {"actor", "actor_target"}:
            critic = networks[name.replace("actor", "critic")]
            networks[name].features_extractor.backbone = critic.features_extractor.backbone

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> _EncoderCritic:
        """Make a critic, with an extractor of its own unless it is given one."""
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return _EncoderCritic(**kwargs).to(self.device)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Make an actor."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return self.actor_class(**kwargs).to(self.device)

    def set_training_mode(self, mode: bool) -> None:
        """Set the mode of actor, critic and, for random shifts, of the targets' extractors."""
        super().set_training_mode(mode)
        networks: dict[str, Any] = dict(self.named_children())
        for name in networks.keys() & {"actor_target", "critic_target"}:
            networks[name].features_extractor.train(mode)


class SACEncoderPolicy(_EncoderPolicy, sac.SACPolicy):
    """SB3's policy of SAC with one encoder for actor and critic, trained by the critic's loss alone.

    As in DrQ-v2 (2107.09645), actor and critic have a trunk each. The target critic has an encoder of its
    own, which follows by polyak averaging as in DrQ (2004.13649), and gets shifted frames as the others do.
    The constructor takes what SB3's takes, but for ``share_features_extractor``; images are always left
    unscaled.
    """

    actor_class = _SACActor


class TD3EncoderPolicy(_EncoderPolicy, td3.TD3Policy):
    """As `SACEncoderPolicy`, for TD3; the target actor reads the target critic's encoder."""

    actor_class = _TD3Actor


ENCODER_POLICIES: dict[str, type[BasePolicy]] = {"sac": SACEncoderPolicy, "td3": TD3EncoderPolicy}
"""The policy class of an algorithm whose encoder is trained by the critic; PPO's are SB3's own."""
