"""Saliency: which pixels of a frame an encoder's features come from.

What is shown depends on the readout:

- linear ones (``pca``, ``projection``): how much each place of the map adds to the features, the norm of its
  deviation from the mean frame after the projection;
- ``spatial_softmax``: where each channel expects its thing to be, as points, and where its attention lies,
  each channel weighted by how far its point is from its usual place;
- all others: the norm over channels of the map's deviation from its mean over frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.agents.encoders.encoder import Encoder
from warmstart.agents.encoders.readouts import LinearReadout, SpatialSoftmax
from warmstart.core.errors import WarmstartError

Centres = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Rows and columns of a frame, pixels from its top left corner. Shapes: (height',) and (width',)."""
ROWS = 16
"""Frames that are encoded at a time."""
BRIGHTEST = 99.5
"""Percentile of the pixels of all frames that counts as 1."""
_ROUNDING = 1e-5
"""Share of a map's largest value that differs by rounding."""
_POINTS = 24
"""Points that are kept: those of the channels whose points move most."""


@dataclass(frozen=True, eq=False)
class Saliency:
    """Which pixels of some frames an encoder's features come from."""

    heat: NDArray[np.float32]
    """From 0 to 1, on one scale for all frames. Shape: (n, height, width)."""
    points: NDArray[np.float32] | None = None
    """Column and row of the places that channels look at, in pixels, where the readout has such. Shape: (n,
    points, 2)."""


@torch.no_grad()
def saliency(
    encoder: Encoder, frames: NDArray[np.uint8], reference: NDArray[np.uint8] | None = None
) -> Saliency:
    """Find out which pixels of frames an encoder's features come from.

    Args:
        encoder: Its readout is fitted.
        frames: Shape: (n, height, width, 3).
        reference: Frames of other states, whose mean map is that of nothing going on; None
            takes ``frames``. Linear readouts know the mean of the frames they were fitted on. Shape:
            (m, height, width, 3).

    Raises:
        WarmstartError: The readout is not fitted, or the frames are of another size than the encoder's.
    """
    if not encoder.fitted:
        raise WarmstartError("The encoder's readout was not fitted: call encoder.fit with frames first.")
    maps = maps_of(encoder, frames)
    if isinstance(encoder.readout, LinearReadout):
        energy = projected_energy(encoder.readout, maps)
    elif isinstance(encoder.readout, SpatialSoftmax):
        energy = attended_energy(encoder.readout, maps)
    else:
        usual = maps_of(encoder, frames if reference is None else reference).mean(0)
        energy = (maps - usual).square().sum(1).sqrt()
        energy[energy < _ROUNDING * maps.abs().max()] = 0
    at = centres(encoder)
    heat = spread(energy.double().numpy(), at, frames.shape[1:3])
    brightest = float(np.percentile(heat, BRIGHTEST))
    heat = np.clip(heat / brightest, 0, 1) if brightest > 0 else np.zeros_like(heat)
    points = None
    if isinstance(encoder.readout, SpatialSoftmax):
        points = expected_places(encoder.readout, maps, at)
    return Saliency(heat.astype(np.float32), points)


