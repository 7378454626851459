"""Files: written entirely or not at all, as JSON in one form, hashed; and a full disk told as one."""

import errno
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.core.errors import WarmstartError


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
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """sha256 of a file, or of a folder's files by name."""
    if path.is_file():
        return file_hash(path)
    digest = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
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


def write_synced(path: Path, content: bytes) -> None:
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


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where there is no such file or it isn't one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return data if isinstance(data, dict) else None
