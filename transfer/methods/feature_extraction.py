"""Feature extraction: the source's hidden layers stay as they are, new last layers learn to use them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn
from typing_extensions import override

from warmstart.agents.algorithms.trainability import named_entries
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.freezing import freeze
from warmstart.transfer.carry.networks import Network, networks, target_of
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import EVERY_SETTING, CarryingMethod, register_method

CriticTrunk = Literal["frozen", "trained", "new"]

ACTION_GAIN, VALUE_GAIN, HIDDEN_GAIN = 0.01, 1.0, math.sqrt(2.0)
"""Gains of SB3's orthogonal initialisation of PPO's action, value and hidden layers."""


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
    title: ClassVar[str] = "frozen layers, new last layers"
    serves: ClassVar[tuple[str, ...]] = EVERY_SETTING
    fills: ClassVar[tuple[str, ...]] = ("initialise", "trainability")

    critic_trunk: CriticTrunk = "frozen"
    """The critic's hidden layers: ``frozen`` as the actor's, carried and ``trained``, or ``new``."""

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        policy: Any = model.policy
        own = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
        report = self.carry(model, source, context)
        trunk = self.critic_trunk if source is None or source.critic else "new"
        fresh: dict[str, torch.Tensor] = {}
        for network in networks(report.algorithm, own):
            if not network.hidden:
                raise WarmstartError(
                    f"The {network.name} network has no hidden layer: there are no features to extract."
                )
            new = network.role == "critic" and trunk == "new"
            if new and not _is_linear(network, own):
                for name in _trunk_names(network, own):
                    fresh[name] = own[name]
                    report.change(name, action="reinitialised", reason="new layer (the target's own)")
                new = False
            for prefix in (*(network.hidden if new else ()), *network.heads):
                layer, how = _drawn(policy, network, prefix, context.generator)
                fresh |= layer
                for name in layer:
                    report.change(name, action="reinitialised", reason=f"new layer ({how})")
            for name in network.vectors:
                fresh[name] = own[name]
                report.change(name, action="untouched", reason="the target's own: the action layer is new")
        for name in own:
            online = target_of(name)
            if online in fresh:
                fresh[name] = fresh[online]
                report.change(name, action="reinitialised", reason=f"follows {online}: new layer")
        policy.load_state_dict({**policy.state_dict(), **fresh})
        entries = [entry for entry in named_entries(policy) if not entry.target]
        if trunk != "frozen":
            entries = [entry for entry in entries if entry.role != "critic"]
        freeze(model, [entry.names[0] for entry in entries if fresh.keys().isdisjoint(entry.names)])
        return self.finish(model, report)


def _trunk_names(network: Network, names: Iterable[str]) -> list[str]:
    """Every tensor of a network's hidden layers, blocks and normalisations."""
    base = network.hidden[0].rpartition(".")[0] + "."
    heads = tuple(f"{head}." for head in network.heads)
    return [name for name in names if name.startswith(base) and not name.startswith(heads)]


def _is_linear(network: Network, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether all its hidden layers are linear ones, without normalisation or blocks."""
    names = {f"{prefix}.{part}" for prefix in network.hidden for part in ("weight", "bias")}
    return all(
        name in names and not (name.endswith("weight") and tensors[name].ndim == 1)
        for name in _trunk_names(network, tensors)
    )


def _drawn(
    policy: Any, network: Network, prefix: str, generator: np.random.Generator
) -> tuple[dict[str, torch.Tensor], str]:
    """Draw one layer as SB3 does; returns its tensors by name, and how they were drawn.

    PPO: orthogonal weights, zero bias. SAC and TD3: PyTorch's default, uniform within ±1/√inputs.
    """
    outputs, inputs = policy.state_dict()[f"{prefix}.weight"].shape
    seed = torch.Generator().manual_seed(int(generator.integers(2**63)))
    weight, bias = torch.empty(outputs, inputs), torch.zeros(outputs)
    if getattr(policy, "ortho_init", False):
        head_gain = ACTION_GAIN if network.role == "actor" else VALUE_GAIN
        gain = HIDDEN_GAIN if prefix in network.hidden else head_gain
        nn.init.orthogonal_(weight, gain=gain, generator=seed)
        how = f"orthogonal, gain {gain:.3g}, as SB3's"
    else:
        bound = 1.0 / math.sqrt(inputs)
        weight.uniform_(-bound, bound, generator=seed)
        bias.uniform_(-bound, bound, generator=seed)
        how = "uniform, as PyTorch's"
    return {f"{prefix}.weight": weight, f"{prefix}.bias": bias}, how
