"""Networks rewritten for one CPU thread: the same function by oneDNN's own kernels, with fewer passes.

Convolutions get packed weights with batch normalisation and ReLU folded in, pooling becomes elementwise
maxima, and linear layers use oneDNN's matrix product, which is two to three times as fast as torch's own for
few rows.
"""

from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from warmstart.agents.encoders.networks import BasicBlock, Fire

mkldnn: Any = torch.ops.mkldnn
INTEGERS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}


class PackedConv(nn.Module):
    """A convolution with weights as oneDNN wants them, laid out at the first call.

    Args:
        convolution: The convolution, without anything folded in.
        dtype: Type of inputs, weights and outputs; sums are float32.
        relu: Whether a ReLU follows.
    """

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype, relu: bool = False) -> None:
        super().__init__()
        weight = convolution.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self.weight, self.packed = weight, False
        self.bias = None if convolution.bias is None else convolution.bias.detach().to(dtype)
        self.geometry = (
            list(convolution.padding),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        self.activation = "relu" if relu else "none"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape: (n, inputs, h, w) to (n, outputs, h', w'), channels-last."""
        if not self.packed:
            self.weight = mkldnn._reorder_convolution_weight(self.weight, *self.geometry, list(x.shape))
            self.packed = True
        return mkldnn._convolution_pointwise(  # type: ignore[no-any-return]
            x, self.weight, self.bias, *self.geometry, self.activation, [], ""
        )


class PackedLinear(nn.Module):
    """``x @ weight.T + bias`` in float32 for a fixed number of rows.

    Args:
        weight: Shape: (outputs, inputs).
        bias: Shape: (outputs,).
        rows: Rows of x.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, rows: int) -> None:
        super().__init__()
        self.weight = mkldnn._reorder_linear_weight(weight.detach().clone(), rows)
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape: (rows, inputs) to (rows, outputs)."""
        return mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]


class PositiveMaxPool(nn.Module):
    """Maxima over windows of 3 by 3, every 2, of a map without negative numbers.

    Such numbers are ordered as their bits are when read as integers, and maxima of integers are faster.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        padding = pool.padding if isinstance(pool.padding, int) else pool.padding[0]
        self.padding, self.ceil_mode = int(padding), pool.ceil_mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape: (n, channels, h, w) to (n, channels, h', w')."""
        (top, bottom, rows), (left, right, columns) = (self._extent(size) for size in x.shape[2:])
        if max(top, bottom, left, right):
            x = nn.functional.pad(x, (left, right, top, bottom))
        y = x.view(INTEGERS[x.dtype])
        first, second, third = (slice(start, start + 2 * rows - 1, 2) for start in range(3))
        tall = torch.maximum(y[:, :, first], y[:, :, second])
        torch.maximum(tall, y[:, :, third], out=tall)
        first, second, third = (slice(start, start + 2 * columns - 1, 2) for start in range(3))
        out = torch.maximum(tall[:, :, :, first], tall[:, :, :, second])
        return torch.maximum(out, tall[:, :, :, third], out=out).view(x.dtype)

    def _extent(self, size: int) -> tuple[int, int, int]:
        """Zeros before and after a side, and windows along it; a last window has to begin inside."""
        span = size + 2 * self.padding - 3
        windows = (span + 1) // 2 + 1 if self.ceil_mode else span // 2 + 1
        if self.ceil_mode and 2 * (windows - 1) >= size + self.padding:
            windows -= 1
        return self.padding, max(0, 2 * windows + 1 - size - self.padding), windows

    @staticmethod
    def fits(pool: nn.MaxPool2d) -> bool:
        """Whether it can stand in for a pooling layer."""
        kernel, stride, padding, dilation = (
            value if isinstance(value, tuple) else (value, value)
            for value in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        )
        usual = kernel == (3, 3) and stride == (2, 2) and dilation == (1, 1)
        return usual and padding in ((0, 0), (1, 1)) and not pool.return_indices


class PackedFire(nn.Module):
    """SqueezeNet's block."""

    def __init__(self, fire: Fire, dtype: torch.dtype) -> None:
        super().__init__()
        self.squeeze, self.narrow, self.wide = (
            PackedConv(layer, dtype, relu=True) for layer in (fire.squeeze, fire.expand1x1, fire.expand3x3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Squeeze, then expand by two convolutions. Shapes: (n, channels, h, w)."""
        x = self.squeeze(x)
        return torch.cat((self.narrow(x), self.wide(x)), 1)


class PackedBlock(nn.Module):
    """ResNet's block with batch normalisation folded into the convolutions."""

    def __init__(self, block: BasicBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = PackedConv(fuse_conv_bn_eval(block.conv1, block.bn1), dtype, relu=True)
        self.second = PackedConv(fuse_conv_bn_eval(block.conv2, block.bn2), dtype)
        self.shortcut: nn.Module = nn.Identity()
        if block.downsample is not None:
            convolution, norm = cast(tuple[nn.Conv2d, nn.BatchNorm2d], tuple(block.downsample))
            self.shortcut = PackedConv(fuse_conv_bn_eval(convolution, norm), dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Two convolutions and the shortcut, added. Shapes: (n, channels, h, w)."""
        return self.second(self.first(x)).add_(self.shortcut(x)).relu_()  # type: ignore[no-any-return]


def pack(parent: nn.Module, dtype: torch.dtype) -> None:
    """Rewrite the children of a network that runs them one after the other; those unknown stay.

    Args:
        parent: The network; it is changed, and its floating tensors become ``dtype``.
        dtype: float32 or bfloat16.
    """
    children = list(parent.named_children())
    following = [child for _, child in children[1:]] + [nn.Identity(), nn.Identity()]
    positive = False  # whether the last output has no negative numbers
    for index, (name, child) in enumerate(children):
        if isinstance(child, nn.Conv2d) and is_plain(child):
            rest = following[index:]
            convolution, folded = child, 0
            if type(rest[0]) is nn.BatchNorm2d:
                convolution, folded = fuse_conv_bn_eval(child, rest[0]), 1
            relu = type(rest[folded]) is nn.ReLU
            setattr(parent, name, PackedConv(convolution, dtype, relu))
            for absorbed, _ in children[index + 1 : index + 1 + folded + relu]:
                setattr(parent, absorbed, nn.Identity())
            positive = relu
        elif isinstance(child, Fire | BasicBlock):
            packed = PackedFire(child, dtype) if isinstance(child, Fire) else PackedBlock(child, dtype)
            setattr(parent, name, packed)
            positive = True
        elif positive and isinstance(child, nn.MaxPool2d) and PositiveMaxPool.fits(child):
            setattr(parent, name, PositiveMaxPool(child))
        elif type(child) is nn.Sequential:
            pack(child, dtype)
            positive = False
        elif not isinstance(parent.get_submodule(name), nn.Identity):
            child.to(dtype)
            positive = type(child) is nn.ReLU


def is_plain(convolution: nn.Conv2d) -> bool:
    """Whether a convolution pads with zeros, by numbers."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
