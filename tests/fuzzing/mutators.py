"""Ways to damage a file, blindly or knowing its format: each takes chance and bytes, and gives bytes."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

Mutator = Callable[[Random, bytes], bytes]

CANARY = Path(tempfile.gettempdir(), f"warmstart-canary-{os.getpid():07}")
"""Folder that appears where a bomb in a file was executed: each process has its own."""
BOMB = b"cposix\nmkdir\n(V" + str(CANARY).encode() + b"\ntR."
"""A pickle that makes the folder when it is loaded."""
NUMBERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    65535,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    1 << 62,
)
NUMBERS += ((1 << 63) - 1, 1 << 63, (1 << 64) - 1)
"""Numbers at which readers of lengths and shapes stumble."""
SCALARS = (
    "",
    "0",
    "-0",
    "-1",
    "1e999",
    "-1e999",
    "1e-999",
    "1_000",
    "0x10",
    "1" * 400,
    "9" * 5000,
    "nan",
    "NaN",
)
SCALARS += (
    "inf",
    "Infinity",
    "-.inf",
    "null",
    "~",
    "true",
    "no",
    "[]",
    "{}",
    "[[]]",
    "[1, [2]]",
    "{a: 1}",
    '""',
)
SCALARS += (
    "x" * 3000,
    "..",
    "../../etc/passwd",
    "/dev/zero",
    "a\u0000b",
    "\u202e",
    "é",
    "٣",
    "1.5",
    "2.5e3",
    "x0.5",
)
SCALARS += (
    "9223372036854775808",
    "1e308",
    "4.9e-324",
    "2023-01-01",
    "*",
    "&a",
    "*a",
    "!!python/name:os.system",
)
SCALARS += (
    "- 1",
    "? 1",
    "|",
    ">",
    "'",
    '"',
    "<<: *a",
    "[" * 300,
    "{" * 300,
    "\\ud800",
    "%TAG ! a",
    "minari:x/y-v0",
)
SCALARS += ("1, 2", "a=b", "@gravity=x1", "Hopper-v5", "no_module:X-v0", "uniform(0, 1)", "x0.5:x2", "1:0")
"""Texts that stand in for a value."""
JSONS = (
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "NaN",
    "Infinity",
    "1" * 5000,
    "1e308",
    "-0.0",
    '"text"',
    '""',
    "[]",
    "{}",
)
JSONS += (
    "[[1], 2]",
    '{"a": 1}',
    '"\\ud800"',
    '"\\u0000"',
    "[" * 70 + "]" * 70,
    '{"a":1,"a":2}',
    f'"{"x" * 3000}"',
)
JSONS += (
    "4611686018427387904",
    "1.5",
    '"../.."',
    "[NaN]",
    '["a"]',
    "[0]",
    "[-1]",
    "[1099511627776, 1099511627776]",
)
"""Texts that stand in for a value in JSON."""


def flip(rng: Random, data: bytes) -> bytes:
    """Change one to four bits."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def poke(rng: Random, data: bytes) -> bytes:
    """Put a number of 1, 2, 4 or 8 bytes somewhere."""
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(NUMBERS) if rng.random() < 0.7 else max(0, len(data) + rng.randrange(-2, 3))
    place = rng.randrange(max(1, len(data)))
    word = (number % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))
    return data[:place] + word + data[place + size :]


def cut(rng: Random, data: bytes) -> bytes:
    """Leave out the end, or a part in the middle."""
    start = rng.randrange(len(data) + 1)
    if rng.random() < 0.5:
        return data[:start]
    return data[:start] + data[start + rng.randrange(1, 64) :]


def repeat(rng: Random, data: bytes) -> bytes:
    """Repeat a part, there or elsewhere."""
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.randrange(1, 256)]
    place = rng.randrange(len(data) + 1)
    return data[:place] + part * rng.choice((1, 1, 2, 20)) + data[place:]


