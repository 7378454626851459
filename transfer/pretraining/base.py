"""What a self-supervised objective is: a loss around a backbone, made from its options.

An objective of your own is a frozen dataclass of options that derives from ``ObjectiveConfig`` and is
registered, and names the ``Objective`` that it builds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import nn

from warmstart.core.plain import check, register_named
from warmstart.transfer.frames.data import FrameBatch, FrameData

Prepare = Callable[[torch.Tensor], torch.Tensor]
"""Frames (n, height, width, 3), uint8, to a backbone's input (n, 3, height', width'), float32."""
_EXAMPLES = 64
"""Frames that a backbone's scale is taken of."""
_RMS = 0.3
"""Size of a map's values before training; small ones make the backbone's own features grow."""


class Objective(nn.Module, ABC):
    """A loss whose gradient trains a backbone; heads that only the loss needs come along.

    Args:
        config: Its options.
        backbone: Inputs (n, 3, height, width) to maps (n, channels, height', width'). It is trained in place.
        prepare: What the backbone's inputs are made of frames with.
        data: Frames that will be learned from, for sizes and statistics.
    """

    scale: torch.Tensor
    """What maps are multiplied by, a scalar."""

    def __init__(
        self, config: "ObjectiveConfig", backbone: nn.Module, prepare: Prepare, data: FrameData
    ) -> None:
        super().__init__()
        self.config, self.backbone, self.prepare = config, backbone, prepare
        self.parts: dict[str, torch.Tensor] = {}
        """What else the last loss was made of or tells, by name; scalars."""
        self.dtype = torch.float32
        """What convolutions are computed in; everything else is in float32."""
        images = prepare(data.spaced(_EXAMPLES))
        self.input_size: tuple[int, int] = (images.shape[2], images.shape[3])
        with torch.no_grad():
            maps = deepcopy(backbone).eval()(images)  # a copy: the statistics of batches stay as they are
        self.map_shape: tuple[int, ...] = tuple(maps.shape[1:])
        self.register_buffer("scale", _RMS / maps.square().mean().sqrt().clamp_min(1e-6))
        self.build_heads(data)

    @abstractmethod
    def build_heads(self, data: FrameData) -> None:
        """Add the layers and statistics that only the loss needs; ``map_shape`` is known by now."""

    def maps(self, images: torch.Tensor, backbone: nn.Module | None = None) -> torch.Tensor:
        """Maps of prepared frames, scaled so that their root mean square is `_RMS` before training.

        So a loss and its optimizer meet the same scale whatever the backbone and its weights.

        Args:
            images: Shape: (n, 3, height, width).
            backbone: Another one than that which is trained.

        Returns:
            Shape: (n, channels, height', width').
        """
        return self.convolve(self.backbone if backbone is None else backbone, images) * self.scale

    def convolve(self, network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        """Output of a convolutional network, computed in ``dtype``; float32.

        Args:
            network: Inputs to maps.
            inputs: Shape: (n, channels, height, width).

        Returns:
            Shape: (n, channels', height', width').
        """
        with torch.autocast(inputs.device.type, self.dtype, enabled=self.dtype != torch.float32):
            outputs: torch.Tensor = network(inputs)
        return outputs.float()

    @abstractmethod
    def loss(self, batch: FrameBatch, generator: torch.Generator) -> torch.Tensor:
        """Loss of a batch, a scalar; sets ``parts``.

        Args:
            batch: Frames at the offsets that the options ask for.
            generator: Every random draw comes from it; on the CPU.
        """

    def after_update(self) -> None:
        """Follow what an optimizer's step did."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Options of an objective."""

    name: ClassVar[str] = ""
    """What it is called in settings."""

    objective: ClassVar[type[Objective]]
    """What the options are of."""

    smallest_batch: ClassVar[int] = 1
    """Smallest batch that it can learn from."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Steps from a window's first frame to each of those that a loss reads."""
        return (0,)

    def build(self, backbone: nn.Module, prepare: Prepare, data: FrameData) -> Objective:
        """Make the objective; initial weights come from torch's global generator."""
        return self.objective(self, backbone, prepare, data)


Config = TypeVar("Config", bound=ObjectiveConfig)

OBJECTIVES: dict[str, type[ObjectiveConfig]] = {}
"""Options of each objective, by name."""


def register_objective(config: type[Config]) -> type[Config]:
    """Add an objective to the table; a decorator.

    Raises:
        WarmstartError: It has no name, or the name is taken.
    """
    register_named("objective", OBJECTIVES, config)
    return config


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A network with one hidden layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))