def maps_of(encoder: Encoder, frames: NDArray[np.uint8]) -> torch.Tensor:
    """The backbone's maps. Shape: (n, height, width, 3) to (n, channels, height', width')."""
    parts = np.array_split(frames, -(-len(frames) // ROWS))
    return torch.cat([encoder.maps(torch.from_numpy(np.ascontiguousarray(part))) for part in parts])


def projected_energy(readout: LinearReadout, maps: torch.Tensor) -> torch.Tensor:
    """What each place adds to the features: the norm over features of weight times deviation there.

    Shapes: maps (n, channels, height', width') to (n, height', width').
    """
    channels, height, width = readout.shape
    weight = readout.weight.view(-1, height * width, channels)
    moved = maps.permute(0, 2, 3, 1).reshape(len(maps), -1) - readout.mean
    moved = moved.view(len(maps), height * width, channels)
    # One matrix product per place: (places, n, channels) x (places, channels, k).
    added = moved.transpose(0, 1) @ weight.permute(1, 2, 0)
    energy: torch.Tensor = added.square().sum(2).sqrt().t().reshape(len(maps), height, width)
    return energy


def attended_energy(readout: SpatialSoftmax, maps: torch.Tensor) -> torch.Tensor:
    """Each channel's attention, weighted by how far its point is from its mean, in standard deviations.

    Shapes: maps (n, channels, height', width') to (n, height', width').
    """
    channels, height, width = readout.shape
    scale = readout.channel_std.view(-1, 1, 1) * readout.TEMPERATURE
    attention = (maps / scale).flatten(2).softmax(2)
    far = readout(maps).view(-1, channels, 2).square().sum(2).sqrt()
    energy: torch.Tensor = (attention * far[:, :, None]).sum(1)
    return energy.view(-1, height, width)


def expected_places(readout: SpatialSoftmax, maps: torch.Tensor, at: Centres) -> NDArray[np.float32]:
    """Column and row, in pixels, that the most mobile channels look at.

    Args:
        readout: The fitted readout.
        maps: Shape: (n, channels, height', width').
        at: The pixels of the map's rows, shape (height',), and columns, shape (width',).

    Returns:
        Shape: (n, points, 2).
    """
    _, height, width = readout.shape
    points = readout.numbers(maps).view(len(maps), -1, 2).numpy()
    mobile = readout.std.view(-1, 2).square().sum(1)
    chosen = torch.argsort(mobile, descending=True)[:_POINTS].numpy()
    x = np.interp(points[:, chosen, 0], np.linspace(-1, 1, width), at[1])
    y = np.interp(points[:, chosen, 1], np.linspace(-1, 1, height), at[0])
    return np.stack((x, y), 2).astype(np.float32)


def centres(encoder: Encoder) -> Centres:
    """Which pixel of a frame each row and column of the map is about, the middle of its receptive field.

    Found by the gradient of two inner places of the map for noise, since convolutions without padding read
    less of the borders; where those read everything (a transformer's tokens), the map is laid over the frame
    evenly.

    Returns:
        Pixels of the map's rows, shape (height',), and columns, shape (width',).
    """
    height, width, _ = encoder.frame_shape
    generator = torch.Generator().manual_seed(0)
    prepared = encoder.preprocessing(torch.zeros(1, height, width, 3, dtype=torch.uint8))
    noise = torch.randn(4, *prepared.shape[1:], generator=generator)
    with torch.enable_grad():
        noise.requires_grad_(True)
        map_ = encoder.backbone(noise)
        sides = (int(map_.shape[2]), int(map_.shape[3]))
        inner = [(side // 4, side - 1 - side // 4) for side in sides]
        fields = []
        for row, column in zip(*inner, strict=True):
            (gradient,) = torch.autograd.grad(map_[:, :, row, column].sum(), noise, retain_graph=True)
            fields.append(gradient.abs().sum((0, 1)).double())
    out = []
    for axis, side in enumerate(sides):
        first, second = (centre_of(field.sum(1 - axis).numpy()) for field in fields)
        given, crop = encoder.frame_shape[axis], noise.shape[2 + axis]
        at = axis_pixels((first, second), inner[axis], side, crop)
        resized = encoder.preprocessing.size or given
        out.append((at + (resized - crop) // 2) * given / resized)
    return out[0], out[1]


def centre_of(weights: NDArray[np.float64]) -> float:
    """Centre of gravity of weights, shape (pixels,), the first of which lies at 0.5; NaN where all are 0."""
    total = float(weights.sum())
    return float((weights * (np.arange(len(weights)) + 0.5)).sum() / total) if total > 0 else float("nan")


def axis_pixels(
    found: tuple[float, float], inner: tuple[int, int], side: int, pixels: int
) -> NDArray[np.float64]:
    """Pixels of all places along an axis from those of two, or evenly where the two tell nothing.

    Args:
        found: Pixels of the two.
        inner: Which they are.
        side: Places along the axis.
        pixels: Pixels along the axis.

    Returns:
        Shape: (side,).
    """
    even = pixels / side
    index = np.arange(side, dtype=np.float64)
    stride = (found[1] - found[0]) / (inner[1] - inner[0]) if inner[1] != inner[0] else np.nan
    if not even / 2 < stride < even * 2:
        return (index + 0.5) * even
    return (found[0] + found[1]) / 2 + (index - sum(inner) / 2) * stride


def spread(energy: NDArray[np.float64], at: Centres, size: Sequence[int]) -> NDArray[np.float64]:
    """Energies of a map's places, interpolated linearly to a frame's pixels; beyond the places they fade.

    Args:
        energy: Shape: (n, height', width').
        at: The places, pixels. Shapes: (height',) and (width',).
        size: Height and width of a frame.

    Returns:
        Shape: (n, height, width).
    """
    return _interpolation(at[0], size[0]) @ energy @ _interpolation(at[1], size[1]).T


def _interpolation(at: NDArray[np.float64], pixels: int) -> NDArray[np.float64]:
    """Weights of each place in each pixel. Shape: (pixels, places)."""
    wanted = np.arange(pixels) + 0.5
    if len(at) == 1:
        return np.ones((pixels, 1))
    fade = 2 * (at[1] - at[0])
    known = np.concatenate(([at[0] - fade], at, [at[-1] + fade]))
    rows = np.pad(np.eye(len(at)), ((0, 0), (1, 1)))
    return np.stack([np.interp(wanted, known, row) for row in rows], axis=1)
