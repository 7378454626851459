"""Files of a trial: append-only JSONL, JSON replaced in one step, and where each of them lies.

`records.jsonl` holds only what is the same whenever the trial is run; times go to `times.jsonl`.
"""

import json
import os
from pathlib import Path

from warmstart.core.bounds import Settings, State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import as_disk_full, canonical_json

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


def text_of(path: Path) -> str:
    """Read a text file; empty where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class RecordWriter:
    """Appends one JSON object per line to a trial's file; each line reaches the file whole or torn last."""

    def __init__(self, path: Path) -> None:
        """Open the file afresh: what an earlier, unfinished attempt wrote is dropped."""
        self.path = path
        try:
            self._file = path.open("wb", buffering=0)
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


def read_jsonl(path: Path) -> list[State]:
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
