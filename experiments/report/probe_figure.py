"""The picture of a probe: what its features depend on, and what a linear map tells of the state."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from warmstart.envs.simulation.layouts import Dimension
from warmstart.experiments.report.canvas import GRID, INK, MUTED, new_figure
from warmstart.transfer.frames.data import FrameData
from warmstart.transfer.probing.probe import EncoderProbe, ProbeColumn, grouped
from warmstart.transfer.probing.saliency import Saliency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS = {
    "encoder": ("#8fc1e8", "#0068b8"),
    "pixels": ("#b9bfc8",) * 2,
    "random weights": ("#c8500a",) * 2,
}
"""Of a source, from one frame and from a history."""
MOST = 40
"""Dimensions that are drawn one by one."""
_SIDE = 336
_MARGIN, _GAP, _HEAD, _CHART = 0.2, 0.05, 0.85, 3.2
"""Inches: beside everything, between the two rows of frames, for the title, for the chart and its legend."""
_VISIBLE = ("m", "rad", "")
"""Units of what a frame shows."""
_CAPTIONS = {
    "pca": "Brightness: how much each place adds to the features, beside what the mean frame does.",
    "projection": "Brightness: how much each place adds to the features, beside what the mean frame does.",
    "spatial_softmax": "Brightness: attention, weighted by how far a channel's point is from its usual one. "
    "Dots: points of the most mobile channels.",
}
_CAPTION = "Brightness: how far the map of features is from its mean over frames."


def draw_probe(
    probe: EncoderProbe,
    columns: Sequence[ProbeColumn],
    frames: NDArray[np.uint8],
    saliency: Saliency,
    readout: str = "",
) -> "Figure":
    """Draw frames, what the features depend on in them, and bars of R² by dimension.

    Args:
        probe: What was found.
        columns: Those of its columns that are drawn, at most four.
        frames: Some frames of the task. Shape: (n, height, width, 3).
        saliency: What the features depend on in them.
        readout: The readout's name, for the caption.
    """
    drawn = EncoderProbe(probe.encoder, probe.task, probe.dimensions, tuple(columns), probe.rows)
    names, values = grouped(drawn, MOST)
    turned = len(names) > 8
    width = float(np.clip(2.2 + 0.52 * len(names), 10.5, 20))
    strip = 2 * (width - 2 * _MARGIN) / len(frames) * frames.shape[1] / frames.shape[2] + _GAP
    below = 0.35 + 0.042 * max(map(len, names)) if turned else 0.45
    height = _HEAD + strip + _CHART + below
    figure = new_figure((width, height), layout=None)

    def write(text: str, inches: float, **style: Any) -> None:
        """Text so many inches below the top."""
        figure.text(_MARGIN / width, 1 - inches / height, text, va="top", parse_math=False, **style)

    write(probe.encoder, 0.18, size=15, weight="bold", color=INK)
    write(f"in {probe.task}, {probe.rows:,} frames", 0.5, size=10.5, color=INK)
    write(_CAPTIONS.get(readout, _CAPTION), _HEAD + strip + 0.07, size=8.5, color=MUTED)
    top = 1 - _HEAD / height
    grid = figure.add_gridspec(
        2,
        len(frames),
        left=_MARGIN / width,
        right=1 - _MARGIN / width,
        top=top,
        bottom=top - strip / height,
        wspace=0.03,
        hspace=0.03,
    )
    for index, (frame, heat) in enumerate(zip(frames, saliency.heat, strict=True)):
        _picture(figure.add_subplot(grid[0, index]), upscaled(frame))
        axes = figure.add_subplot(grid[1, index])
        _picture(axes, overlay(frame, heat))
        if saliency.points is not None:
            scale = _SIDE / frame.shape[0]
            x, y = saliency.points[index].T * scale
            axes.scatter(x, y, s=7, color="#6df2ff", linewidths=0)
    bars = figure.add_axes((0.7 / width, below / height, 1 - 0.9 / width, (_CHART - 0.8) / height))
    _bars(bars, names, columns, values, turned)
    return figure


def _bars(
    axes: "Axes",
    names: Sequence[str],
    columns: Sequence[ProbeColumn],
    values: Sequence[Sequence[float]],
    turned: bool,
) -> None:
    """Groups of bars, the mean's first."""
    places = np.concatenate(([0.0], np.arange(len(names)) + 1.4))
    breadth = 0.8 / len(columns)
    for index, (column, heights) in enumerate(zip(columns, values, strict=True)):
        x = places + (index - (len(columns) - 1) / 2) * breadth
        shown = np.nan_to_num(np.clip(np.array([column.mean, *heights]), 0, 1))
        label = f"{column.label}: mean {column.mean:.2f}"
        axes.bar(x, shown, breadth * 0.92, color=_BARS[column.source][column.frames > 1], label=label)
    axes.axvline(0.7, color=GRID, linewidth=1.2)
    axes.set_xlim(-0.55, places[-1] + 0.55)
    axes.set_ylim(0, 1)
    style: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    axes.set_xticks(places, ["mean", *names], size=8.5, color=INK, parse_math=False, **style)
    axes.get_xticklabels()[0].set_fontweight("bold")
    axes.set_ylabel("R² in episodes not fitted on", size=9, color=INK)
    axes.tick_params(axis="y", labelsize=8.5, colors=MUTED)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.02),
        ncols=len(columns),
        frameon=False,
        fontsize=9,
        borderaxespad=0,
        handlelength=1.1,
        columnspacing=1.4,
    )


