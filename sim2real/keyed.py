"""Random numbers that are looked up, not drawn: a function of a seed, a name and counters.

The same key gives the same number whatever else was asked for and in which order, so that results don't
depend on the number of environments or on when their episodes end. Imports nothing of the project.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SPREAD = np.uint64(0xD1342543DE82EF95)
"""Odd, so that which number comes first matters: seed 3 in environment 4 isn't seed 4 in environment 3."""
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def keys_of(names: Sequence[str]) -> Keys:
    """A number for each name, the same in every process. Shape: (names,)."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)


def uniforms(seed: int, keys: Keys, *counters: NDArray[Any]) -> Floats:
    """Uniform numbers between 0 and 1, neither of them included.

    Args:
        seed: Of the run.
        keys: What they are for; see `keys_of`. Shape: (k,).
        counters: Whole numbers of at least 0: the environment, the episode, the step. Shapes: (n,).

    Returns:
        Shape: (n, k).
    """
    with np.errstate(over="ignore"):
        state = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64) + _STEP)
        for counter in counters:
            state = _mix(state * _SPREAD + _mix(np.asarray(counter).astype(np.uint64) + _STEP))
        mixed = _mix(state[:, None] * _SPREAD + keys)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normals(seed: int, keys: Keys, *counters: NDArray[Any]) -> Floats:
    """Standard normal numbers; see `uniforms`."""
    found: Floats = ndtri(uniforms(seed, keys, *counters))
    return found


def _mix(x: Keys) -> Keys:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection whose output passes BigCrush."""
    x = (x ^ (x >> _SHIFTS[0])) * _FIRST
    x = (x ^ (x >> _SHIFTS[1])) * _SECOND
    return x ^ (x >> _SHIFTS[2])
