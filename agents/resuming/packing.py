"""Nested plain values with arrays and tensors, as bytes that are read without running anything.

One safetensors file: arrays and tensors as such, everything around them as JSON in its metadata. What comes
back has the same types: tuples, numbers of NumPy, dictionaries with keys that aren't strings.
"""

import base64
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError

_KIND = "kind of value"
"""Key of a JSON object that stands for something JSON hasn't got."""


def pack(state: State) -> bytes:
    """Write values as bytes.

    Raises:
        WarmstartError: One is of a type that isn't plain; says where it is.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = _packed(state, "state", tensors)
    return save(tensors, {"state": json.dumps(plain)})


def unpack(content: bytes) -> State:
    """Read what `pack` wrote.

    Raises:
        WarmstartError: The bytes are something else, or damaged.
    """
    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        plain = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["state"])
        found: State = _unpacked(plain, tensors)
    except Exception as error:  # noqa: BLE001 (bytes can be wrong in any way)
        raise WarmstartError(f"It isn't a training state, or is damaged: {error}") from None
    return found


def _packed(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The JSON that stands for a value; arrays go into `tensors`."""
    if value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
        return value
    if isinstance(value, torch.Tensor | np.ndarray):
        return _array(value, place, tensors)
    if isinstance(value, np.generic):
        return {_KIND: "number", "dtype": value.dtype.str, "bytes": _text(value.tobytes())}
    if isinstance(value, bytes | bytearray):
        return {_KIND: "bytes", "bytes": _text(bytes(value))}
    if isinstance(value, np.random.Generator):
        kept = dict(value.bit_generator.state)
        return {_KIND: "generator", "state": _packed(kept, place, tensors)}
    items: list[Any]
    if isinstance(value, list | tuple | deque):
        items = [_packed(each, f"{place}[{i}]", tensors) for i, each in enumerate(value)]
        if type(value) is list:
            return items
        most = value.maxlen if isinstance(value, deque) else None
        return {_KIND: "deque" if isinstance(value, deque) else "tuple", "items": items, "most": most}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and _KIND not in value:
            return {key: _packed(each, f"{place}.{key}", tensors) for key, each in value.items()}
        items = [
            [_packed(key, place, tensors), _packed(each, f"{place}[{key!r}]", tensors)]
            for key, each in value.items()
        ]
        return {_KIND: "dict", "items": items}
    raise WarmstartError(f"{place} is a {type(value).__name__}, which isn't kept in a training state.")


def _array(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> State:
    name = str(len(tensors))
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise WarmstartError(f"{place} is an array of objects, which isn't kept in a training state.")
        # 0-d arrays would otherwise become 1-d
        tensors[name] = torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape).copy())
        return {_KIND: "array", "name": name}
    tensors[name] = value.detach().cpu().contiguous().clone()
    return {_KIND: "tensor", "name": name}


def _unpacked(plain: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(plain, list):
        return [_unpacked(each, tensors) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if _KIND not in plain:
        return {key: _unpacked(each, tensors) for key, each in plain.items()}
    return _READERS[plain[_KIND]](plain, tensors)


_READERS: dict[str, Callable[[State, dict[str, torch.Tensor]], Any]] = {
    "tensor": lambda plain, tensors: tensors[plain["name"]].clone(),
    "array": lambda plain, tensors: tensors[plain["name"]].clone().numpy(),
    "number": lambda plain, _: np.frombuffer(_bytes(plain["bytes"]), np.dtype(plain["dtype"]))[0],
    "bytes": lambda plain, _: _bytes(plain["bytes"]),
    "generator": lambda plain, tensors: _generator(_unpacked(plain["state"], tensors)),
    "tuple": lambda plain, tensors: tuple(_unpacked(plain["items"], tensors)),
    "deque": lambda plain, tensors: deque(_unpacked(plain["items"], tensors), plain["most"]),
    "dict": lambda plain, tensors: {
        _unpacked(key, tensors): _unpacked(value, tensors) for key, value in plain["items"]
    },
}


def _generator(state: State) -> np.random.Generator:
    """A generator in a state."""
    kinds = (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
    bits = next(kind for kind in kinds if kind.__name__ == state["bit_generator"])()
    bits.state = state  # type: ignore[assignment]
    return np.random.Generator(bits)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