def _picture(axes: "Axes", image: NDArray[np.uint8]) -> None:
    axes.imshow(image, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(GRID)


def upscaled(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame with `_SIDE` rows, smoothly. Shape: (height, width, 3) to (_SIDE, width', 3)."""
    height, width = frame.shape[:2]
    size = (round(_SIDE * width / height), _SIDE)
    resized = Image.fromarray(np.ascontiguousarray(frame)).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized)


def overlay(frame: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A greyed frame that glows where the heat is.

    Args:
        frame: Shape: (height, width, 3).
        heat: From 0 to 1. Shape: (height, width).

    Returns:
        Shape: (`_SIDE`, proportional, 3).
    """
    from matplotlib import colormaps

    large = upscaled(frame).astype(np.float64) / 255
    grey = np.repeat(large.mean(2, keepdims=True), 3, axis=2) * 0.75 + large * 0.15
    size = (large.shape[1], large.shape[0])
    glow = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    strength = 0.85 * glow[..., None] ** 0.6
    colour = colormaps["inferno"](0.15 + 0.8 * glow)[..., :3]
    mixed: NDArray[np.float64] = grey * (1 - strength) + colour * strength
    out: NDArray[np.uint8] = np.round(mixed.clip(0, 1) * 255).astype(np.uint8)
    return out


def telling_frames(data: FrameData, dimensions: Sequence[Dimension], n: int = 6) -> NDArray[np.uint8]:
    """Frames that look different: each is of the state farthest from those before it, velocities aside.

    Args:
        data: Frames with their state.
        dimensions: Of the state.
        n: Frames wanted.

    Returns:
        Shape: (n, height, width, 3).
    """
    assert data.state is not None
    visible = [i for i, dimension in enumerate(dimensions) if dimension.unit in _VISIBLE] or range(
        len(dimensions)
    )
    state = data.state.reshape(len(data), -1)[:, list(visible)].astype(np.float64)
    spread = state.std(0)
    scaled = np.clip((state - state.mean(0)) / np.where(spread > 0, spread, 1), -2, 2)  # no outliers
    chosen = [int(np.square(scaled).sum(1).argmin())]
    nearest = np.full(len(data), np.inf)
    while len(chosen) < n:
        nearest = np.minimum(nearest, np.square(scaled - scaled[chosen[-1]]).sum(1))
        chosen.append(int(nearest.argmax()))
    out: NDArray[np.uint8] = data.frames.reshape(-1, *data.frames.shape[2:])[chosen]
    return out
