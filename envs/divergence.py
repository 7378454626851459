"""Simulations that diverged: MuJoCo resets them silently, so they are looked for after every step."""

import warnings
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
        failed: Those in which MuJoCo raised an error.
        observations: Shape: (n, k).
        rewards: Shape: (n,).
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
    """Tell of the first simulations that diverged; stacklevel names the caller of ``step``."""
    warnings.warn(
        f"{task}: the simulation of environment {', '.join(map(str, diverged[:5]))} diverged; its "
        "episode was terminated and the simulation reset. `n_diverged` counts further ones.",
        stacklevel=4,
    )
