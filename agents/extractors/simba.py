"""SimBa's networks for the off-policy algorithms: residual blocks in place of a multilayer perceptron.

Lee et al. 2024 (2410.09754): a linear layer, blocks that each add to what they read, one more normalisation.
Widths are ``net_arch``: (512, 512) are two blocks of 512 units. Observations are standardised before the
networks read them, by the agent's normaliser (``normalize_obs``), which is part of every checkpoint.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sb3_contrib.common.torch_layers import BatchRenorm1d
from sb3_contrib.crossq.policies import CrossQPolicy
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import nn
from typing_extensions import override

EXPANSION = 4
"""How many times as wide a block is inside."""
Norm = Callable[[int], nn.Module]


class ResidualBlock(nn.Module):
    """``x + down(relu(up(norm(x))))``.

    Args:
        width: Units that it reads and adds to.
        norm: Makes the normalisation of so many units.
    """

    def __init__(self, width: int, norm: Norm = nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm(width)
        self.up, self.down = nn.Linear(width, EXPANSION * width), nn.Linear(EXPANSION * width, width)
        for layer in (self.up, self.down):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    @override
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add to what is read. Shapes: (n, width)."""
        added: torch.Tensor = self.down(torch.relu(self.up(self.norm(x))))
        return x + added


def trunk(inputs: int, widths: Sequence[int], norm: Norm = nn.LayerNorm) -> list[nn.Module]:
    """SimBa's hidden layers.

    Args:
        inputs: Numbers that it reads.
        widths: The same width for each block.
        norm: Makes normalisations.
    """
    first = nn.Linear(inputs, widths[0])
    nn.init.orthogonal_(first.weight)
    nn.init.zeros_(first.bias)
    return [first, *(ResidualBlock(width, norm) for width in widths), norm(widths[0])]


class _SimbaPolicy(BasePolicy):
    """Mixin before a policy of SB3's or sb3-contrib's: rebuilds its networks before it makes optimizers."""

    actor_kwargs: dict[str, Any]
    critic_kwargs: dict[str, Any]

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Make an actor whose hidden layers are SimBa's."""
        actor: Any = super().make_actor(features_extractor)  # type: ignore[misc]
        if hasattr(actor, "latent_pi"):
            hidden = self._hidden(actor.latent_pi, actor.features_dim, actor.net_arch)
            actor.latent_pi = nn.Sequential(*hidden)
        else:
            *_, last, squash = actor.mu
            hidden = self._hidden(actor.mu, actor.features_dim, actor.net_arch)
            actor.mu = nn.Sequential(*hidden, nn.Linear(last.in_features, last.out_features), squash)
        return actor.to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Make critics whose hidden layers are SimBa's."""
        critic: Any = super().make_critic(features_extractor)  # type: ignore[misc]
        for number, network in enumerate(critic.q_networks):
            first, *_, last = [layer for layer in network if isinstance(layer, nn.Linear)]
            hidden = self._hidden(network, first.in_features, self.critic_kwargs["net_arch"])
            critic.q_networks[number] = nn.Sequential(*hidden, nn.Linear(last.in_features, last.out_features))
            setattr(critic, f"qf{number}", critic.q_networks[number])
        return critic.to(self.device)

    def _hidden(self, replaced: nn.Sequential, inputs: int, widths: Sequence[int]) -> list[nn.Module]:
        first = replaced[0]
        if not isinstance(first, BatchRenorm1d):
            return trunk(inputs, widths)

        def norm(width: int) -> nn.Module:
            return BatchRenorm1d(width, first.eps, first.momentum, warmup_steps=first.warmup_steps)

        return [norm(inputs), *trunk(inputs, widths, norm)]


class SimbaSACPolicy(_SimbaPolicy, SACPolicy):
    """SB3's policy of SAC with SimBa's networks; the constructor takes what SB3's takes."""


class SimbaTD3Policy(_SimbaPolicy, TD3Policy):
    """SB3's policy of TD3 with SimBa's networks; the constructor takes what SB3's takes."""


class SimbaTQCPolicy(_SimbaPolicy, TQCPolicy):
    """sb3-contrib's policy of TQC with SimBa's networks; the constructor takes what sb3-contrib's takes."""


class SimbaCrossQPolicy(_SimbaPolicy, CrossQPolicy):
    """sb3-contrib's policy of CrossQ with SimBa's networks; the constructor takes what sb3-contrib's takes.

    Inputs and blocks have batch renormalisation, not layer normalisation: CrossQ has it in place of target
    networks.
    """


SIMBA_POLICIES: dict[str, type[BasePolicy]] = {
    "sac": SimbaSACPolicy,
    "td3": SimbaTD3Policy,
    "tqc": SimbaTQCPolicy,
    "crossq": SimbaCrossQPolicy,
}
"""The policy class of an algorithm whose ``network`` is ``simba``."""
