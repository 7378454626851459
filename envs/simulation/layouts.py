"""Layouts: the name, unit and range of every dimension of an observation or action.

Alignment between different spaces works on these names. A `MujocoTask` gives them, elsewhere
they are generic.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import read, to_plain


@dataclass(frozen=True)
class Dimension:
    """One number of an observation or action.

    Attributes:
        name: What it is: ``bthigh.angle``, ``bthigh.torque``.
        unit: Its unit: ``m``, ``rad``, ``m/s``, ``rad/s``, ``N``, ``N m``; empty where it has none.
        low: Smallest value.
        high: Largest value.
        scale: What one unit of an action is in physical terms (an actuator's gear × gain).
        block: Hash of the encoder whose opaque feature this is; such a dimension only matches one of
            the same name from the same encoder. Empty for a quantity with a meaning of its own.
    """

    name: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    scale: float = 1.0
    block: str = ""

    def matches(self, other: "Dimension") -> bool:
        """Whether the other dimension is the same quantity: same name, same encoder if it has one."""
        return self.name == other.name and self.block == other.block


@dataclass(frozen=True)
class Layout:
    """The dimensions of an observation or action, in order; names are unique."""

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise WarmstartError(
                f"Expected unique names of dimensions, found more than once: {', '.join(repeated)}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names in order."""
        return tuple(dimension.name for dimension in self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    def __add__(self, other: "Layout") -> "Layout":
        return Layout(self.dimensions + other.dimensions)

    def index(self, name: str) -> int:
        """Return the position of a dimension.

        Raises:
            WarmstartError: There is none of that name.
        """
        if name not in self.names:
            raise unknown_name("dimension", name, self.names)
        return self.names.index(name)

    def to_json(self) -> list[Settings]:
        """Return plain JSON: one object per dimension, without what has its default (an infinite range)."""
        return [to_plain(dimension, defaults=False) for dimension in self.dimensions]

    @classmethod
    def from_json(cls, data: Iterable[Settings]) -> "Layout":
        """Read what :meth:`to_json` wrote.

        Raises:
            WarmstartError: The data is not a list of dimensions.
        """
        dimensions: tuple[Dimension, ...] = read(tuple[Dimension, ...], data)
        return cls(dimensions)


def opaque_block(name: str, size: int, encoder_hash: str) -> Layout:
    """Return the layout of an encoder's features: ``NAME[0]``…, matched only by the same encoder's.

    Args:
        name: Name of the block.
        size: Number of features.
        encoder_hash: Hash that identifies the encoder with its weights and preprocessing.
    """
    return Layout(tuple(Dimension(f"{name}[{i}]", block=encoder_hash) for i in range(size)))


def generic_layout(space: gymnasium.Space[Any], prefix: str) -> Layout:
    """Return the layout of any flat space, where nothing better is known.

    A Box gives ``PREFIX[0]``… (``PREFIX[0,1]`` in more dimensions), a Dict the same for every key, a
    Discrete space ``choice[0]``…, a MultiDiscrete ``PREFIX[0].choice[0]``…, a MultiBinary ``PREFIX[0]``….

    Raises:
        WarmstartError: The space is of another kind.
    """
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Dict):
        parts = [generic_layout(part, name) for name, part in space.spaces.items()]
        return Layout(tuple(dimension for part in parts for dimension in part.dimensions))
    if isinstance(space, spaces.Box):
        indices = (",".join(map(str, index)) for index in np.ndindex(space.shape))
        bounds = zip(indices, space.low.flat, space.high.flat, strict=True)
        return Layout(
            tuple(Dimension(f"{prefix}[{index}]", "", float(low), float(high)) for index, low, high in bounds)
        )
    if isinstance(space, spaces.Discrete):
        names = [f"choice[{i}]" for i in range(int(space.n))]
    elif isinstance(space, spaces.MultiDiscrete):
        names = [f"{prefix}[{i}].choice[{k}]" for i, n in enumerate(space.nvec.flat) for k in range(int(n))]
    elif isinstance(space, spaces.MultiBinary):
        names = [f"{prefix}[{i}]" for i in range(int(np.prod(space.shape)))]
    else:
        raise WarmstartError(
            "Expected a Box, flat Dict, Discrete, MultiDiscrete or MultiBinary space, "
            f"found {type(space).__name__}; give the dimensions' names yourself."
        )
    return Layout(tuple(Dimension(name, "", 0.0, 1.0) for name in names))
