"""Numbers that aren't finite: simulations that diverged, which MuJoCo resets silently, and observations."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.envs.simulation.stepper import Stepper

Array = NDArray[Any]


def find_diverged(
    stepper: Stepper, failed: NDArray[np.intp], observations: Array, rewards: Array
) -> NDArray[np.intp] | None:
    """Environments whose simulation failed, was reset by MuJoCo or isn't finite, if there are any.

    Args:
        stepper: The simulations.
        failed: Those in which MuJoCo raised an error. Shape: (n_failed,).
        observations: Shape: (n, k).
        rewards: Shape: (n,).

    Returns:
        Their indices. Shape: (n_diverged,).
    """
    noticed = stepper.diverged()
    finite = np.isfinite(observations.sum() + rewards.sum())
    if finite and not failed.size and not noticed.size:
        return None
    bad = ~np.isfinite(observations).all(axis=1) | ~np.isfinite(rewards)
    bad[failed] = True
    bad[noticed] = True
    return np.flatnonzero(bad) if bad.any() else None


def warn_of_divergence(task: str, diverged: NDArray[np.intp]) -> None:
    """Tell of the first simulations that diverged; stacklevel names the caller of ``step``.

    Args:
        task: The task, for the message.
        diverged: Indices of the environments. Shape: (n_diverged,).
    """
    warnings.warn(
        f"{task}: the simulation of environment {', '.join(map(str, diverged[:5]))} diverged; its "
        "episode was terminated and the simulation reset. `n_diverged` counts further ones.",
        stacklevel=4,
    )


def not_finite(values: Any, name: str = "") -> tuple[str, tuple[int, ...], float] | None:
    """The first number that is NaN or infinite: its array's name, its place and itself, if there is one.

    Args:
        values: An array, or arrays by name (Dict) or number (Tuple), as observations are.
        name: What the array is called so far.
    """
    if isinstance(values, Mapping):
        parts = ((f"{name}.{key}" if name else str(key), part) for key, part in values.items())
    elif isinstance(values, tuple):
        parts = ((f"{name}[{i}]", part) for i, part in enumerate(values))
    else:
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or np.isfinite(values).all():
            return None
        place = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
        return name, place, float(values[place])
    return next(filter(None, (not_finite(part, each) for each, part in parts)), None)
