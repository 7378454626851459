"""Seeds and masks of vector environments, as Gymnasium's own understand them."""

from collections.abc import Sequence

import numpy as np
from gymnasium.utils.seeding import np_random
from numpy.typing import NDArray

from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError


def generators(seed: int | Sequence[int | None] | None, n: int) -> list[np.random.Generator]:
    """Make a generator for each environment: seeded with ``seed + i``, the i-th of a list, or by the system.

    Raises:
        WarmstartError: The list has another length.
    """
    if seed is None or isinstance(seed, int | np.integer):
        seeds: list[int | None] = [None if seed is None else int(seed) + i for i in range(n)]
    else:
        seeds = list(seed)
    if len(seeds) != n:
        raise WarmstartError(f"Expected {n} seeds, found {len(seeds)}.")
    return [np_random(single)[0] for single in seeds]


def masked_ids(options: Settings | None, n: int) -> NDArray[np.int32]:
    """Return the environments that a reset's options ask for: those of its ``reset_mask``, else all.

    Returns:
        Their indices, in order. Shape: (k,).

    Raises:
        WarmstartError: The mask isn't one boolean per environment, or is False for all.
    """
    mask = np.asarray((options or {}).get("reset_mask", np.ones(n, dtype=bool)))
    if mask.shape != (n,) or mask.dtype != bool or not mask.any():
        raise WarmstartError(f"Expected a reset_mask of {n} booleans with at least one True, found {mask}.")
    return np.flatnonzero(mask).astype(np.int32)


def check_state(found_task: str, found_n: int, task: str, n: int) -> None:
    """See that a saved state is one of the same environments.

    Raises:
        WarmstartError: It is of another task or number of environments.
    """
    if (found_task, found_n) != (task, n):
        raise WarmstartError(
            f"Expected the state of {n} environments of {task}, found that of {found_n} of {found_task}."
        )
