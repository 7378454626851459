"""Is an encoder good? What a linear map predicts of the state from its features, raw pixels, random weights.

A check before any training: linear probes of rewards and actions rank encoders much as training does
(2208.12345), and in simulation there is the state itself, dimension by dimension.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.agents.encoders.encoder import Encoder, make_encoder
from warmstart.agents.encoders.fast_encoding import FastEncoder
from warmstart.agents.encoders.tensors import tensors_digest
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Dimension
from warmstart.transfer.frames.data import FrameData
from warmstart.transfer.probing.ridge import folds_of, histories_at, unseen_r2, with_history

Floats = NDArray[Any]
RAW_SIZE = 21
"""Height and width that raw pixels are averaged to."""
CHUNK = 64
"""Frames that are encoded at a time."""
FEWEST_ROWS = 50
"""Frames that a probe needs at least."""


@dataclass(frozen=True)
class ProbeColumn:
    """How well the state is predicted from one kind of input."""

    source: str
    """``encoder``, ``pixels``, ``random weights``, …"""
    frames: int
    """Frames in its history, the newest included."""
    inputs: int
    """Numbers that the linear map takes."""
    r2: tuple[float, ...]
    """Share of the variance explained, by dimension, in environments not fitted on; NaN where the dimension
    doesn't vary."""

    @property
    def label(self) -> str:
        """Source and number of frames."""
        return f"{self.source}, {self.frames} frame{'s' if self.frames > 1 else ''}"

    @property
    def mean(self) -> float:
        """Mean over the dimensions that vary; NaN where none does."""
        varying = [value for value in self.r2 if not np.isnan(value)]
        return float(np.mean(varying)) if varying else float("nan")

    def to_json(self) -> State:
        """Plain values."""
        values = {"source": self.source, "frames": self.frames, "inputs": self.inputs}
        return {**values, "mean": self.mean, "r2": list(self.r2)}


@dataclass(frozen=True)
class EncoderProbe:
    """What the columns say about one encoder in one task."""

    encoder: str
    """Its text."""
    task: str
    """The task's text."""
    dimensions: tuple[Dimension, ...]
    """Names and units of the state's numbers."""
    columns: tuple[ProbeColumn, ...]
    """From one frame and from a history, the encoder's first."""
    rows: int
    """Frames whose state was predicted."""

    def column(self, source: str, frames: int) -> ProbeColumn:
        """The column of a source and a number of frames."""
        for column in self.columns:
            if (column.source, column.frames) == (source, frames):
                return column
        raise WarmstartError(f"There is no column {source!r} from {frames} frames.")

    def to_json(self) -> State:
        """Plain values."""
        return {
            "encoder": self.encoder,
            "task": self.task,
            "rows": self.rows,
            "dimensions": [{"name": d.name, "unit": d.unit} for d in self.dimensions],
            "columns": [column.to_json() for column in self.columns],
        }


def untrained(encoder: Encoder) -> Encoder:
    """The same architecture with random weights, preprocessing and settings alike; its readout isn't fitted.

    Where the encoder's own weights are those that its seed draws, another seed draws the twin's.
    """
    config = replace(encoder.config, weights="random", download=False)
    for seed in (config.seed, config.seed + 1):
        seeded = replace(config, seed=seed)
        twin = make_encoder(seeded, encoder.frame_shape, preprocessing=encoder.preprocessing)
        own, drawn = encoder.backbone.state_dict(), twin.backbone.state_dict()
        if not all(torch.equal(own[name], drawn[name]) for name in own):
            return twin
    with torch.random.fork_rng(devices=[]):  # a module of the user's own, which is built with its weights
        torch.manual_seed(config.seed)
        for module in twin.backbone.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return twin


def weights_sha256(encoder: Encoder) -> str:
    """sha256 of a network's tensors, in the order of their names."""
    return tensors_digest(encoder.backbone.network.state_dict()).hexdigest()


