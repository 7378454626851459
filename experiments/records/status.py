"""The state of a trial as others see it: `status.json`, replaced in one step."""

import faulthandler
import os
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

from warmstart.core.bounds import Finite, Natural
from warmstart.core.documents import Document
from warmstart.core.files import read_json, write_json
from warmstart.experiments.records.schema import Number, Step

State = Literal["waiting", "running", "done", "failed", "interrupted"]
STATUS = "status.json"
EXIT_FAILED = 1
EXIT_REFUSED = 65
"""What the trial asks for doesn't go together: starting it again would end the same."""
EXIT_DISK_FULL = 73
EXIT_CLAIMED = 75
"""Another live process runs the trial."""
EXIT_INTERRUPTED = 130
_SECONDS_BETWEEN_WRITES = 0.5
_SECONDS_OF_SPEED = 3.0


@dataclass(frozen=True)
class Status:
    """Where a trial stands."""

    state: State = "waiting"
    step: Step = 0
    """Training steps taken."""
    total: Step = 0
    """Training steps asked for."""
    attempt: Natural = 0
    """How often the trial was started."""
    pid: int = 0
    updated: Finite = 0.0
    """Unix time of this status."""
    started: Finite = 0.0
    """Unix time at which the current attempt started."""
    steps_per_second: Finite = 0.0
    """Recent speed, evaluation included."""
    last_return: Number = None
    """Mean return of the last evaluation."""
    error: str = ""
    """One line: why the trial failed."""


def read_status(directory: Path) -> Status:
    """Read a trial's status; `waiting` where there is none, or none that can be read.

    Raises:
        WarmstartError: It holds something else than a status, or is a link out of its run.
    """
    path = directory / STATUS
    data = read_json(path, within=directory.parent.parent) or {}
    known = {item.name for item in fields(Status)}
    document = Document({key: value for key, value in data.items() if key in known}, str(path))
    return document.read(Status)


def write_status(directory: Path, status: Status) -> None:
    """Replace a trial's status."""
    write_json(directory / STATUS, asdict(replace(status, updated=time.time())))


class StatusWriter:
    """Keeps a running trial's status up to date, at most twice a second."""

    def __init__(self, directory: Path, total: int, stall: float = 0.0) -> None:
        """Note that an attempt starts.

        Args:
            directory: The trial's.
            total: Steps of training that it is to take.
            stall: Seconds without progress after which the process prints where each thread stands and exits,
                even from code that never returns to Python; 0 to wait forever.
        """
        self.directory, self.stall = directory, stall
        before = read_status(directory)
        now = time.time()
        self.status = Status("running", 0, total, before.attempt + 1, os.getpid(), now, now)
        write_status(directory, self.status)
        self._written = self._speed_time = time.monotonic()
        self._speed_step: int | None = None
        self._moves()

    def _moves(self) -> None:
        """Note that something moves."""
        if self.stall:
            faulthandler.dump_traceback_later(self.stall, exit=True, file=2)

    def is_due(self) -> bool:
        """Say whether the last write is long enough ago."""
        return time.monotonic() - self._written >= _SECONDS_BETWEEN_WRITES

    def progress(self, step: int, last_return: float | None = None) -> None:
        """Note how far training is, and the last evaluation where there is a new one."""
        now = time.monotonic()
        if self._speed_step is None:
            self._speed_step, self._speed_time = step, now
        if step > self._speed_step and now - self._speed_time >= _SECONDS_OF_SPEED:
            speed = (step - self._speed_step) / (now - self._speed_time)
            self._speed_step, self._speed_time = step, now
            self.status = replace(self.status, steps_per_second=speed)
        known = self.status.last_return if last_return is None else last_return
        self.status = replace(self.status, step=step, last_return=known)
        if self.is_due() or last_return is not None:
            write_status(self.directory, self.status)
            self._written = now
            self._moves()

    def end(self, state: State, error: str = "") -> None:
        """Note how the attempt ended."""
        if self.stall:
            faulthandler.cancel_dump_traceback_later()
        self.status = replace(self.status, state=state, error=error)
        write_status(self.directory, self.status)
