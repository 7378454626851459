"""Damaged and hostile variants of files: what a loader has to end in a message at."""

import copy
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from warmstart.core.errors import WarmstartError

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
ODD: dict[str, Any] = {
    "null": None,
    "text": "text",
    "list": [],
    "ragged": [1, [2, "x"]],
    "object": {"a": 1},
    "negative": -1,
    "large": 1e300,
    "endless": 10**400,
    "true": True,
    "nan": float("nan"),
    "deep": DEEP,
    "half of a pair": "\ud800",
}
"""Values that stand in for another."""


def json_variants(data: Any, depth: int = 20) -> Iterator[tuple[str, Any]]:
    """Copies of plain data in which one value is missing or odd, with what was done.

    Of a list its first item stands for all; values that lie deeper than `depth` keys stay.
    """
    for place in (place for place in _places(data) if len(place) <= depth):
        for name, odd in {"missing": None, **ODD}.items():
            changed = copy.deepcopy(data)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            if name == "missing":
                del inner[place[-1]]
            else:
                inner[place[-1]] = odd
            yield f"{'.'.join(map(str, place))}: {name}", changed


def _places(data: Any) -> Iterator[tuple[Any, ...]]:
    keys = (
        list(data) if isinstance(data, dict) else range(min(1, len(data))) if isinstance(data, list) else ()
    )
    for key in keys:
        yield (key,)
        for inner in _places(data[key]):
            yield (key, *inner)


def _rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(change(path.read_bytes())), None)[1]


def _link(target: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return link


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1 << 40)


FILES: dict[str, Callable[[Path], None]] = {
    "empty": _rewritten(lambda content: b""),
    "half": _rewritten(lambda content: content[: len(content) // 2]),
    "no text": _rewritten(lambda content: b"\xff\xfe\x00" + content),
    "null": _rewritten(lambda content: b"null"),
    "number": _rewritten(lambda content: b"1" * 10_000),
    "brackets": _rewritten(lambda content: b"[" * 1_000_000),
    "folder": _folder,
    "endless device": _link("/dev/zero"),
    "link to itself": lambda path: _link(path.name)(path),
    "pipe": _pipe,
    "1 TB": _sparse,
}
"""What may have happened to a whole file."""


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, NaN included."""
    path.write_text(json.dumps(data), encoding="utf-8")


def ends_in_a_message(use: Callable[[], object], names: str, what: str) -> bool:
    """See that a use succeeds, or ends within 20 s in a message that names something.

    Args:
        use: Reads what was damaged.
        names: What a message must name: a regular expression.
        what: What was done, for the failure.

    Returns:
        Whether it ended in a message.
    """

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        use()
    except WarmstartError as error:
        message = str(error)
        assert re.search(names, message), f"{what}: the message doesn't name {names}: {message}"
        assert len(message) < 2_000, f"{what}: {len(message)} characters"
        return True
    except Exception as error:  # noqa: BLE001 (any other error is the fault that is looked for)
        pytest.fail(f"{what}: {type(error).__name__}: {str(error)[:300]}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return False
