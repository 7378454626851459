"""New last layers, drawn as SB3 draws them, and shuffled tensors. Imports nothing of ours."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

ACTION_GAIN = 0.01
"""Gain of SB3's orthogonal initialisation of PPO's action layer."""

VALUE_GAIN = 1.0
"""Gain of SB3's orthogonal initialisation of PPO's value layer."""

HIDDEN_GAIN = math.sqrt(2.0)
"""Gain of SB3's orthogonal initialisation of PPO's hidden layers."""


def orthogonal_layer(
    shape: tuple[int, int], gain: float, generator: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Draw a linear layer as SB3's PPO does: orthogonal weights, zero bias.

    Args:
        shape: (outputs, inputs).
        gain: Scale of the weights.
        generator: Seeds the draw.

    Returns:
        ``weight`` of that shape and ``bias`` of shape (outputs,).
    """
    weight = nn.init.orthogonal_(torch.empty(shape), gain=gain, generator=torch_generator(generator))
    return {"weight": weight, "bias": torch.zeros(shape[0])}


def uniform_layer(shape: tuple[int, int], generator: np.random.Generator) -> dict[str, torch.Tensor]:
    """Draw a linear layer as PyTorch does by default (SAC and TD3): uniform within ±1/√inputs.

    Args:
        shape: (outputs, inputs).
        generator: Seeds the draw.

    Returns:
        ``weight`` of that shape and ``bias`` of shape (outputs,).
    """
    bound, drawn = 1.0 / math.sqrt(shape[1]), torch_generator(generator)
    weight = torch.empty(shape).uniform_(-bound, bound, generator=drawn)
    return {"weight": weight, "bias": torch.empty(shape[0]).uniform_(-bound, bound, generator=drawn)}


def permuted(tensors: Mapping[str, torch.Tensor], generator: np.random.Generator) -> dict[str, torch.Tensor]:
    """Shuffle the entries of each tensor: the same numbers, without what they mean together."""
    shuffled = {}
    for name, tensor in tensors.items():
        order = torch.from_numpy(generator.permutation(tensor.numel()))
        shuffled[name] = tensor.reshape(-1)[order].reshape(tensor.shape)
    return shuffled


def torch_generator(generator: np.random.Generator) -> torch.Generator:
    """Return a PyTorch generator seeded from a NumPy one."""
    return torch.Generator().manual_seed(int(generator.integers(2**63)))
