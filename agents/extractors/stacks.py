"""Stacks of frames as input of one network: their space, its first convolution, their random shift."""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from torch import nn
from torch.nn import functional as F  # noqa: N812

from warmstart.core.errors import WarmstartError

COLOURS = 3


def image_space(space: spaces.Space[Any]) -> tuple[spaces.Box, spaces.Space[Any] | None]:
    """The space of the stacks of frames, and that of the state beside them, if there is one.

    Raises:
        WarmstartError: It is something else.
    """
    image, state = space, None
    if isinstance(space, spaces.Dict) and set(space.spaces) == {"pixels", "state"}:
        image, state = space["pixels"], space["state"]
    expected = "Expected stacks of frames, uint8 from 0 to 255 of shape (3 * frames, height, width)"
    if not isinstance(image, spaces.Box) or not is_image_space(image):
        raise WarmstartError(
            f"{expected}, or a dict of them under pixels and of the state under state, found {space}: wrap "
            "the environment by StackedFrames, and leave images unscaled."
        )
    channels, height, width = image.shape
    if channels % COLOURS:
        raise WarmstartError(f"{expected}, found {image.shape}: frames have three colours, channels first.")
    if channels > min(height, width):
        raise WarmstartError(
            f"{expected}, found {image.shape}: SB3 takes the smallest axis for the channels; render larger "
            "frames or stack fewer."
        )
    return image, state


def take_stacks(network: nn.Module, frames: int) -> str:
    """Let a network's first convolution take stacks of frames, in place; see `EncoderExtractor.warm`.

    Args:
        network: Takes three colours.
        frames: Frames in a stack.

    Returns:
        Name of that convolution's weights.

    Raises:
        WarmstartError: The network has no such convolution.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == COLOURS and module.groups == 1:
            module.in_channels = COLOURS * frames
            module.weight = nn.Parameter(repeated(module.weight.detach(), frames))
            return f"{name}.weight"
    raise WarmstartError(
        f"{type(network).__name__} has no convolution of three colours that could take a stack of frames: "
        "leave the encoder frozen."
    )


def repeated(weight: torch.Tensor, frames: int) -> torch.Tensor:
    """A first convolution's weights (outputs, 3, …) for stacks of frames. Shape: (outputs, 3 * frames, …)."""
    return weight.repeat(1, frames, 1, 1) / frames


def random_shift(images: torch.Tensor, pixels: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Shift each image at random and fill with its border (DrQ, 2004.13649, section 3.1).

    All channels of an image are shifted alike.

    Args:
        images: Shape: (n, channels, height, width).
        pixels: Largest shift along each axis.
        generator: On the CPU, so that draws are the same on every device; None for torch's global one.

    Returns:
        Of the same shape and type, in channels-last memory.
    """
    if pixels == 0:
        return images
    n, _, height, width = images.shape
    padded = F.pad(images, (pixels,) * 4, mode="replicate")
    corners = torch.randint(0, 2 * pixels + 1, (n, 2), generator=generator).tolist()
    out = torch.empty_like(images, memory_format=torch.channels_last)
    for index, (top, left) in enumerate(corners):  # twice as fast as indexing, on a CPU
        out[index] = padded[index, :, top : top + height, left : left + width]
    return out
