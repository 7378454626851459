"""Objectives that draw frames from features: autoencoding, whole or masked."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import nn
from typing_extensions import override

from warmstart.agents.extractors.stacks import random_shift
from warmstart.core.bounds import Bounds, Count, Natural
from warmstart.transfer.frames.data import FrameBatch, FrameData
from warmstart.transfer.pretraining.base import Objective, ObjectiveConfig, register_objective

_STATISTICS_FRAMES = 512
"""Frames that the mean frame is taken of."""


class PixelObjective(Objective):
    """Draws frames as deviations from the mean frame, so that the small things that move count.

    A decoder draws them from a map: through a narrow code, then upwards in three steps. A squared error of 1
    is that of drawing the mean frame.
    """

    config: "AutoencoderConfig | MaskedConfig"
    mean_frame: torch.Tensor
    """Shape: (1, 3, height, width)."""
    spread: torch.Tensor
    """Standard deviation from it over all pixels, a scalar."""

    @override
    def build_heads(self, data: FrameData) -> None:
        images = self.prepare(data.spaced(_STATISTICS_FRAMES)).double()
        mean = images.mean(0, keepdim=True)
        self.register_buffer("mean_frame", mean.float())
        self.register_buffer("spread", (images - mean).square().mean().sqrt().clamp_min(1e-6).float())
        first = tuple(-(-side // 8) for side in self.input_size)
        self.code = nn.Sequential(
            nn.Flatten(),
            nn.Linear(torch.Size(self.map_shape).numel(), self.config.latent),
            nn.LayerNorm(self.config.latent),
            nn.Linear(self.config.latent, 64 * first[0] * first[1]),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (64, *first)),
        )
        steps: list[nn.Module] = []
        for inputs, outputs in ((64, 32), (32, 16)):
            steps += [nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2), nn.ReLU(inplace=True)]
        self.draw = nn.Sequential(*steps, nn.Conv2d(16, 12, 3, padding=1), nn.PixelShuffle(2))

    def drawn(self, images: torch.Tensor) -> torch.Tensor:
        """What is drawn of the features of images. Shape: (n, 3, height, width), as theirs."""
        maps = self.maps(images.contiguous(memory_format=torch.channels_last))
        image = self.convolve(self.draw, self.code(maps))
        return image[:, :, : self.input_size[0], : self.input_size[1]]

    def deviation(self, images: torch.Tensor) -> torch.Tensor:
        """What is to be drawn of images. Shape: (n, 3, height, width), as theirs."""
        return (images - self.mean_frame) / self.spread


class Autoencoder(PixelObjective):
    """Draws whole frames."""

    config: "AutoencoderConfig"

    @override
    def loss(self, batch: FrameBatch, generator: torch.Generator) -> torch.Tensor:
        """Mean squared error of the deviation from the mean frame."""
        images = self.prepare(batch.frames[0])
        both = torch.cat((images, self.deviation(images)), 1)
        shown, wanted = random_shift(both, self.config.shift, generator).chunk(2, 1)
        loss: torch.Tensor = (self.drawn(shown) - wanted).square().mean()
        return loss


@register_objective
@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(ObjectiveConfig):
    """Draw a frame from its features, shifted at random (SAC+AE, 1910.01741, without its penalties)."""

    name: ClassVar[str] = "autoencoder"
    objective: ClassVar[type[Objective]] = Autoencoder

    shift: Natural = 4
    """Pixels by which inputs are shifted at random, what is drawn alike; 0 for none."""
    latent: Count = 128
    """Size of the code between the map and the decoder."""


class Masked(PixelObjective):
    """Draws the hidden patches of frames."""

    config: "MaskedConfig"

    @override
    def loss(self, batch: FrameBatch, generator: torch.Generator) -> torch.Tensor:
        """Mean squared error of the deviation from the mean frame over hidden pixels (section 3)."""
        images, config = self.prepare(batch.frames[0]), self.config
        hidden = patch_masks(len(images), self.input_size, config.patch, config.fraction, generator)
        hidden = hidden.to(images.device)
        drawn = self.drawn(torch.where(hidden, self.mean_frame, images))
        errors = (drawn - self.deviation(images)).square().mean(1, keepdim=True)
        loss: torch.Tensor = errors[hidden].mean()
        return loss


@register_objective
@dataclass(frozen=True, kw_only=True)
class MaskedConfig(ObjectiveConfig):
    """Draw the patches of a frame that were hidden (MAE, 2111.06377).

    A convolution can't leave patches out, so they show the mean frame.
    """

    name: ClassVar[str] = "masked"
    objective: ClassVar[type[Objective]] = Masked

    patch: Count = 12
    """Side of a patch, in pixels of the backbone's input."""
    fraction: Annotated[float, Bounds(0.01, 0.99)] = 0.5
    """Share of the patches that is hidden."""
    latent: Count = 128
    """Size of the code between the map and the decoder."""


def patch_masks(
    n: int, size: tuple[int, int], patch: int, fraction: float, generator: torch.Generator
) -> torch.Tensor:
    """Choose random square patches of images; the last row and column of patches may be cut off.

    Args:
        n: Number of images.
        size: Height and width of an image.
        patch: Side of a patch, pixels.
        fraction: Share of an image's patches that is chosen, rounded to whole patches.
        generator: On the CPU.

    Returns:
        Whether a pixel is chosen. Shape: (n, 1, height, width).
    """
    rows, columns = (-(-side // patch) for side in size)
    order = torch.rand(n, rows * columns, generator=generator).argsort(1)
    chosen = torch.zeros(n, rows * columns, dtype=torch.bool)
    chosen.scatter_(1, order[:, : round(fraction * rows * columns)], True)
    grid = chosen.view(n, 1, rows, columns)
    pixels = grid.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return pixels[:, :, : size[0], : size[1]]
