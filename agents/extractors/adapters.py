"""Low-rank adapters beside convolutions that stay as they are.

LoRA (2106.09685) for convolutions. What stays is kept as buffers under the parameters' old names: published
weights still fit, and no optimizer, rule or reload can make them train. Imports nothing of the project but
its errors.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from warmstart.core.errors import WarmstartError


class AdaptedConv2d(nn.Module):
    """A fixed convolution plus a trained one of low rank.

    The sum is ``conv(x) + up(down(x))``, where ``down`` has the convolution's kernel and ``rank`` outputs and
    ``up`` is 1 x 1. ``up`` starts at zero, so that the start is exact. Since all of it is linear, it is
    computed as one convolution by ``weight + up @ down``. LoRA's factor on the sum is left to the learning
    rate.

    Args:
        convolution: Its tensors become the buffers ``weight`` and ``bias``.
        rank: Channels between ``down`` and ``up``.

    Raises:
        WarmstartError: The rank is below 1, or the convolution isn't a plain one padded with zeros.
    """

    weight: torch.Tensor
    """Shape: (outputs, inputs / groups, height, width of the kernel)."""
    bias: torch.Tensor | None
    """Shape: (outputs,)."""

    def __init__(self, convolution: nn.Conv2d, rank: int) -> None:
        super().__init__()
        if rank < 1:
            raise WarmstartError(f"Expected an adapter's rank of at least 1, found {rank}.")
        if not can_be_adapted(convolution):
            raise WarmstartError(f"Expected a plain convolution padded with zeros, found {convolution}.")
        self.stride, self.padding = convolution.stride, convolution.padding
        self.dilation, self.groups = convolution.dilation, convolution.groups
        weight = convolution.weight.detach()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", None if convolution.bias is None else convolution.bias.detach())
        self.down = nn.Parameter(weight.new_empty(rank, *weight.shape[1:]))
        self.up = nn.Parameter(weight.new_empty(len(weight), rank, 1, 1))
        self.reset()

    def reset(self) -> None:
        """Draw ``down`` anew from torch's global generator, and begin at zero again."""
        nn.init.kaiming_uniform_(self.down, math.sqrt(5))
        nn.init.zeros_(self.up)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape: (n, inputs, height, width) to (n, outputs, height', width')."""
        change = (self.up.flatten(1) @ self.down.flatten(1)).view(self.weight.shape)
        weight = self.weight + change
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def can_be_adapted(module: nn.Module) -> bool:
    """Whether it is a plain convolution; subclasses may compute something else."""
    return type(module) is nn.Conv2d and module.padding_mode == "zeros"


def adapt(network: nn.Module, rank: int) -> None:
    """Give a network's plain convolutions adapters, in place; of its parameters only these are left.

    Args:
        network: Its tensors keep their names.
        rank: Channels between an adapter's two convolutions.

    Raises:
        WarmstartError: There is no plain convolution.
    """
    plain = [name for name, module in network.named_modules() if name and can_be_adapted(module)]
    if not plain:
        raise WarmstartError(
            f"{type(network).__name__} has no plain convolution that an adapter could stand beside: set "
            "adapter_rank to 0 to train its own weights."
        )
    for name in plain:
        parent, _, child = name.rpartition(".")
        adapted = AdaptedConv2d(network.get_submodule(name), rank)  # type: ignore[arg-type]
        setattr(network.get_submodule(parent), child, adapted)
    for module in network.modules():
        if not isinstance(module, AdaptedConv2d):
            hold(module)


def hold(module: nn.Module) -> None:
    """Turn a module's own parameters into buffers of the same names."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        delattr(module, name)
        module.register_buffer(name, parameter.detach())
