"""Net2WiderNet: give a hidden layer more units without changing what the network computes.

Chen, Goodfellow & Shlens, "Net2Net", 1511.05641, section 2.2. New units copy the incoming weights of old
ones; the outgoing weights of a unit are divided by the number of its copies.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError


@dataclass(frozen=True)
class Widening:
    """Which old unit each unit of the wider layer copies."""

    origins: NDArray[np.int64]
    """Index of the old unit. Shape: (new width,)."""

    shares: NDArray[np.float64]
    """1 / number of copies of the old unit. Shape: (new width,)."""

    @property
    def trivial(self) -> bool:
        """Whether the layer keeps its width."""
        return bool(np.all(self.shares == 1.0))


def widen(width: int, new_width: int, generator: np.random.Generator, where: str) -> Widening:
    """Choose the units to copy: all old ones, then random ones (eq. 3 of the paper).

    Args:
        width: Units of the source.
        new_width: Units of the target.
        generator: Draws the units that are copied again; unused when the widths are equal.
        where: Name of the layer, for the message.

    Returns:
        The origins of the new layer's units and their shares.

    Raises:
        WarmstartError: If the target is narrower: no choice of units preserves the function.
    """
    if new_width < width:
        raise WarmstartError(
            f"{where} has {width} units in the source and {new_width} in the target. A layer can be widened "
            f"(function-preserving), not narrowed: build the target with at least {width} units."
        )
    origins = np.arange(width)
    if new_width > width:
        origins = np.concatenate([origins, generator.integers(0, width, new_width - width)])
    return Widening(origins, 1.0 / np.bincount(origins, minlength=width)[origins])


def widen_rows(tensor: torch.Tensor, widening: Widening) -> torch.Tensor:
    """Copy the rows (incoming weights, or biases) of the units. Shape: (old, …) → (new, …)."""
    return tensor[torch.from_numpy(widening.origins)]


def widen_columns(tensor: torch.Tensor, widening: Widening) -> torch.Tensor:
    """Copy and divide the columns (outgoing weights) of the units. Shape: (outputs, old) → (outputs, new)."""
    shares = torch.from_numpy(widening.shares).to(tensor)
    return tensor[:, torch.from_numpy(widening.origins)] * shares


def add_noise(
    tensor: torch.Tensor, widening: Widening, noise: float, generator: np.random.Generator
) -> torch.Tensor:
    """Disturb the rows of copied units, so that training can tell the copies apart (section 2.2).

    Args:
        tensor: Widened incoming weights. Shape: (new, inputs).
        widening: The origins of its rows.
        noise: Standard deviation, as a fraction of that of the tensor; 0 leaves it exact.
        generator: Draws the noise.

    Returns:
        The tensor; rows that have no copy are unchanged.
    """
    if noise == 0.0 or widening.trivial:
        return tensor
    copied = torch.from_numpy(widening.shares < 1.0).to(tensor.device)
    drawn = torch.from_numpy(generator.standard_normal(tuple(tensor.shape))).to(tensor)
    disturbed = tensor + drawn * (noise * tensor.std())
    return torch.where(copied[:, None], disturbed, tensor)