def windows_of(frames: int, history: int) -> int:
    """Windows of ``history`` frames that so many frames make.

    Raises:
        WarmstartError: They are too few to probe.
    """
    windows = -(-frames // history)
    if windows < FEWEST_ROWS:
        raise WarmstartError(
            f"There are too few frames to probe: expected at least {FEWEST_ROWS * history}, found {frames}."
        )
    return windows


def probe_encoder(
    encoder: Encoder,
    data: FrameData,
    dimensions: Sequence[Dimension],
    *,
    task: str = "",
    twin: Encoder | None = None,
    pixels: bool = True,
    n_threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> EncoderProbe:
    """Compare an encoder with raw pixels and with its untrained twin.

    Args:
        encoder: Its readout is fitted.
        data: Frames of one task with its state, of at least `FOLDS` environments.
        dimensions: Of the state.
        task: The task's text.
        twin: The same architecture with random weights, fitted; None leaves its columns out.
        pixels: Whether raw pixels are probed.
        n_threads: Threads that encode; the result doesn't depend on it.
        progress: Called with the columns done and all of them.

    Raises:
        WarmstartError: The state is missing, or there are too few environments or frames.
    """
    config = encoder.config
    histories = (1,) if config.frames == 1 else (1, config.frames)
    sources: dict[str, Callable[[], Floats]] = {"encoder": lambda: encoded(encoder, data, n_threads)}
    if pixels:
        sources["pixels"] = lambda: raw_pixels(data.frames)
    if twin is not None:
        sources["random weights"] = lambda: encoded(twin, data, n_threads)
    columns: list[ProbeColumn] = []
    for source, make in sources.items():
        features = make()
        for frames in histories:
            columns.append(probe_features(source, features, data, frames, config.frames, n_threads=n_threads))
            if progress is not None:
                progress(len(columns), len(sources) * len(histories))
    rows = len(histories_at(data, config.frames)[0])
    return EncoderProbe(str(config), task, tuple(dimensions), tuple(columns), rows)


def encoded(encoder: Encoder, data: FrameData, n_threads: int = 1) -> Floats:
    """Features of all frames. Shape: (steps, n_envs, n_features)."""
    compute = FastEncoder(encoder, encoder.config.precision, n_threads=n_threads)
    parts = [compute(data.flat[start : start + CHUNK]) for start in range(0, len(data), CHUNK)]
    return np.concatenate(parts).reshape(*data.starts.shape, -1)


def raw_pixels(frames: NDArray[np.uint8], size: int = RAW_SIZE) -> Floats:
    """Frames averaged to few pixels, from 0 to 1.

    Args:
        frames: Shape: (steps, n_envs, height, width, 3).
        size: Height and width, at most the frames' own.

    Returns:
        float32. Shape: (steps, n_envs, size * size * 3).
    """
    height, width = (min(size, side) for side in frames.shape[2:4])
    out = np.empty((*frames.shape[:2], height * width * 3), dtype=np.float32)
    for step, each in enumerate(frames):
        planes = torch.from_numpy(each).permute(0, 3, 1, 2).float() / 255
        out[step] = torch.nn.functional.adaptive_avg_pool2d(planes, (height, width)).flatten(1).numpy()
    return out


def probe_features(
    source: str, features: Floats, data: FrameData, frames: int, longest: int = 1, n_threads: int = 1
) -> ProbeColumn:
    """Predict the state of frames from features by ridge regression.

    Args:
        source: Name of the column.
        features: Shape: (steps, n_envs, n_features).
        data: The frames' episodes and states.
        frames: Frames in the history, the newest included.
        longest: Only frames with as many in their episode are used, so that columns are about the same ones.
        n_threads: Threads that compute.

    Raises:
        WarmstartError: The state is missing, or there are too few environments or frames.
    """
    if data.state is None:
        raise WarmstartError("A probe needs the state beside the frames: collect them with obs=pixels+state.")
    before = max(frames, longest) - 1
    steps, envs = histories_at(data, before + 1)
    if len(steps) < FEWEST_ROWS:
        raise WarmstartError(
            f"There are too few frames to probe: expected at least {FEWEST_ROWS} with {before} before them "
            f"in their episode, found {len(steps)}. Use more frames."
        )
    inputs = with_history(features, steps, envs, frames, difference=1.0)  # inputs are standardised anyway
    r2 = unseen_r2(inputs, data.state[steps, envs], folds_of(envs), n_threads)
    return ProbeColumn(source, frames, inputs.shape[1], tuple(r2.tolist()))


UNITS: Mapping[str, str] = {
    "m": "positions",
    "rad": "angles",
    "m/s": "velocities",
    "rad/s": "angular velocities",
    "N": "forces",
    "N m": "torques",
    "kg": "masses",
    "kg m": "centres of mass",
    "kg m2": "moments of inertia",
    "": "other",
}
"""What numbers of a unit are, for states too long to list."""


def grouped(probe: EncoderProbe, most: int = 40) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]:
    """Names and values for a table or a chart, one by one or, where there are too many, by unit.

    Returns:
        Names of the rows, and each column's values.
    """
    if len(probe.dimensions) <= most:
        return tuple(d.name for d in probe.dimensions), tuple(column.r2 for column in probe.columns)
    units = [dimension.unit for dimension in probe.dimensions]
    names, values = [], []
    for unit in dict.fromkeys(units):
        members = [i for i, other in enumerate(units) if other == unit]
        shown = f" ({unit})" if unit in UNITS and unit else ""
        names.append(f"{len(members)} {UNITS.get(unit, unit)}{shown}")
        parts = (replace(column, r2=tuple(column.r2[i] for i in members)) for column in probe.columns)
        values.append([part.mean for part in parts])
    return tuple(names), tuple(zip(*values, strict=True))
