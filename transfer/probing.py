"""How well a linear map tells a simulation's state from an encoder's features: a quick look before training.

May import envs and agents.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.envs.errors import WarmstartError
from warmstart.transfer.frame_data import FrameData

Floats = NDArray[Any]
CHUNK = 64
"""Frames that are encoded at a time."""
RIDGE = 1e-3
"""Penalty on the squared weights of standardised features, per row."""


@dataclass(frozen=True)
class Probe:
    """Share of the variance of each number of the state that is explained in episodes not seen before."""

    r2: tuple[float, ...]
    """One for each number of the state; NaN where it doesn't vary."""

    @property
    def mean(self) -> float:
        """Mean over the numbers that vary."""
        return float(np.nanmean(self.r2))


def probe(
    encode: Callable[[torch.Tensor], torch.Tensor], data: FrameData, unseen: FrameData | None = None
) -> Probe:
    """Tell the state from the features of a frame and their difference to the last frame's.

    Args:
        encode: Frames (n, height, width, 3), uint8, to features (n, n_features); an encoder, for one.
        data: Frames of one task with its state, which a ridge regression is fitted on.
        unseen: Frames on which it is judged; ``None`` fits on every other environment and judges on the rest.

    Raises:
        WarmstartError: The state is missing, or there is one environment and nothing to judge on.
    """
    parts = halves(data) if unseen is None else (data, unseen)
    (inputs, state), (unseen_inputs, unseen_state) = (_rows(encode, part) for part in parts)
    return Probe(tuple(ridge_r2(inputs, state, unseen_inputs, unseen_state).tolist()))


def halves(data: FrameData) -> tuple[FrameData, FrameData]:
    """Every other environment, and the rest."""
    if data.frames.shape[1] < 2:
        raise WarmstartError(
            "A probe is fitted on some environments and judged on others: collect at least 2, found 1."
        )
    first, second = (data.environments(slice(start, None, 2)) for start in (0, 1))
    return first, second


def _rows(encode: Callable[[torch.Tensor], torch.Tensor], data: FrameData) -> tuple[Floats, Floats]:
    """Features with their differences, and the state. Shapes: (rows, 2 n_features) and (rows, numbers)."""
    if data.state is None:
        raise WarmstartError("A probe needs the state beside the frames: collect them with obs=pixels+state.")
    features = features_of(encode, data)
    inputs = np.concatenate((features[1:], features[1:] - features[:-1]), axis=2)
    goes_on = ~data.starts[1:]
    return inputs[goes_on], data.state[1:][goes_on]


def features_of(encode: Callable[[torch.Tensor], torch.Tensor], data: FrameData) -> Floats:
    """Features of all frames. Shape: (steps, n_envs, n_features)."""
    flat = data.frames.reshape(-1, *data.frames.shape[2:])
    with torch.no_grad():
        parts = [encode(torch.from_numpy(flat[i : i + CHUNK])) for i in range(0, len(flat), CHUNK)]
    return torch.cat(parts).cpu().numpy().reshape(*data.starts.shape, -1)


def ridge_r2(inputs: Floats, targets: Floats, unseen_inputs: Floats, unseen_targets: Floats) -> Floats:
    """Fit a ridge regression and return its coefficients of determination on unseen rows.

    Args:
        inputs: Shape: (rows, features).
        targets: Shape: (rows, numbers).
        unseen_inputs: Shape: (others, features).
        unseen_targets: Shape: (others, numbers).

    Returns:
        One for each number, 1 - residual / variance; NaN where it doesn't vary. Shape: (numbers,).
    """
    mean, std = inputs.mean(0, dtype=np.float64), inputs.std(0, dtype=np.float64)
    std = np.maximum(std, 1e-6 * max(float(std.max()), 1e-12))
    x, unseen = ((array - mean) / std for array in (inputs, unseen_inputs))
    centre = targets.mean(0, dtype=np.float64)
    gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ (targets - centre))
    residual = np.square(unseen_targets - centre - unseen @ weights).mean(0)
    variance = unseen_targets.var(0, dtype=np.float64)
    varies = variance > 1e-10
    return np.where(varies, 1 - residual / np.where(varies, variance, 1), np.nan)
