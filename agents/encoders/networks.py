"""Convolutional networks with the names that their published weights have. Imports nothing of the project."""

import math
from typing import ClassVar

import torch
from torch import nn


class Fire(nn.Module):
    """SqueezeNet's block (1602.07360, figure 2): torchvision's names, one nonlinearity after joining."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape: (n, inputs, h, w) to (n, 2 * expanded, h, w)."""
        x = self.squeeze(x).relu_()
        return torch.cat((self.expand1x1(x), self.expand3x3(x)), 1).relu_()


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 as torchvision names it."""

    def __init__(self) -> None:
        super().__init__()

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        first = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True), pool()]
        middle = [Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128), Fire(256, 32, 128), pool()]
        last = [Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]
        self.features = nn.Sequential(*first, *middle, *last)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of ImageNet's classes. Shape: (n, 1000)."""
        return torch.flatten(self.classifier(self.features(x)), 1)


class BasicBlock(nn.Module):
    """ResNet's block of two 3 x 3 convolutions (1512.03385, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape: (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu_()
        out: torch.Tensor = self.bn2(self.conv2(x))
        return out.add_(shortcut).relu_()


class ResNet18(nn.Module):
    """ResNet 18 as torchvision names it."""

    widths: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for index, width in enumerate(self.widths):
            stride = 1 if index == 0 else 2
            blocks = nn.Sequential(BasicBlock(inputs, width, stride), BasicBlock(width, width, 1))
            self.add_module(f"layer{index + 1}", blocks)
            inputs = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, 1000)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of ImageNet's classes. Shape: (n, 1000)."""
        child: nn.Module
        for name, child in self.named_children():
            x = child(torch.flatten(x, 1) if name == "fc" else x)
        return x


class ConvStack(nn.Module):
    """Convolutions without padding, each followed by a ReLU.

    Args:
        name: What their tensors' names begin with.
        layers: Channels, size and stride of each.
    """

    def __init__(self, name: str, layers: tuple[tuple[int, int, int], ...]) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        inputs = 3
        for channels, size, stride in layers:
            convolution = nn.Conv2d(inputs, channels, size, stride)
            nn.init.orthogonal_(convolution.weight, math.sqrt(2))
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            modules += [convolution, nn.ReLU(inplace=True)]
            inputs = channels
        self.stack = name
        self.add_module(name, nn.Sequential(*modules))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map of the last layer. Shape: (n, 3, height, width) to (n, channels, height', width')."""
        return self.get_submodule(self.stack)(x)  # type: ignore[no-any-return]
