"""Files: written entirely or not at all, as JSON in one form, hashed; and a full disk told as one."""

import errno
import hashlib
import json
import math
import os
import stat
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError

MOST_BYTES = 1 << 28
"""Most bytes of a file of text, JSON or YAML that are read."""
MOST_DEPTH = 64
"""Most brackets inside one another in a JSON file."""


class DiskFullError(WarmstartError):
    """No space is left to write to."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The disk is full: {path} could not be written. Nothing recorded is lost: free some space "
            "and run the same command again, it continues."
        )


def canonical_json(data: Any) -> str:
    """Write plain data as JSON in one way only: sorted keys, no spaces, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def json_hash(data: Any) -> str:
    """sha256 of plain data."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file, which is no device or pipe."""
    with check_file(path, sys.maxsize).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """sha256 of a file, or of a folder's files by name, without Python's caches."""
    if path.is_file():
        return file_hash(path)
    digest = hashlib.sha256()
    for file in sorted(
        item for item in path.rglob("*") if item.is_file() and "__pycache__" not in item.parts
    ):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(bytes.fromhex(file_hash(file)))
    return digest.hexdigest()


def without_numpy(state: Any) -> Any:
    """Plain data from a state that holds NumPy's types: its arrays as lists."""
    if isinstance(state, Mapping):
        return {str(key): without_numpy(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [without_numpy(value) for value in state]
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state


def finite_json(value: Any) -> Any:
    """What JSON holds: arrays as lists, None for what isn't finite, as text what it doesn't know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(item) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    return finite_json(value.tolist()) if isinstance(value, np.ndarray | np.generic) else str(value)


def write_synced(path: Path, content: bytes | memoryview) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Wait until a directory's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, durable: bool = True) -> None:
    """Replace a file in one step, so that a reader sees the old or the new one.

    Args:
        path: The file; its folder exists.
        content: What to write.
        durable: Whether to wait until the disk has it.

    Raises:
        DiskFullError: No space is left.
    """
    staged = path.with_name(f".{path.name}.new-{os.getpid()}")
    try:
        if durable:
            write_synced(staged, content)
        else:
            staged.write_bytes(content)
        staged.replace(path)
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        raise as_disk_full(error, path) from None
    finally:
        staged.unlink(missing_ok=True)


def write_result(path: Path, content: bytes) -> Path:
    """Replace a file that a person asked for, in a folder that is made where there is none; returns its path.

    Raises:
        WarmstartError: It can't be written (no space, no permission).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise WarmstartError(
            f"Can't write {path}: {error.strerror or error}. Free space or choose another folder."
        ) from error
    return path


def check_new(path: Path) -> None:
    """Raise where a file exists already, before there is something to write to it."""
    if path.exists():
        raise WarmstartError(f"{path} exists already and isn't overwritten: name another file, or remove it.")


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Replace a text file in one step; see `replace_file`."""
    replace_file(path, text.encode(), durable)


def write_json(path: Path, data: Any, durable: bool = False) -> None:
    """Replace a JSON file in one step; see `replace_file`."""
    write_text(path, json.dumps(data, indent=1) + "\n", durable)


def as_disk_full(error: OSError, path: Path) -> Exception:
    """Turn "no space left" and "quota exceeded" into `DiskFullError`; leave other errors as they are."""
    return DiskFullError(path) if error.errno in (errno.ENOSPC, errno.EDQUOT) else error


def is_disk_full(error: BaseException | None) -> bool:
    """Say whether an error, or what it came from, is a full disk (torch and safetensors wrap it)."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, DiskFullError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_file(path: Path, most: int = MOST_BYTES, within: Path | None = None) -> Path:
    """See that a file from anybody can be read to its end.

    Args:
        path: The file.
        most: Largest size, in bytes.
        within: The folder that it belongs to, which no link may lead out of.

    Returns:
        The same path.

    Raises:
        FileNotFoundError: It isn't there.
        WarmstartError: It is no plain file (a folder, a device, a pipe), too large, or elsewhere.
    """
    try:
        found = path.stat()
        outside = within is not None and not path.resolve().is_relative_to(within.resolve())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except (OSError, ValueError) as error:
        raise WarmstartError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from None
    if outside:
        raise WarmstartError(f"{path} is a link out of {within}: expected a file inside it.")
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise WarmstartError(f"{path} is {kind}; expected a file.")
    if found.st_size > most:
        raise WarmstartError(f"{path} has {found.st_size:,} bytes; expected at most {most:,}.")
    return path


def read_bytes(path: Path, most: int = MOST_BYTES, within: Path | None = None) -> bytes:
    """Read a file from anybody; see `check_file`."""
    try:
        with check_file(path, most, within).open("rb") as file:
            return file.read(min(most, os.fstat(file.fileno()).st_size))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise WarmstartError(f"{path} can't be read: {error.strerror or error}.") from None


def read_text(path: Path, most: int = MOST_BYTES, within: Path | None = None) -> str:
    """Read a text in UTF-8, with or without a mark before it, from anybody; see `check_file`."""
    try:
        return read_bytes(path, most, within).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WarmstartError(
            f"{path} can't be read as text: byte {error.start:,} isn't UTF-8; is it another kind of file?"
        ) from None


def parse_json(text: str, source: str, *, constants: bool = False) -> Any:
    """Parse JSON from anybody.

    Args:
        text: The text.
        source: What messages call it.
        constants: Whether NaN and infinities may stand in it, which JSON hasn't got.

    Raises:
        WarmstartError: It isn't JSON (the place is named), gives a key twice, or is nested too deeply.
    """
    number = float if constants else _finite
    try:
        data = json.loads(text, object_pairs_hook=_once, parse_constant=number, parse_float=number)
    except json.JSONDecodeError as error:
        ends = error.pos >= len(text.rstrip())
        what = "it ends too early" if ends else error.msg[:1].lower() + error.msg[1:]
        raise WarmstartError(
            f"{source}, line {error.lineno}, column {error.colno}: this isn't JSON: {what}."
        ) from None
    except (ValueError, RecursionError) as error:
        why = f"nested more than {MOST_DEPTH} deep" if isinstance(error, RecursionError) else str(error)
        raise WarmstartError(f"{source} isn't JSON that can be read: {why}.") from None
    if "\\ud" in text.lower() and not is_writable(data):
        raise WarmstartError(f"{source} isn't JSON that can be read: it holds half of a surrogate pair.")
    layer, depth = [data], 0
    while layer := [v for v in layer if isinstance(v, dict | list)]:
        depth += 1
        if depth > MOST_DEPTH:
            raise WarmstartError(f"{source} isn't JSON that can be read: nested more than {MOST_DEPTH} deep.")
        layer = [item for v in layer for item in (v.values() if isinstance(v, dict) else v)]
    return data


def is_writable(data: Any) -> bool:
    """Whether all text in plain data can be written as UTF-8: JSON's escapes also make halves of pairs."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> State:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"it gives {Counter(key for key, _ in pairs).most_common(1)[0][0]!r:.60} twice")
    return found


def _finite(text: str) -> float:
    if math.isfinite(number := float(text)):
        return number
    raise ValueError(f"found {text[:40]}, expected a finite number")


def read_json(path: Path, within: Path | None = None) -> State | None:
    """Read a JSON object; None where there is no such file or it isn't one; see `check_file`."""
    try:
        content = read_bytes(path, within=within)
    except FileNotFoundError:
        return None
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and is_writable(data) else None
