"""Pickles read as data: what they would have called is recorded by its name, and nothing is called.

SB3 keeps spaces, classes and a ``VecNormalize`` as pickles, which run whatever they name when loaded. Here
every name becomes a `Called`, so that a file of any age, and of anybody, can be read: it needs none of the
modules that it names, and runs none of them.
"""

import io
import pickle
import pickletools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError

MOST_PARTS = 5_000_000
"""Most values that a pickle may build, shared ones counted wherever they are."""
LARGEST = 1 << 28
"""Most bytes of a pickle that is read."""

_FAILURES = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What Python's unpickler raises about a pickle that is damaged or made by hand."""


@dataclass(eq=False)
class Called:
    """A name in a pickle with what it was to be called with."""

    name: str
    """Module and name, such as ``gymnasium.spaces.box.Box``."""
    args: tuple[Any, ...] = ()
    """Arguments of the call."""
    state: Any = None
    """What ``__setstate__`` was to get."""
    items: list[Any] = field(default_factory=list)
    """What was to be appended; pairs of key and value for a mapping."""

    def attributes(self) -> dict[str, Any]:
        """Attributes of the object that it stands for; empty where its state is of another kind."""
        state = self.state
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict | None):
            state = (state[0] or {}) | (state[1] if isinstance(state[1], dict) else {})
        return dict(state) if isinstance(state, dict) else {}


