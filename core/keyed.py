"""Random numbers that are looked up, not drawn: a function of a seed, a name and counters.

The same key gives the same number whatever else was asked for and in which order, so that results don't
depend on the number of environments or on when their episodes end. Imports nothing of the project.
"""

import hashlib
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Coarse = NDArray[np.float32]
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
    """Random bits; see `uniforms`, which makes numbers of them, for the shapes. Shape: (n, k)."""
    state = start(seed)
    for counter in counters:
        state = count(state, mixed(counter))
    return finish(state, keys)


@cache
def start(seed: int) -> Keys:
    """The first of three parts of `hashes`, for those who keep what it comes to. Shape: (1,)."""
    return mixed(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64))


def mixed(counter: NDArray[Any]) -> Keys:
    """A counter as `count` takes it; same shape."""
    return _mix(counter.astype(np.uint64) + _STEP)


def count(state: Keys, counter: Keys) -> Keys:
    """The second part of `hashes`, once for each counter; shapes are broadcast."""
    return _mix(state * _SPREAD + counter)


def finish(state: Keys, keys: Keys, out: Keys | None = None, spare: Keys | None = None) -> Keys:
    """The last part of `hashes`.

    Args:
        state: Shape: (n,).
        keys: What the bits are for. Shape: (k,).
        out: Where they go: for many of them new memory costs more than the arithmetic. Shape: (n, k).
        spare: Is overwritten. Shape: (n, k).

    Returns:
        Shape: (n, k).
    """
    return _mix(np.add((state * _SPREAD)[:, None], keys, out=out), spare)


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


def uniform(bits: Keys) -> Floats:
    """A uniform number from each 64 random bits; same shape."""
    found = (bits >> np.uint64(11)).astype(np.float64)
    found += 0.5
    found *= 2.0**-53
    return found


def coarse_uniform(bits: Keys, out: Coarse | None = None) -> Coarse:
    """A uniform number of single precision (23 bits) from each 64 random bits, neither 0 nor 1; same shape.

    Numbers for every sensor and step are most of what imperfections cost, and these take half as long.
    """
    found = np.empty(bits.shape, dtype=np.float32) if out is None else out
    found[...] = _half(bits, 1) >> np.uint32(9)
    found += np.float32(0.5)
    found *= np.float32(2.0**-23)
    return found


def coarse_normal(bits: Keys, radius: Coarse | None = None) -> Coarse:
    """A standard normal number of single precision from each 64 random bits, below 5.8 in size; same shape.

    Box and Muller's, with half of the bits for the radius and half for the angle: many times as fast as the
    inverse of the distribution.

    Args:
        bits: Random bits.
        radius: What `coarse_uniform` made of them, which then becomes the result.
    """
    radius = coarse_uniform(bits) if radius is None else radius
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle = _half(bits, 0).astype(np.float32)
    angle *= np.float32(2 * np.pi * 2.0**-32)
    radius *= np.cos(angle, out=angle)
    return radius


def _half(bits: Keys, which: int) -> NDArray[np.uint32]:
    """The lower (0) or upper (1) half of each number's bits; a view where the last axis is contiguous."""
    lower = which if sys.byteorder == "little" else 1 - which
    return bits.view(np.uint32)[..., lower::2]


def _mix(x: Keys, spare: Keys | None = None) -> Keys:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection whose output passes BigCrush.

    In place; `spare` of the same shape is overwritten.
    """
    spare = np.empty_like(x) if spare is None else spare
    for shift, factor in zip(_SHIFTS, (_FIRST, _SECOND, None), strict=True):
        np.right_shift(x, shift, out=spare)
        np.bitwise_xor(x, spare, out=x)
        if factor is not None:
            np.multiply(x, factor, out=x)
    return x
