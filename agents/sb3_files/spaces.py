"""Spaces out of the pickles that any version of stable-baselines3 wrote."""

from typing import Any

import numpy as np
from gymnasium import spaces

from warmstart.agents.checkpoints.spaces import INCONSISTENT, KINDS, counts
from warmstart.agents.untrusted.pickles import Called
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError

ATTRIBUTES = {"shape": ("_shape", "shape"), "n": ("n",), "start": ("start",), "nvec": ("nvec",)}
"""What an attribute is called, the newest first: ``_shape`` since gym 0.21."""


def space_of(value: Any, *, inside: str = "") -> spaces.Space[Any]:
    """Build a space.

    Args:
        value: What `read_pickle` gave for it.
        inside: Name of the Dict's member that it is, for messages.

    Raises:
        WarmstartError: It is no space, of another kind, nested, or inconsistent.
    """
    where = f" under {inside!r}" if inside else ""
    name = value.name if isinstance(value, Called) else type(value).__name__
    library, _, kind = name.partition(".")[0], *name.rpartition(".")[1:]
    if library not in ("gym", "gymnasium") or ".spaces." not in name or kind not in KINDS:
        raise WarmstartError(f"it has a space of the class {name}{where}; expected {', '.join(KINDS)}")
    if kind == "Dict" and inside:
        raise WarmstartError(f"it has a Dict space{where}; expected a flat Dict")
    attributes = value.attributes()
    try:
        return _BUILDERS[kind](attributes)
    except WarmstartError:
        raise
    except INCONSISTENT as error:
        raise WarmstartError(
            f"its {kind} space{where} is incomplete or contradicts itself ({error})"
        ) from error


def _first(attributes: Settings, name: str) -> Any:
    for known in ATTRIBUTES[name]:
        if attributes.get(known) is not None:
            return attributes[known]
    raise KeyError(name)


def _dtype(value: Any) -> Any:
    """A NumPy type: old versions of gym kept the class ``numpy.float32``."""
    return np.dtype(value.name.rpartition(".")[2] if isinstance(value, Called) else value).type


def _box(attributes: Settings) -> spaces.Space[Any]:
    low, high = (np.asarray(attributes[name]) for name in ("low", "high"))
    shape = tuple(int(n) for n in _first(attributes, "shape"))
    if not shape == low.shape == high.shape or low.dtype.kind not in "biuf":
        raise ValueError(f"the shape {shape} with bounds of {low.shape} and {high.shape}")
    dtype = _dtype(attributes["dtype"])
    return spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype)


def _discrete(attributes: Settings) -> spaces.Space[Any]:
    return spaces.Discrete(int(_first(attributes, "n")), start=int(attributes.get("start") or 0))


def _multi_discrete(attributes: Settings) -> spaces.Space[Any]:
    start = attributes.get("start")
    return spaces.MultiDiscrete(np.asarray(_first(attributes, "nvec"), np.int64), start=start)


def _multi_binary(attributes: Settings) -> spaces.Space[Any]:
    n = np.asarray(_first(attributes, "n"), np.int64)
    counts(np.atleast_1d(n).ravel().tolist())
    return spaces.MultiBinary(int(n) if n.ndim == 0 else n.tolist())


def _dict(attributes: Settings) -> spaces.Space[Any]:
    members = attributes["spaces"]
    pairs = members.items if isinstance(members, Called) else members.items()
    if (
        isinstance(members, Called) and members.args
    ):  # an OrderedDict of old protocols: its pairs are arguments
        pairs = members.args[0]
    return spaces.Dict({str(key): space_of(member, inside=str(key)) for key, member in pairs})


_BUILDERS = {
    "Box": _box,
    "Discrete": _discrete,
    "MultiDiscrete": _multi_discrete,
    "MultiBinary": _multi_binary,
    "Dict": _dict,
}