class _Recorder:
    """Stands for one name: a class, for the unpickler, whose instances keep what they are given."""

    named = ""

    def __new__(cls, *args: Any, **_: Any) -> Any:
        """Record a call."""
        made = object.__new__(cls)
        made.called = Called(cls.named, args)
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        self.called: Called

    def __call__(self, *args: Any, **_: Any) -> "_Recorder":
        """Record the call of something that was made by a call."""
        made: _Recorder = type(self)(*args)
        return made

    def __setstate__(self, state: Any) -> None:
        """Record a state."""
        self.called.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Record an item of a mapping."""
        self.called.items.append((key, value))

    def append(self, value: Any) -> None:
        """Record an item of a list."""
        self.called.items.append(value)

    def extend(self, values: Iterable[Any]) -> None:
        """Record items of a list."""
        self.called.items.extend(values)


class _Reader(pickle.Unpickler):
    def __init__(
        self,
        content: bytes,
        allowed: Mapping[str, Sequence[str]] | None,
        persistent: Callable[[Any], None] | None,
    ) -> None:
        super().__init__(io.BytesIO(content))
        self.allowed, self.persistent = allowed, persistent

    def persistent_load(self, pid: Any) -> None:
        """Note what is to be found beside the pickle."""
        if self.persistent is None:
            raise pickle.UnpicklingError("it refers to something outside")
        self.persistent(_plain(pid, {}))

    def find_class(self, module: str, name: str) -> type[_Recorder]:
        """Give a class that records, whatever the name."""
        if self.allowed is not None and name not in self.allowed.get(module, ()):
            raise WarmstartError(f"it refers to {module}.{name}")
        return type("Recorder", (_Recorder,), {"named": f"{module}.{name}"})


def read_pickle(
    content: bytes,
    allowed: Mapping[str, Sequence[str]] | None = None,
    persistent: Callable[[Any], None] | None = None,
) -> Any:
    """Read a pickle as data.

    Args:
        content: The file.
        allowed: Names by module that it may refer to; any by default, since none is called.
        persistent: Gets what the pickle says of each thing outside, in whose place None stands; by default
            there may be none.

    Returns:
        What it holds: Python's own values, arrays and NumPy's numbers as they are, all else as `Called`.

    Raises:
        WarmstartError: It is damaged, too large, no pickle, or refers to a name that isn't allowed.
    """
    if len(content) > LARGEST:
        raise WarmstartError(f"it has {len(content):,} bytes, more than {LARGEST:,}")
    try:
        check_growth(content, len(content))
        return _plain(_Reader(content, allowed, persistent).load(), {})
    except WarmstartError:
        raise
    except _FAILURES as error:
        raise WarmstartError(f"not a whole pickle ({str(error) or type(error).__name__})") from error


def check_growth(content: bytes | BinaryIO, most: int) -> None:
    """See that a pickle doesn't build far more than it has bytes: shared parts may double it at each step.

    Follows the opcodes with sizes in place of the values on the unpickler's stack, in cells that stay the
    same where a value is changed; None is a mark.

    Args:
        content: The pickle, or a file at its beginning, which is read to its end.
        most: Most parts that it may number.

    Raises:
        WarmstartError: It does, or numbers more.
        ValueError: It is damaged, or as `_FAILURES`.
    """
    stack: list[list[int] | None] = []
    memo: dict[int, list[int]] = {}
    for count, (opcode, argument, _) in enumerate(_opcodes(content)):
        name, before = opcode.name, opcode.stack_before
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if place > most or not stack or stack[-1] is None:
                raise WarmstartError(f"it names its part {place:,}, of which it can't have so many")
            memo[place] = stack[-1]
            continue
        if name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
            continue
        popped: list[list[int]] = []
        marked = pickletools.markobject in before
        if marked or (name == "POP" and stack and stack[-1] is None):
            while (item := stack.pop()) is not None:
                popped.append(item)
            before = before[: before.index(pickletools.markobject)] if marked else []
        for _ in before:
            if (item := stack.pop()) is None:
                raise pickle.UnpicklingError("a mark in place of a value")
            popped.append(item)
        size = 1 + sum(cell[0] for cell in popped)
        if size > MOST_PARTS or count > MOST_PARTS:
            raise WarmstartError(f"it builds more than {MOST_PARTS:,} values")
        if name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"):
            popped[-1][0] = size
            stack.append(popped[-1])
            continue
        stack += [None if kind is pickletools.markobject else [size] for kind in opcode.stack_after]


def _opcodes(content: bytes | BinaryIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in texts of old protocols
        yield from pickletools.genops(content)


def _plain(value: Any, known: dict[int, tuple[Any, Any]]) -> Any:
    """The value with `Called` and arrays in place of recorders.

    Args:
        value: As the unpickler gave it.
        known: By ``id``, what was met before (kept alive) and what it became: references stay references.
    """
    if isinstance(value, type) and issubclass(value, _Recorder):
        return Called(value.named)
    if id(value) in known:
        return known[id(value)][1]
    if isinstance(value, _Recorder):
        original = value.called
        called = Called(original.name)
        known[id(value)] = (value, called)
        called.args = _plain(original.args, known)
        called.state = _plain(original.state, known)
        called.items = _plain(original.items, known)
        out = _numpy(called)
    elif isinstance(value, dict):
        out = {}
        known[id(value)] = (value, out)
        for key, item in value.items():
            out[key.called.name if isinstance(key, _Recorder) else key] = _plain(item, known)
    elif isinstance(value, list):
        out = []
        known[id(value)] = (value, out)
        out.extend(_plain(item, known) for item in value)
    elif isinstance(value, tuple | set | frozenset):
        out = type(value)(_plain(item, known) for item in value)
    else:
        return value
    known[id(value)] = (value, out)
    return out


def _numpy(called: Called) -> Any:
    """The array, number or type that a call of NumPy's stands for; the call itself where it is another's."""
    module, _, name = called.name.rpartition(".")
    if called.name == "_codecs.encode" and called.args:
        return str(called.args[0]).encode(str(called.args[1]) if len(called.args) > 1 else "utf-8")
    if module in ("builtins", "__builtin__") and name in ("bytes", "bytearray"):
        return bytes(*called.args) if all(isinstance(item, bytes) for item in called.args) else called
    if called.name in ("copyreg._reconstructor", "copy_reg._reconstructor") and called.args:
        return Called(_name_of(called.args[0]), (), called.state, called.items)
    if not module.startswith("numpy"):
        return called
    if name == "dtype" and called.args:
        return _dtype(called)
    if name == "scalar" and len(called.args) == 2:
        return _array(called.args[1], called.args[0], ())[()]
    if name == "_frombuffer":
        content, dtype, shape, *order = called.args
        return _array(content, dtype, shape, order[:1] == ["F"])
    if name == "_reconstruct" and isinstance(called.state, tuple):
        *_, shape, dtype, fortran, content = called.state
        if not isinstance(dtype, np.dtype):
            return called
        return _array(content, dtype, shape, bool(fortran))
    return called


def _dtype(called: Called) -> np.dtype[Any] | Called:
    code = called.args[0]
    if isinstance(code, Called):
        code = code.name.rpartition(".")[2]
    order: Any = called.state[1] if isinstance(called.state, tuple) and len(called.state) > 1 else "|"
    found = np.dtype(str(code))
    if found.kind not in "biuf":
        return called
    return found.newbyteorder(order) if order in ("<", ">") else found


def _array(content: Any, dtype: Any, shape: Any, fortran: bool = False) -> NDArray[Any]:
    """The array of some bytes.

    Raises:
        ValueError: They aren't numbers, or not as many as the shape says.
    """
    if not isinstance(dtype, np.dtype) or not isinstance(content, bytes | bytearray):
        raise ValueError("an array of something other than numbers")
    if any(not isinstance(n, int) or n < 0 for n in shape):
        raise ValueError(f"an array of the shape {shape}")
    flat = np.frombuffer(bytes(content), dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def _name_of(value: Any) -> str:
    return value.name if isinstance(value, Called) else str(value)
