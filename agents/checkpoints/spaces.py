"""Gymnasium spaces as plain JSON and back: Box, Discrete, MultiDiscrete, MultiBinary, flat Dict."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from warmstart.core.bounds import Settings, State
from warmstart.core.errors import WarmstartError


def space_to_json(space: spaces.Space[Any]) -> State:
    """Plain values of a space; floats keep every bit, infinities are the strings ``inf`` and ``-inf``.

    Raises:
        WarmstartError: If it is of another kind, or a nested Dict.
    """
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": bound_to_json(space.low),
            "high": bound_to_json(space.high),
        }
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": list(space.shape)}
    if isinstance(space, spaces.Dict) and not any(isinstance(s, spaces.Dict) for s in space.spaces.values()):
        return {"type": "Dict", "spaces": {key: space_to_json(s) for key, s in space.spaces.items()}}
    raise WarmstartError(
        f"The space {space} can't be saved: expected Box, Discrete, MultiDiscrete, MultiBinary or a flat "
        "Dict of these."
    )


def space_from_json(values: Settings) -> spaces.Space[Any]:
    """Inverse of ``space_to_json``."""
    kind = values.get("type")
    if kind == "Box":
        dtype: Any = np.dtype(values["dtype"])
        shape = tuple(values["shape"])
        low, high = (bound_from_json(values[name], shape, dtype) for name in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(values["n"], start=values.get("start", 0))
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(values["nvec"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(values["n"] if len(values["n"]) > 1 else values["n"][0])
    if kind == "Dict":
        return spaces.Dict({key: space_from_json(s) for key, s in values["spaces"].items()})
    raise WarmstartError(
        f"Expected a space of type Box, Discrete, MultiDiscrete, MultiBinary or Dict, found {kind!r}."
    )


def bound_to_json(bound: NDArray[Any]) -> Any:
    """A Box's bound: one number where all are equal, else one per element in C order."""
    numbers = [value if math.isfinite(value) else str(value) for value in bound.ravel().tolist()]
    return numbers[0] if numbers and all(n == numbers[0] for n in numbers) else numbers


def bound_from_json(value: Any, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Inverse of ``bound_to_json``."""
    if isinstance(value, list):
        return np.array([float(v) for v in value], np.float64).reshape(shape).astype(dtype)
    return np.full(shape, float(value)).astype(dtype)
