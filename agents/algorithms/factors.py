"""Weights that move only by a product of two matrices: low-rank changes, maps in front of a frozen layer."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(eq=False)
class Factors:
    """A weight that is ``base + scale · up · down`` (LoRA, Hu et al. 2021, 2106.09685, equation 3).

    The policy holds the sum, so that it acts, is saved and is compared as any other; the gradient by the sum
    gives those of the factors.
    """

    base: torch.Tensor
    """What stays. Shape: (outputs, inputs)."""
    up: nn.Parameter
    """Shape: (outputs, rank)."""
    down: nn.Parameter
    """Shape: (rank, inputs)."""
    scale: float = 1.0
    fixed: Literal["up", "down"] | None = None
    """The factor that stays, too."""

    def __post_init__(self) -> None:
        self.release(True)

    def release(self, trains: bool) -> None:
        """Let the factors train, but for a fixed one; or hold both."""
        self.up.requires_grad_(trains and self.fixed != "up")
        self.down.requires_grad_(trains and self.fixed != "down")

    @property
    def parameters(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Both factors."""
        return self.up, self.down

    def fits(self, weight: torch.Tensor) -> bool:
        """Whether the product has a weight's shape."""
        return (
            self.base.shape == weight.shape
            and (self.up.shape[0], self.down.shape[1]) == tuple(weight.shape)
            and self.up.shape[1] == self.down.shape[0]
        )

    def take(self, weight: nn.Parameter) -> None:
        """Turn the gradient by the sum into the factors'; without its own, no optimizer steps the weight."""
        gradient, weight.grad = weight.grad, None
        with torch.no_grad():
            up = None if gradient is None else torch.mm(gradient, self.down.t()).mul_(self.scale)
            down = None if gradient is None else torch.mm(self.up.t(), gradient).mul_(self.scale)
        self.up.grad = up if self.up.requires_grad else None
        self.down.grad = down if self.down.requires_grad else None

    def write(self, weight: nn.Parameter) -> None:
        """Set the weight to what the factors make of it now."""
        with torch.no_grad():
            torch.addmm(self.base, self.up, self.down, alpha=self.scale, out=weight.data)
