"""Files of a trial: append-only JSONL, JSON replaced in one step, and where each of them lies.

`records.jsonl` holds only what is the same whenever the trial is run; times go to `times.jsonl`.
"""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.core.errors import WarmstartError

RECORDS = "records.jsonl"
TIMES = "times.jsonl"
TRANSFER = "transfer.json"
GAP = "gap.json"
MAP = "map.json"
CURRICULUM = "curriculum.json"
CHECKPOINT = "checkpoint"
TENSORBOARD = "tensorboard"
CONFIG = "trial.json"
ERROR = "error.txt"
LOG = "log.txt"
FILM = "rollout.mp4"
FRAMES = "frames.png"


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


def plain(state: Any) -> Any:
    """A state without NumPy's types: its arrays as lists."""
    if isinstance(state, Mapping):
        return {str(key): plain(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [plain(value) for value in state]
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state


def write_json(path: Path, data: Any, durable: bool = False) -> None:
    """Replace a JSON file in one step, so that a reader sees the old or the new one.

    Args:
        path: The file; its folder exists.
        data: Plain data.
        durable: Whether to wait until the disk has it.

    Raises:
        DiskFullError: No space is left.
    """
    write_text(path, json.dumps(data, indent=1) + "\n", durable)


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Replace a text file in one step; see `write_json`."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staged.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise as_disk_full(error, path) from None


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


class RecordWriter:
    """Appends one JSON object per line to a trial's file; each line reaches the file whole or torn last."""

    def __init__(self, path: Path) -> None:
        """Open the file afresh: what an earlier, unfinished attempt wrote is dropped."""
        self.path = path
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise as_disk_full(error, path) from None

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record.

        Raises:
            DiskFullError: No space is left.
        """
        line = memoryview((canonical_json(record) + "\n").encode())
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except OSError as error:
            self._file.close()
            raise as_disk_full(error, self.path) from None

    def close(self) -> None:
        """Wait until the disk has everything, and close the file."""
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise as_disk_full(error, self.path) from None
        finally:
            self._file.close()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read all records of a JSONL file.

    A torn last line (the process died while it wrote) is left out; a missing file has no records.

    Raises:
        WarmstartError: Another line can't be read: the file was changed by something else.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    records = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError
        except ValueError:
            if number == len(lines):
                break
            raise WarmstartError(
                f"{path}, line {number} is not a JSON object: the file is damaged. Delete the directory "
                f"{path.parent} and run the study again; only this trial is repeated."
            ) from None
        records.append(record)
    return records
