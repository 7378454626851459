"""The texts beside an ONNX model, read without the onnx package: one field of a protobuf message.

``ModelProto.metadata_props`` is field 14, of messages with a key (1) and a value (2); the graph is field 7
(onnx/onnx.proto). Every other field is stepped over.
"""

from collections.abc import Iterator
from pathlib import Path

from warmstart.core.errors import WarmstartError
from warmstart.core.files import read_bytes

MOST_BYTES, MOST_ENTRIES, MOST_FIELDS = 1 << 30, 10_000, 100_000
"""Largest file that is read, most texts in it, and most fields of a message."""
GRAPH, METADATA, KEY, VALUE = 7, 14, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
LONGEST_VARINT = 10
"""Bytes of the longest number."""


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of an ONNX model.

    Raises:
        FileNotFoundError: It isn't there.
        WarmstartError: It is truncated, too large or no ONNX model.
    """
    content = memoryview(read_bytes(path, MOST_BYTES))
    found: dict[str, str] = {}
    numbers = set()
    try:
        for number, value in _fields(content):
            numbers.add(number)
            if number != METADATA:
                continue
            entry = {part: bytes(text).decode() for part, text in _fields(value) if part in (KEY, VALUE)}
            found[entry.get(KEY, "")] = entry.get(VALUE, "")
            if len(found) > MOST_ENTRIES:
                raise ValueError(f"more than {MOST_ENTRIES:,} texts")
        if GRAPH not in numbers:
            raise ValueError("it has no graph")
    except ValueError as error:  # of decode, too
        raise WarmstartError(f"{path} is truncated or no ONNX model: {error}.") from None
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field; numbers are stepped over.

    Raises:
        ValueError: The message ends inside a field, or holds a kind of field that protobuf gave up.
    """
    at = count = 0
    while at < len(message):
        count += 1
        if count > MOST_FIELDS:
            raise ValueError(f"more than {MOST_FIELDS:,} fields")
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise ValueError(f"a field of the kind {kind}")
        if number == 0 or size > len(message) - at:
            raise ValueError(f"field {number} has {size:,} bytes, and {len(message) - at:,} are left")
        if kind == _BYTES:
            yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for index, byte in enumerate(message[at : at + LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("a number doesn't end")
