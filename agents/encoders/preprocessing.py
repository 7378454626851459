"""How frames are prepared for a network: size, order of channels, scale and mean."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import torch
from torch.nn import functional as F  # noqa: N812

from warmstart.core.bounds import Bounds
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check, read

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


MOST = 1e6
"""Largest scale, mean and deviation: with larger ones features are no numbers."""
Mean = Annotated[float, Bounds(-MOST, MOST)]
Std = Annotated[float, Bounds(1 / MOST, MOST)]


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects in place of uint8 RGB frames.

    A value v from 0 to 255 becomes ``(scale * v - mean) / std``.
    """

    size: Annotated[int, Bounds(1, 4_096)] | None = None
    """Height and width that frames are resized to (bilinear, antialiased); ``None`` keeps them."""
    crop: Annotated[int, Bounds(1, 4_096)] | None = None
    """Height and width of the centre that is kept after resizing; ``None`` keeps all."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels."""
    scale: Annotated[float, Bounds(0, MOST, above=True)] = 1 / 255
    """Factor on values from 0 to 255."""
    mean: tuple[Mean, Mean, Mean] = (0.0, 0.0, 0.0)
    """Subtracted after scaling, in the order of ``order``."""
    std: tuple[Std, Std, Std] = (1.0, 1.0, 1.0)
    """Divided by last, in the order of ``order``."""

    def __post_init__(self) -> None:
        for name in ("mean", "std", "scale"):  # 1 and 1.0 are the same, and hash the same
            kind = float if name == "scale" else tuple[float, float, float]
            object.__setattr__(self, name, read(kind, getattr(self, name), (name,)))
        check(self)

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Prepare frames.

        Args:
            frames: RGB, uint8. Shape: (n, height, width, 3).

        Returns:
            Input of the network, float32 in channels-last memory. Shape: (n, 3, height', width').

        Raises:
            WarmstartError: The frames are of another type or shape.
        """
        check_frames(tuple(frames.shape), str(frames.dtype).removeprefix("torch."))
        x = frames.flip(3) if self.order == "bgr" else frames
        x = self._resized(x)
        factor, offset = (row.to(x.device) for row in affine_rows(self, x.shape[2]))
        x = torch.addcmul(offset, x.flatten(2), factor).view(x.shape)
        return x.permute(0, 3, 1, 2)

    def _resized(self, x: torch.Tensor) -> torch.Tensor:
        """Frames (n, height, width, 3) of the right size, contiguous; float32 where they had another."""
        size, crop = self.size, self.crop
        if size is not None and tuple(x.shape[1:3]) != (size, size):
            x = resized(x.permute(0, 3, 1, 2).to(torch.float32), size).permute(0, 2, 3, 1)
        return x[:, *centre(x.shape[1], x.shape[2], crop)].contiguous()


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """Float images, resized to squares. Shape: (n, channels, height, width) to (n, channels, size, size)."""
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)


def centre(height: int, width: int, crop: int | None) -> tuple[slice, slice]:
    """Rows and columns of the centre that is kept; all of them for ``None``.

    Raises:
        WarmstartError: The images are smaller.
    """
    if crop is None:
        return slice(None), slice(None)
    if crop > min(height, width):
        raise WarmstartError(
            f"The preprocessing keeps a centre of {crop} x {crop} pixels, but the frames have {height} x "
            f"{width}: resize them to at least {crop} first (input_size={crop})."
        )
    top, left = (height - crop) // 2, (width - crop) // 2
    return slice(top, top + crop), slice(left, left + crop)


UNIT = Preprocessing()
"""Values from 0 to 1."""


@lru_cache(maxsize=32)
def affine_rows(preprocessing: Preprocessing, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and offset of the values in a row of pixels; whole rows are several times as fast as channels.

    Returns:
        float32. Shapes: (width * 3,).
    """
    with torch.inference_mode(False):
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (preprocessing.mean, preprocessing.std))
        factor, offset = preprocessing.scale / std, -mean / std
        return factor.float().repeat(width), offset.float().repeat(width)


def check_frames(shape: tuple[int, ...], dtype: str) -> None:
    """Raise an error that says what to do where frames aren't uint8 RGB (n, height, width, 3)."""
    wanted = "Expected frames of shape (n, height, width, 3), found"
    if len(shape) != 4:
        hint = "add the batch's axis with frames[None]" if len(shape) == 3 else "give one batch of images"
        raise WarmstartError(f"{wanted} {shape}: {hint}.")
    if shape[3] != 3:
        hint = {
            1: "grey frames must be repeated three times, frames.repeat(3, axis=-1)",
            4: "drop the alpha channel with frames[..., :3]",
        }.get(shape[3], "the three colour channels come last")
        raise WarmstartError(f"{wanted} {shape}: {hint}.")
    if dtype != "uint8":
        hint = "give the renderer's frames as they are, from 0 to 255; an encoder scales them itself, once"
        raise WarmstartError(f"Expected frames of type uint8, found {dtype}: {hint}.")
