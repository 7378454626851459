"""Nested plain values with arrays and tensors, as bytes that are read without running anything.

One safetensors file: arrays and tensors as such, everything around them as JSON in its metadata. What comes
back has the same types: tuples, numbers of NumPy, dictionaries with keys that aren't strings. A large array
can be given to somebody else in blocks, so that those that didn't change aren't written again.
"""

import base64
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError

_KIND = "kind of value"
"""Key of a JSON object that stands for something JSON hasn't got."""
BLOCK = 1 << 20
"""Bytes of a block."""
Keep = Callable[[memoryview], str]
"""Keeps a block, and gives the name by which `Fetch` finds it again."""
Fetch = Callable[[str], bytes]


def pack(state: State, keep: Keep | None = None) -> bytes:
    """Write values as bytes.

    Args:
        state: The values.
        keep: Takes the blocks of arrays of more than one; None to have everything in the bytes.

    Raises:
        WarmstartError: One is of a type that isn't plain; says where it is.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = _Packing(tensors, keep).packed(state, "state")
    return save(tensors, {"state": json.dumps(plain)})


def unpack(content: bytes, fetch: Fetch | None = None) -> State:
    """Read what `pack` wrote.

    Args:
        content: The bytes.
        fetch: Gives the blocks that were kept, by their names.

    Raises:
        WarmstartError: The bytes are something else, or damaged.
    """
    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        plain = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["state"])
        found: State = _Unpacking(tensors, fetch).unpacked(plain)
    except Exception as error:  # noqa: BLE001 (bytes can be wrong in any way)
        raise WarmstartError(f"It isn't a training state, or is damaged: {error}") from None
    return found


class _Packing:
    def __init__(self, tensors: dict[str, torch.Tensor], keep: Keep | None) -> None:
        self.tensors, self.keep = tensors, keep

    def packed(self, value: Any, place: str) -> Any:
        """The JSON that stands for a value; arrays go into the tensors, or to `keep`."""
        if value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
            return value
        if isinstance(value, torch.Tensor | np.ndarray):
            return self._array(value, place)
        if isinstance(value, np.generic):
            return {_KIND: "number", "dtype": value.dtype.str, "bytes": _text(value.tobytes())}
        if isinstance(value, bytes | bytearray):
            return {_KIND: "bytes", "bytes": _text(bytes(value))}
        if isinstance(value, np.random.Generator):
            return {_KIND: "generator", "state": self.packed(dict(value.bit_generator.state), place)}
        items: list[Any]
        if isinstance(value, list | tuple | deque):
            items = [self.packed(each, f"{place}[{i}]") for i, each in enumerate(value)]
            if type(value) is list:
                return items
            most = value.maxlen if isinstance(value, deque) else None
            return {_KIND: "deque" if isinstance(value, deque) else "tuple", "items": items, "most": most}
        if isinstance(value, set | frozenset):
            items = sorted((self.packed(each, place) for each in value), key=json.dumps)
            return {_KIND: type(value).__name__, "items": items}
        if isinstance(value, dict):
            if all(isinstance(key, str) for key in value) and _KIND not in value:
                return {key: self.packed(each, f"{place}.{key}") for key, each in value.items()}
            items = [
                [self.packed(key, place), self.packed(each, f"{place}[{key!r}]")]
                for key, each in value.items()
            ]
            return {_KIND: "dict", "items": items}
        raise WarmstartError(f"{place} is a {type(value).__name__}, which isn't kept in a training state.")

    def _array(self, value: Any, place: str) -> State:
        name = str(len(self.tensors))
        if isinstance(value, torch.Tensor):
            self.tensors[name] = value.detach().cpu().contiguous().clone()
            return {_KIND: "tensor", "name": name}
        if value.dtype.hasobject:
            items = [self.packed(each, place) for each in value.ravel().tolist()]
            return {_KIND: "objects", "shape": list(value.shape), "items": items}
        if self.keep is not None and value.nbytes > BLOCK:
            content = np.ascontiguousarray(value).data.cast("B")
            blocks = [self.keep(content[i : i + BLOCK]) for i in range(0, len(content), BLOCK)]
            return {_KIND: "blocks", "dtype": value.dtype.str, "shape": list(value.shape), "blocks": blocks}
        # 0-d arrays would otherwise become 1-d
        self.tensors[name] = torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape).copy())
        return {_KIND: "array", "name": name}


class _Unpacking:
    def __init__(self, tensors: dict[str, torch.Tensor], fetch: Fetch | None) -> None:
        self.tensors, self.fetch = tensors, fetch

    def unpacked(self, plain: Any) -> Any:
        if isinstance(plain, list):
            return [self.unpacked(each) for each in plain]
        if not isinstance(plain, dict):
            return plain
        if _KIND not in plain:
            return {key: self.unpacked(each) for key, each in plain.items()}
        kind = plain[_KIND]
        if kind in _COLLECTIONS:
            items = self.unpacked(plain["items"])
            return deque(items, plain["most"]) if kind == "deque" else _COLLECTIONS[kind](items)
        if kind in ("tensor", "array"):
            tensor = self.tensors[plain["name"]].clone()
            return tensor if kind == "tensor" else tensor.numpy()
        if kind == "blocks":
            return self._joined(plain)
        if kind == "objects":
            objects = np.empty(len(plain["items"]), dtype=object)
            objects[:] = self.unpacked(plain["items"])
            return objects.reshape(plain["shape"])
        if kind == "number":
            return np.frombuffer(_bytes(plain["bytes"]), np.dtype(plain["dtype"]))[0]
        if kind == "bytes":
            return _bytes(plain["bytes"])
        if kind == "generator":
            return _generator(self.unpacked(plain["state"]))
        raise WarmstartError(f"{kind!r} is no {_KIND}")

    def _joined(self, plain: State) -> NDArray[Any]:
        """An array from its blocks."""
        if self.fetch is None:
            raise WarmstartError("its blocks aren't here")
        content = b"".join(map(self.fetch, plain["blocks"]))
        return np.frombuffer(bytearray(content), np.dtype(plain["dtype"])).reshape(plain["shape"])


_COLLECTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "deque": deque,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
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
