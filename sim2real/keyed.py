"""Random numbers that are looked up, not drawn: a function of a seed, a name and counters.

The same key gives the same number whatever else was asked for and in which order, so that results don't
depend on the number of environments or on when their episodes end. Imports nothing of the project.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def hashes(seed: int, keys: Keys, *counters: NDArray[Any]) -> Keys:
    """Random bits; see `uniforms`, which makes numbers of them. Shape: (n, k)."""
    with np.errstate(over="ignore"):
        state = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64) + _STEP)
        for counter in counters:
            state = _mix(state * _SPREAD + _mix(np.asarray(counter).astype(np.uint64) + _STEP))
        return _mix(np.add((state * _SPREAD)[:, None], keys))


def uniforms(seed: int, keys: Keys, *counters: NDArray[Any]) -> Floats:
    """Uniform numbers between 0 and 1, neither of them included.

    Args:
        seed: Of the run.
        keys: What they are for; see `keys_of`. Shape: (k,).
        counters: Whole numbers of at least 0: the environment, the episode, the step. Shapes: (n,).

    Returns:
        Shape: (n, k).
    """
    return uniform(hashes(seed, keys, *counters))


def normals(seed: int, keys: Keys, *counters: NDArray[Any]) -> Floats:
    """Standard normal numbers; see `uniforms`."""
    return normal(hashes(seed, keys, *counters))


def uniform(bits: Keys) -> Floats:
    """A uniform number from each 64 random bits; same shape."""
    found = (bits >> np.uint64(11)).astype(np.float64)
    found += 0.5
    found *= 2.0**-53
    return found


def normal(bits: Keys) -> Floats:
    """A standard normal number from each 64 random bits, at most 6.8 in size; same shape.

    Box and Muller's, with half of the bits for the radius and half for the angle: four times as fast as the
    inverse of the distribution.
    """
    radius = (bits >> np.uint64(32)).astype(np.float64)
    radius += 0.5
    radius *= 2.0**-32
    np.log(radius, out=radius)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    angle = (bits & np.uint64(0xFFFFFFFF)).astype(np.float64)
    angle *= 2 * np.pi * 2.0**-32
    radius *= np.cos(angle, out=angle)
    return radius


def _mix(x: Keys) -> Keys:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection whose output passes BigCrush.

    In place, since new memory would cost more than the arithmetic.
    """
    spare = np.empty_like(x)
    for shift, factor in zip(_SHIFTS, (_FIRST, _SECOND, None), strict=True):
        np.right_shift(x, shift, out=spare)
        np.bitwise_xor(x, spare, out=x)
        if factor is not None:
            np.multiply(x, factor, out=x)
    return x
