"""Spaces as plain values."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from warmstart.core.bounds import Bounds, SettingError, Settings, State, show
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read

MOST_NUMBERS, MOST_AXES = 1 << 24, 8
"""Largest observation or action that is read, and most of its axes."""
Choices = Annotated[int, Bounds(1, MOST_NUMBERS)]
Start = Annotated[int, Bounds(-MOST_NUMBERS, MOST_NUMBERS)]
INCONSISTENT = (KeyError, TypeError, ValueError, AssertionError, OverflowError, AttributeError, SettingError)
"""What building a space raises where its parts don't go together."""

KINDS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict")


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


def space_from_json(values: Settings, *, inside: str = "") -> spaces.Space[Any]:
    """Inverse of ``space_to_json``.

    Args:
        values: What it gave.
        inside: Name of the Dict's member that it is, for messages.

    Raises:
        WarmstartError: It is of another kind, nested, incomplete, too large, or contradicts itself.
    """
    where = f" under {inside!r}" if inside else ""
    kind = values.get("type") if isinstance(values, Mapping) else None
    if kind not in KINDS or (kind == "Dict" and inside):
        raise WarmstartError(
            f"Expected a space of type Box, Discrete, MultiDiscrete, MultiBinary or Dict{where}, found "
            f"{kind!r}."
        )
    try:
        return _JSON_BUILDERS[kind](values)
    except INCONSISTENT as error:
        raise WarmstartError(
            f"its {kind} space{where} is incomplete or contradicts itself ({error})."
        ) from error


def _json_box(values: Settings) -> spaces.Space[Any]:
    dtype: Any = np.dtype(str(values["dtype"]))
    shape = counts(values["shape"], 0)
    if dtype.kind not in "biuf" or dtype.shape:
        raise ValueError(f"the type {dtype}")
    low, high = (bound_from_json(values[name], shape, dtype) for name in ("low", "high"))
    if np.isnan(low).any() or np.isnan(high).any() or (low > high).any():
        raise ValueError("bounds that aren't in order")
    return spaces.Box(low, high, shape, dtype.type)


def _json_multi_binary(values: Settings) -> spaces.Space[Any]:
    n = counts(values["n"])
    return spaces.MultiBinary(n if len(n) > 1 else n[0])


def _json_multi_discrete(values: Settings) -> spaces.Space[Any]:
    nvec = np.asarray(values["nvec"], np.int64)
    counts(nvec.ravel().tolist())
    return spaces.MultiDiscrete(nvec)


def _json_dict(values: Settings) -> spaces.Space[Any]:
    return spaces.Dict({str(k): space_from_json(s, inside=str(k)) for k, s in values["spaces"].items()})


def counts(value: Any, least: int = 1) -> tuple[int, ...]:
    """Whole numbers of which there aren't too many."""
    found: tuple[int, ...] = read(tuple[int, ...], value)
    if any(n < least for n in found) or len(found) > MOST_AXES or math.prod(found) > MOST_NUMBERS:
        raise ValueError(f"the sizes {show(value)}")
    return found


_JSON_BUILDERS: dict[str, Callable[[Settings], spaces.Space[Any]]] = {
    "Box": _json_box,
    "Discrete": lambda values: spaces.Discrete(
        read(Choices, values["n"]), start=read(Start, values.get("start", 0))
    ),
    "MultiDiscrete": _json_multi_discrete,
    "MultiBinary": _json_multi_binary,
    "Dict": _json_dict,
}


def bound_to_json(bound: NDArray[Any]) -> Any:
    """A Box's bound, of any shape: one number where all are equal, else one per element in C order."""
    numbers = [value if math.isfinite(value) else str(value) for value in bound.ravel().tolist()]
    return numbers[0] if numbers and all(n == numbers[0] for n in numbers) else numbers


def bound_from_json(value: Any, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Inverse of ``bound_to_json``.

    Args:
        value: A number for all elements, or one per element in C order.
        shape: The space's shape.
        dtype: Its type.

    Returns:
        Shape: as asked.
    """
    listed = np.array([float(v) for v in value]) if isinstance(value, list) else None
    numbers = np.full(shape, float(value)) if listed is None else listed
    with np.errstate(over="ignore", invalid="ignore"):
        bound = numbers.reshape(shape).astype(dtype)
    if (np.isfinite(numbers.reshape(shape)) & ~np.isfinite(bound)).any():
        raise ValueError(f"bounds that {dtype} can't hold")
    return bound
