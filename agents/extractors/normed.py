"""Activations that can learn to normalise what they are given, and don't at first.

As modules without a width they stand wherever SB3 takes an ``activation_fn``.
"""

import torch
from torch import nn
from torch.nn import functional
from typing_extensions import override


class Normed(nn.Module):
    """``activation(x + gate · (LayerNorm(x) − x))``, with a gate that trains from zero.

    Layer normalisation (Ba et al. 2016, 1607.06450) over a layer's units, without weights of its own, since
    a linear layer follows. A closed gate computes what the activation alone does, bit for bit.
    """

    activation: type[nn.Module] = nn.Identity

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(1))
        self.then = self.activation()

    @override
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise as far as the gate is open. Shapes: (…, units)."""
        normed = functional.layer_norm(x, x.shape[-1:])
        found: torch.Tensor = self.then(x + self.gate * (normed - x))
        return found


class NormedTanh(Normed):
    """`Normed` before tanh."""

    activation = nn.Tanh


class NormedReLU(Normed):
    """`Normed` before ReLU."""

    activation = nn.ReLU


NORMED: dict[str, tuple[str, type[Normed]]] = {
    "tanh": ("normed_tanh", NormedTanh),
    "relu": ("normed_relu", NormedReLU),
}
"""By a plain activation's name, the name and class of its kind that normalises."""