def insert(rng: Random, data: bytes) -> bytes:
    """Put odd bytes somewhere."""
    place = rng.randrange(len(data) + 1)
    odd = rng.choice(
        (b"\0" * 8, b"\xff" * 8, b"\xed\xa0\x80", b"\xef\xbb\xbf", b"PK\x03\x04", b"\n", b"\r", b"\t")
    )
    return data[:place] + odd + data[place:]


def join(rng: Random, data: bytes) -> bytes:
    """Put the end of the file behind another of its parts."""
    a, b = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    return data[:a] + data[b:]


BLIND: tuple[Mutator, ...] = (flip, flip, poke, poke, cut, repeat, insert, join)


def edit_text(rng: Random, data: bytes) -> bytes:
    """Replace a word, a number or a line's value; put an odd one in; leave out, repeat or exchange lines."""
    text = data.decode("utf-8", "replace")
    what = rng.randrange(5)
    if what == 0:
        lines = text.split("\n")
        a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
        how = rng.randrange(4)
        if how == 0:
            del lines[a]
        elif how == 1:
            lines.insert(b, lines[a])
        elif how == 2:
            lines[a], lines[b] = lines[b], lines[a]
        else:
            lines[a] = " " * rng.randrange(1, 5) + lines[a] if rng.random() < 0.5 else lines[a][1:]
        text = "\n".join(lines)
    elif what == 1:
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice(SCALARS) + text[place:]
    elif what == 2:
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice("[]{}()<>=:;,@\"'\\&*!|%#?-+~ .x\n\t0_e") + text[place:]
    else:
        pattern = r"[\w.+-]+" if what == 3 else r"(?<=[:=,\[]) ?[^\s,:=\]]+"
        found = list(re.finditer(pattern, text))
        if found:
            one = rng.choice(found)
            text = text[: one.start()] + rng.choice(SCALARS) + text[one.end() :]
    return text.encode("utf-8", "replace")


def edit_json(rng: Random, data: bytes) -> bytes:
    """Replace, leave out, rename or repeat one value of a JSON text, or of one of its lines."""
    lines = data.split(b"\n") if data.count(b"\n{") else [data]
    index = rng.randrange(len(lines))
    try:
        value = json.loads(lines[index])
    except (ValueError, RecursionError):
        return edit_text(rng, data)
    lines[index] = _edited(rng, value)
    return b"\n".join(lines)


def _keys(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()


def _edited(rng: Random, value: Any) -> bytes:
    """Plain data as JSON with one change."""
    places: list[tuple[Any, Any]] = []
    if rng.random() < 0.5:  # all alike
        waiting = [value]
        while waiting and len(places) < 5000:
            inner = waiting.pop()
            places += [(inner, key) for key in _keys(inner)]
            waiting += [inner[key] for key in _keys(inner)]
    else:  # on one way down, so that a long list doesn't drown what stands beside it
        inner = value
        while keys := _keys(inner):
            places.append((inner, rng.choice(keys)))
            inner = places[-1][0][places[-1][1]]
    if not places:
        return rng.choice(JSONS).encode()
    holder, key = rng.choice(places)
    how, mark = rng.randrange(8), "a place to be filled"
    if how < 5:
        holder[key] = mark
    elif how == 5:
        del holder[key]
    elif isinstance(holder, dict):
        holder[rng.choice((key + "x", "", key.upper(), "__class__", "\x00", "x" * 2000))] = holder[key]
    else:
        holder[:] = holder * rng.choice((2, 3, 40))
    return json.dumps(value).replace(f'"{mark}"', rng.choice(JSONS)).encode()


def mutate(rng: Random, seeds: Sequence[bytes], ways: Sequence[Mutator], most: int = 3) -> bytes:
    """One to three changes of a seed; once in a while it stays, or is joined with another."""
    data = rng.choice(seeds)
    for _ in range(rng.randrange(0, most) + (rng.random() < 0.98)):
        data = rng.choice(ways)(rng, data)
    if rng.random() < 0.02:
        other = rng.choice(seeds)
        data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]
    return data
