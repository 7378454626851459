"""Ridge regression of a task's state on features, judged on environments that it wasn't fitted on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from warmstart.core.errors import WarmstartError
from warmstart.transfer.frames.data import FrameData

Floats = NDArray[Any]
Integers = NDArray[np.int64]
FOLDS = 5
"""Parts that the environments are split into."""
STRENGTHS = tuple(10.0**exponent for exponent in range(-4, 5))
"""Penalties that are tried, relative to the standardised inputs' variance."""
_DEAD = 1e-6
"""Least standard deviation of an input, as a share of the largest."""
CLIP = 10.0
"""Bound on standardised inputs, as for agents: one that hardly moved may jump far in other episodes."""
_CONSTANT = 1e-10
"""Variance up to which a target counts as constant."""


def folds_of(envs: Integers) -> Integers:
    """The fold that frames belong to: that of their environment, so that an episode is never in two.

    Args:
        envs: Environment of each frame. Shape: (n,).

    Returns:
        From 0 to `FOLDS` - 1. Shape: (n,).

    Raises:
        WarmstartError: There are fewer than `FOLDS` environments.
    """
    present = np.unique(envs)
    if len(present) < FOLDS:
        raise WarmstartError(
            f"A probe is fitted on some environments and judged on others: expected at least {FOLDS}, found "
            f"{len(present)}."
        )
    return np.searchsorted(present, envs).astype(np.int64) % FOLDS


def histories_at(data: FrameData, frames: int) -> tuple[Integers, Integers]:
    """Step and environment of the frames with ``frames - 1`` others before them. Shapes: (rows,)."""
    windows = data.starts_at(tuple(range(frames)))
    return windows[:, 0] + frames - 1, windows[:, 1]


def with_history(features: Floats, steps: Integers, envs: Integers, frames: int, difference: float) -> Floats:
    """Features of frames and of those before them, as an agent observes them: see `EncodedVectorEnv`.

    Args:
        features: Shape: (steps, n_envs, n_features).
        steps: Steps of the newest frames. Shape: (rows,).
        envs: Their environments. Shape: (rows,).
        frames: Frames in the history, the newest included.
        difference: Factor on the differences.

    Returns:
        The newest ``frames - 1`` features, then their differences; the features alone for one frame. Shape:
        (rows, max(1, 2 * (frames - 1)) * n_features).
    """
    past = [features[steps - back, envs] for back in range(frames - 1, -1, -1)]
    if frames == 1:
        return past[0]
    moved = [(new - old) * difference for old, new in pairwise(past)]
    return np.concatenate(past[1:] + moved, axis=1)


def unseen_r2(inputs: Floats, targets: Floats, folds: Integers, n_threads: int = 1) -> NDArray[np.float64]:
    """Share of the variance that ridge regressions explain of rows that played no part in them.

    Every fold is predicted once. Of the others, the next chooses each target's penalty for a fit on the rest,
    then all of them are fitted on.

    Args:
        inputs: Shape: (rows, k).
        targets: Shape: (rows, numbers).
        folds: From 0 to `FOLDS` - 1. Shape: (rows,).
        n_threads: Threads that compute folds side by side.

    Returns:
        1 - squared error / variance of each target; NaN where it doesn't vary. Shape: (numbers,).
    """
    errors = np.empty(targets.shape, dtype=np.float64)

    def judge(fold: int) -> None:
        judged, choosing = folds == fold, folds == (fold + 1) % FOLDS
        fitted = ~(judged | choosing)
        strengths = best_strengths(inputs[fitted], targets[fitted], inputs[choosing], targets[choosing])
        predict = ridge(inputs[~judged], targets[~judged])
        errors[judged] = np.square(targets[judged] - predict(inputs[judged], strengths))

    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(judge, range(FOLDS)):
            pass
    variance = targets.var(0, dtype=np.float64)
    varies = variance > _CONSTANT
    r2: NDArray[np.float64] = np.where(varies, 1 - errors.mean(0) / np.where(varies, variance, 1), np.nan)
    return r2


def best_strengths(inputs: Floats, targets: Floats, unseen: Floats, wanted: Floats) -> NDArray[np.float64]:
    """For each target the penalty that errs least on unseen rows.

    Args:
        inputs: Shape: (rows, k).
        targets: Shape: (rows, numbers).
        unseen: Other inputs. Shape: (unseen rows, k).
        wanted: Their targets. Shape: (unseen rows, numbers).

    Returns:
        Shape: (numbers,).
    """
    predict = ridge(inputs, targets)
    errors = [
        np.square(wanted - predict(unseen, np.full(targets.shape[1], strength))).mean(0)
        for strength in STRENGTHS
    ]
    chosen: NDArray[np.float64] = np.array(STRENGTHS)[np.argmin(errors, axis=0)]
    return chosen


def ridge(inputs: Floats, targets: Floats) -> Callable[[Floats, Floats], Floats]:
    """Ridge regressions with any penalties.

    Args:
        inputs: Standardised and clipped here. Shape: (rows, k).
        targets: Shape: (rows, numbers).

    Returns:
        A function of inputs, shape (n, k), and of a penalty per target, shape (numbers,), to predictions,
        shape (n, numbers).
    """
    mean, std = inputs.mean(0, dtype=np.float64), inputs.std(0, dtype=np.float64)
    std = np.maximum(std, max(_DEAD * float(std.max()), 1e-12))

    def standardised(inputs: Floats) -> Floats:
        scaled: Floats = np.clip((inputs - mean) / std, -CLIP, CLIP).astype(np.float32)
        return scaled

    x, centre, rows = standardised(inputs), targets.mean(0, dtype=np.float64), len(inputs)
    wide = x.shape[1] > rows  # then the rows' products are the smaller matrix, with the same solution
    gram = ((x @ x.T if wide else x.T @ x) / rows).astype(np.float64)
    moments = (targets - centre) / rows if wide else x.T @ (targets - centre) / rows

    def predict(inputs: Floats, strengths: Floats) -> Floats:
        weights = np.empty((x.shape[1], len(centre)))
        for strength in np.unique(strengths):
            chosen = strengths == strength
            penalised = gram + strength * np.eye(len(gram))
            solution = solve(penalised, moments[:, chosen], assume_a="pos", overwrite_a=True)
            weights[:, chosen] = x.T @ solution if wide else solution
        predicted: Floats = standardised(inputs) @ weights + centre
        return predicted

    return predict
