"""Feature extraction: the source's hidden layers stay as they are, new last layers learn to use them.

May import ``envs`` and ``agents``.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.algorithms.trainability import named_entries
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import CarryingMethod, finish, replace_entry
from warmstart.transfer.carry.freezing import freeze
from warmstart.transfer.carry.fresh import (
    ACTION_GAIN,
    HIDDEN_GAIN,
    VALUE_GAIN,
    orthogonal_layer,
    uniform_layer,
)
from warmstart.transfer.carry.networks import Network, networks, target_of
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import TransferContext, check_choice, register_method

CriticTrunk = Literal["frozen", "trained", "new"]


@register_method
@dataclass(frozen=True)
class FeatureExtraction(CarryingMethod):
    """Freeze the source's hidden layers and learn new last layers on them.

    The actor's hidden layers (and the features extractor) are frozen; its last layer, and its ``log_std``,
    are drawn as SB3 draws them, so the policy starts without the source's behaviour, only with its features.
    The critic's last layer is new as well; what becomes of its hidden layers is an option. The normaliser
    travels: frozen features mean something only for the numbers that they were learned on. Exploration,
    random first steps and the entropy coefficient are those of a cold start.
    """

    name: ClassVar[str] = "feature_extraction"

    critic_trunk: CriticTrunk = "frozen"
    """The critic's hidden layers: ``frozen`` as the actor's, carried and ``trained``, or ``new``."""

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_choice(self.name, "critic_trunk", self.critic_trunk, ("frozen", "trained", "new"))

    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        """Carry the hidden layers, draw new last layers, freeze."""
        policy: Any = model.policy
        own = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
        report = self.carry(model, source, context)
        fresh: set[str] = set()
        for network in networks(report.algorithm, own):
            if not network.hidden:
                raise WarmstartError(
                    f"The {network.name} network has no hidden layer: there are no features to extract."
                )
            new = network.role == "critic" and self.critic_trunk == "new"
            for prefix in (*(network.hidden if new else ()), *network.heads):
                fresh |= _redraw(model, network, prefix, context.generator, report)
            for name in network.vectors:
                _load(policy, name, own[name])
                replace_entry(
                    report, name, action="untouched", reason="the target's own: the action layer is new"
                )
                fresh.add(name)
        _follow(policy, fresh, report)
        entries = [entry for entry in named_entries(policy) if not entry.target]
        if self.critic_trunk != "frozen":
            entries = [entry for entry in entries if entry.role != "critic"]
        freeze(model, [entry.names[0] for entry in entries if not fresh.intersection(entry.names)])
        return finish(model, self, report)


def _redraw(
    model: BaseAlgorithm,
    network: Network,
    prefix: str,
    generator: np.random.Generator,
    report: TransferReport,
) -> set[str]:
    """Draw one layer as SB3 draws it; returns the names of its tensors."""
    policy: Any = model.policy
    outputs, inputs = policy.state_dict()[f"{prefix}.weight"].shape
    if getattr(policy, "ortho_init", False):
        gain = (
            HIDDEN_GAIN
            if prefix in network.hidden
            else (ACTION_GAIN if network.gives_actions else VALUE_GAIN)
        )
        layer, how = (
            orthogonal_layer((outputs, inputs), gain, generator),
            f"orthogonal, gain {gain:.3g}, as SB3's",
        )
    else:
        layer, how = uniform_layer((outputs, inputs), generator), "uniform, as PyTorch's"
    for part, tensor in layer.items():
        _load(policy, f"{prefix}.{part}", tensor)
        replace_entry(report, f"{prefix}.{part}", action="reinitialised", reason=f"new layer ({how})")
    return {f"{prefix}.{part}" for part in layer}


def _follow(policy: Any, fresh: set[str], report: TransferReport) -> None:
    """Set the target networks equal to their networks."""
    tensors = policy.state_dict()
    for name in tensors:
        online = target_of(name)
        if online in fresh:
            _load(policy, name, tensors[online])
            replace_entry(report, name, action="reinitialised", reason=f"follows {online}: new layer")


def _load(policy: Any, name: str, tensor: torch.Tensor) -> None:
    with torch.no_grad():
        policy.state_dict()[name].copy_(tensor)
