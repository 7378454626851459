"""Freeze parameters so that they stay frozen, also after save and load.

``requires_grad=False`` alone doesn't survive SB3's save and load: the
policy is built anew, all of it trainable. So the freezing is written into ``policy_kwargs``, which SB3 saves.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from sb3_contrib.common.torch_layers import BatchRenorm
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.nn.modules.batchnorm import _BatchNorm

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.trainability import Trainability, named_entries, optimizers
from warmstart.core.errors import WarmstartError, unknown_name

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class FreezingOptimizer:
    """An ``optimizer_class`` for ``policy_kwargs`` that freezes parameters whenever a policy is built.

    SB3 hands each network's parameters to ``optimizer_class``; which of the networks it is, is told by the
    shapes. The frozen parameters stay in the optimizer, where they are skipped for want of a gradient, so
    that its saved state fits.
    """

    optimizer_class: type[torch.optim.Optimizer]
    """The optimizer that is built."""

    frozen: tuple[tuple[Shapes, tuple[int, ...]], ...]
    """For each network, told by the shapes of its parameters, the indices of the frozen ones."""

    def __call__(self, params: Iterable[torch.nn.Parameter], **settings: Any) -> torch.optim.Optimizer:
        """Freeze, and build the optimizer."""
        parameters = list(params)
        for index in dict(self.frozen).get(_shapes(parameters), ()):
            parameters[index].requires_grad_(False)
        return self.optimizer_class(parameters, **settings)


def freeze(model: BaseAlgorithm, names: Collection[str]) -> None:
    """Keep parameters of the policy as they are, during training and after save and load.

    An agent of warmstart's gets a rule for it (its third seam), a plain SB3 model a ``FreezingOptimizer``.

    Args:
        model: PPO, SAC, TD3, TQC or CrossQ, plain or warmstart's own.
        names: Names of parameters in ``model.policy.named_parameters()``.

    Raises:
        WarmstartError: If a name isn't a parameter, or a frozen layer of a plain SB3 model is a batch norm,
            whose running statistics would go on changing.
    """
    parameters = dict(model.policy.named_parameters())
    for name in names:
        if name not in parameters:
            raise unknown_name("parameter", name, parameters)
    if not names:
        return
    if isinstance(model, SeamAgent):
        rules = Trainability.frozen(*names)
        model.set_trainability(rules if model.trainability is None else model.trainability.then(rules))
        return
    for path, module in model.policy.named_modules():
        if isinstance(module, _BatchNorm | BatchRenorm) and any(
            name.startswith(f"{path}.") for name in names
        ):
            raise WarmstartError(
                f"{path} is a batch norm: its statistics would change although its parameters are frozen. "
                f"Use warmstart.{type(model).__name__}, which holds them still, or a network without batch "
                "norm."
            )
    for name in names:
        parameters[name].requires_grad_(False)
    frozen = []
    for _, optimizer in optimizers(model):
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        indices = tuple(index for index, parameter in enumerate(held) if not parameter.requires_grad)
        frozen.append((_shapes(held), indices))
    policy: Any = model.policy
    built: Any = policy.optimizer_class
    plain = built.optimizer_class if isinstance(built, FreezingOptimizer) else built
    policy.optimizer_class = FreezingOptimizer(plain, tuple(frozen))
    model.policy_kwargs = {
        **model.policy_kwargs,
        "optimizer_class": policy.optimizer_class,
        "optimizer_kwargs": dict(policy.optimizer_kwargs),
    }


def frozen_names(model: BaseAlgorithm) -> frozenset[str]:
    """Return the names of the parameters that stand still, target networks aside."""
    entries = (entry for entry in named_entries(model.policy) if not entry.target)
    return frozenset(name for entry in entries if not entry.parameter.requires_grad for name in entry.names)


def _shapes(parameters: Iterable[torch.nn.Parameter]) -> Shapes:
    return tuple(tuple(parameter.shape) for parameter in parameters)
