"""Numbers that aren't finite: simulations that diverged, which MuJoCo resets silently, and observations."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
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


def check_finite(
    text: str,
    space: spaces.Space[Any],
    observations: Any,
    elapsed: NDArray[np.int64],
    what: str = "observation",
) -> None:
    """Refuse observations that aren't finite, at once: a network would carry them into its parameters.

    Args:
        text: What messages call the task.
        space: Of one environment's observation.
        observations: Of all environments; arrays by name in a Dict. Shape: (n, ...).
        elapsed: Steps of each environment's episode. Shape: (n,).
        what: What they are.

    Raises:
        WarmstartError: A number is NaN or infinite.
    """
    for name, part in _leaves(space, observations):
        if part.dtype.kind != "f" or np.isfinite(part).all():
            continue
        env, *place = np.argwhere(~np.isfinite(part))[0].tolist()
        where = what + (f" {name}" if name else "") + (f"[{', '.join(map(str, place))}]" if place else "")
        raise WarmstartError(
            f"{text}: environment {env} gave {part[(env, *place)]} as {where} in step {elapsed[env]} of its "
            "episode; expected finite numbers. Mend the environment, or end its episodes before that."
        )


def _leaves(
    space: spaces.Space[Any], observations: Any, name: str = ""
) -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _leaves(part, observations[key], f"{name}.{key}" if name else key)
    elif isinstance(space, spaces.Tuple):
        for i, part in enumerate(space.spaces):
            yield from _leaves(part, observations[i], f"{name}[{i}]")
    elif isinstance(observations, np.ndarray):
        yield name, observations
