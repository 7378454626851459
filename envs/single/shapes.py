"""Whether a value has the shape that its space has."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces


def misshapen(space: Any, value: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """The first part of an observation whose shape isn't its space's.

    Args:
        space: Its space.
        value: The observation.
        where: What leads to it, for messages.

    Returns:
        What leads to the part, the shape expected and the one found; None where all is well.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
            return (
                where,
                sorted(space.spaces),
                sorted(value) if isinstance(value, Mapping) else np.shape(value),
            )
        parts = ((f"{where}[{key!r}]", each, value[key]) for key, each in space.spaces.items())
    elif isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            return where, f"{len(space.spaces)} parts", type(value).__name__
        parts = ((f"{where}[{i}]", *both) for i, both in enumerate(zip(space.spaces, value, strict=True)))
    elif isinstance(space, spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Discrete):
        shape = getattr(value, "shape", None)
        shape = _shape(value) if shape is None else shape
        return None if shape == space.shape else (where, space.shape, shape)
    else:
        return None
    return next((found for name, each, part in parts if (found := misshapen(each, part, name))), None)


def _shape(value: Any) -> Any:
    try:
        return np.shape(value)
    except ValueError:
        return "of lists of different lengths"
