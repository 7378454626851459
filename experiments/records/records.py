"""Files of a trial: append-only JSONL, JSON replaced in one step, and where each of them lies.

`records.jsonl` holds only what is the same whenever the trial is run; times go to `times.jsonl`.
"""

import os
import shutil
from pathlib import Path

from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.files import as_disk_full, canonical_json, read_bytes

RECORDS = "records.jsonl"
TIMES = "times.jsonl"
TRANSFER = "transfer.json"
GAP = "gap.json"
MAP = "map.json"
CURRICULUM = "curriculum.json"
SIMILARITY = "similarity.json"
"""In the run's folder; all others are in a trial's."""
TENSORBOARD = "tensorboard"
CONFIG = "trial.json"
TRAINING = "training"
"""States to go on from; a folder, as long as a trial isn't done."""
ERROR = "error.txt"
LOG = "log.txt"
FILM = "rollout.mp4"
FRAMES = "frames.png"
MOST_TEXT = 1 << 24
"""Most bytes of a log or traceback that are read."""


def text_of(path: Path) -> str:
    """Read a text file; empty where it can't be read, or is larger than any log of ours."""
    try:
        return read_bytes(path, MOST_TEXT).decode(errors="replace")
    except (OSError, WarmstartError):
        return ""


def forget_states(directory: Path) -> None:
    """Remove what only an unfinished training needs, and what processes that were killed have left."""
    for path in (directory / TRAINING, *directory.glob(".*.new-*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class RecordWriter:
    """Appends one JSON object per line to a trial's file; each line reaches the file whole or torn last."""

    def __init__(self, path: Path, keep: int = 0) -> None:
        """Open the file.

        Args:
            path: The file.
            keep: Bytes of an earlier attempt that stay; the rest is dropped.
        """
        self.path = path
        try:
            self._file = path.open("r+b" if keep else "wb", buffering=0)
            if keep:
                self._file.truncate(keep)
                self._file.seek(keep)
        except OSError as error:
            raise as_disk_full(error, path) from None

    def append(self, record: Settings) -> None:
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

    def sync(self) -> int:
        """Wait until the disk has everything; returns the file's size in bytes."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise as_disk_full(error, self.path) from None
        return self._file.tell()

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
