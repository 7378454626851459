"""How frames are prepared for a network: size, order of channels, scale and mean. May import envs."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import torch
from torch.nn import functional as F  # noqa: N812

from warmstart.core.errors import WarmstartError, unknown_name

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects in place of uint8 RGB frames.

    A value v from 0 to 255 becomes ``(scale * v - mean) / std``.
    """

    size: int | None = None
    """Height and width that frames are resized to (bilinear, antialiased); ``None`` keeps them."""
    crop: int | None = None
    """Height and width of the centre that is kept after resizing; ``None`` keeps all."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels."""
    scale: float = 1 / 255
    """Factor on values from 0 to 255."""
    mean: Triple = (0.0, 0.0, 0.0)
    """Subtracted after scaling, in the order of ``order``."""
    std: Triple = (1.0, 1.0, 1.0)
    """Divided by last, in the order of ``order``."""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = tuple(float(v) for v in getattr(self, name))
            if len(values) != 3 or not all(math.isfinite(v) for v in values):
                raise WarmstartError(f"Expected three numbers as {name} of the channels, found {values}.")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "scale", float(self.scale))  # 1 and 1.0 are the same, and hash the same
        if min(self.std) <= 0 or not self.scale > 0:
            raise WarmstartError(f"Expected positive scale and std, found {self.scale} and {self.std}.")
        if self.order not in ("rgb", "bgr"):
            raise unknown_name("order of channels", str(self.order), ("rgb", "bgr"))
        for name in ("size", "crop"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise WarmstartError(f"Expected a {name} of at least 1 pixel, found {value}.")

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
            x = x.permute(0, 3, 1, 2).to(torch.float32)
            x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)
            x = x.permute(0, 2, 3, 1)
        height, width = x.shape[1:3]
        if crop is not None and crop > min(height, width):
            raise WarmstartError(
                f"The preprocessing keeps a centre of {crop} x {crop} pixels, but the frames have {height} x "
                f"{width}: resize them to at least {crop} first (input_size={crop})."
            )
        if crop is not None:
            top, left = (height - crop) // 2, (width - crop) // 2
            x = x[:, top : top + crop, left : left + crop]
        return x.contiguous()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Inverse of ``to_json``."""
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


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


def with_changes(preprocessing: Preprocessing, **changes: Any) -> Preprocessing:
    """A preprocessing with those values changed that aren't ``None``."""
    return replace(preprocessing, **{name: v for name, v in changes.items() if v is not None})
