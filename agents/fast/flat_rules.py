"""What acts on parameters beside the loss, in the layout of `FlatAdam`: pulls, masks and products."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import nn

from warmstart.agents.fast.flat_adam import FlatAdam


class Factored(Protocol):
    """A weight that moves only by two factors: ``base + scale · up · down``."""

    base: torch.Tensor
    up: nn.Parameter
    down: nn.Parameter
    scale: float


class Pull(NamedTuple):
    """A penalty ``½ Σ weight · (parameter − anchor)²`` over all parameters in a row. Shape: (size,)."""

    anchor: torch.Tensor
    weight: torch.Tensor
    """The term's coefficient is in it."""


class Product(NamedTuple):
    """The tensors of a `Factored` weight, and where their gradients go."""

    weight: torch.Tensor
    """Shape: (outputs, inputs), as the next two."""
    by_weight: torch.Tensor
    base: torch.Tensor
    up: torch.Tensor
    """Shape: (outputs, rank), as the next."""
    by_up: torch.Tensor
    down: torch.Tensor
    """Shape: (rank, inputs), as the next."""
    by_down: torch.Tensor
    scale: float


def flat_pull(adam: FlatAdam, pull: Mapping[nn.Parameter, tuple[torch.Tensor, torch.Tensor]]) -> Pull:
    """A penalty from the anchor and the weights of each parameter."""
    found = Pull(torch.zeros_like(adam.state.parameters), torch.zeros_like(adam.state.parameters))
    for parameter, span in zip(adam.parameters, adam.spans, strict=True):
        if parameter in pull and parameter.requires_grad:
            for flat, values in zip(found, pull[parameter], strict=True):
                flat[span] = values.reshape(-1)
    return found


def flat_mask(adam: FlatAdam, masks: Mapping[nn.Parameter, torch.Tensor]) -> torch.Tensor:
    """Masks of parameters, 1 where there is none. Shape: (size,)."""
    found = torch.ones_like(adam.state.parameters)
    for parameter, span in zip(adam.parameters, adam.spans, strict=True):
        if parameter in masks:
            found[span] = masks[parameter].reshape(-1)
    return found


def products(adam: FlatAdam, factors: Mapping[nn.Parameter, Factored]) -> list[Product]:
    """What an update makes of the weights that move by factors, but for those that stand still."""
    places = zip(adam.parameters, adam.gradients, strict=True)
    gradients = {id(parameter): where for parameter, where in places}
    found = []
    for weight, each in factors.items():
        if weight.requires_grad:
            whole, up, down = ((p.detach(), gradients[id(p)]) for p in (weight, each.up, each.down))
            found.append(Product(*whole, each.base, *up, *down, each.scale))
    return found
