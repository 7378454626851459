"""Exclusive claims on trial directories, so that two processes never run the same trial.

A claim is a file made by exclusive create. Its owner touches it every few seconds; one whose owner is dead
or silent is stale and may be taken over. Imports nothing of ours but the core.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from warmstart.core.errors import WarmstartError
from warmstart.core.files import as_disk_full, read_bytes
from warmstart.core.threads import Notice

CLAIM = "claim.lock"
GUARD = "claim.guard"
"""Locked for a moment where the file system can't lock a directory."""
HEARTBEAT_SECONDS = 5.0
_NOBODY = (0, "", "", "")
STALE_SECONDS = 60.0
"""A claim of another host that was silent for this long by the clocks is stale,"""
WATCHED_SECONDS = 2.5 * HEARTBEAT_SECONDS
"""if it also stayed so while this process watched it: clocks differ, jump, and stop in a laptop's sleep."""
_watched: dict[Path, tuple[int, float]] = {}
"""Silent claims: when their hearts beat last, by the file, and since when that is known here."""


class ClaimedError(RuntimeError):
    """Another live process runs the trial."""


@dataclass(frozen=True)
class Owner:
    """Who holds a claim."""

    pid: int
    host: str
    started: str
    """Start time of the process as the kernel counts it, as pids are used again; empty where unknown."""
    token: str


def holder(directory: Path) -> Owner | None:
    """Say which live process holds the claim on a directory; None where none does or the claim is stale."""
    path = directory / CLAIM
    try:
        owner = Owner(**json.loads(read_bytes(path, most=10_000)))
        held = zip(vars(owner).values(), _NOBODY, strict=True)
        if not all(isinstance(value, type(own)) for value, own in held):
            raise TypeError(f"{path} is no claim of ours")
        beat = path.stat().st_mtime_ns
    except FileNotFoundError:
        _watched.pop(path, None)
        return None
    except (ValueError, TypeError, RecursionError, WarmstartError):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime < HEARTBEAT_SECONDS:
                return Owner(*_NOBODY)  # made a moment ago, not written yet
        return None
    if owner.host == socket.gethostname():
        return owner if _process_start(owner.pid) == owner.started and _is_alive(owner.pid) else None
    if abs(time.time() - beat / 1e9) < STALE_SECONDS:
        _watched.pop(path, None)
        return owner
    if _watched.get(path, (0, 0.0))[0] != beat:
        _watched[path] = beat, time.monotonic()
    return owner if time.monotonic() - _watched[path][1] < WATCHED_SECONDS else None


class Claim:
    """A held claim; a context manager that keeps its heart beating and gives it back.

    Args:
        directory: The trial's.
        notice: A request to give it back, which its owner looks at.

    Raises:
        ClaimedError: On entering, when another live process holds it.
    """

    def __init__(self, directory: Path, notice: Notice | None = None) -> None:
        self.directory = directory
        self.notice = notice or Notice()
        self.path = directory / CLAIM
        pid = os.getpid()
        self.owner = Owner(pid, socket.gethostname(), _process_start(pid), uuid.uuid4().hex)
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claim", daemon=True)

    def __enter__(self) -> "Claim":
        with _guard(self.directory):
            other = holder(self.directory)
            silent = _watched.get(self.path)
            while other is not None and silent is not None and _watched.get(self.path) == silent:
                time.sleep(HEARTBEAT_SECONDS / 5)  # to see whether its heart still beats
                other = holder(self.directory)
            if other is not None:
                raise ClaimedError(f"process {other.pid} on {other.host} runs {self.directory}")
            self.path.unlink(missing_ok=True)
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(self.owner.__dict__, file)
            except OSError as error:
                self.path.unlink(missing_ok=True)
                raise as_disk_full(error, self.path) from None
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._heart.join()
        if self.is_ours():
            self.path.unlink(missing_ok=True)

    def is_ours(self) -> bool:
        """Say whether the claim still is this one's; False when it was judged stale and taken over."""
        try:
            return bool(json.loads(self.path.read_text(encoding="utf-8")).get("token") == self.owner.token)
        except (OSError, ValueError):
            return False

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)


@contextlib.contextmanager
def _guard(directory: Path) -> Iterator[None]:
    """Let one process at a time look at a claim and replace it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # NFS locks only what is open for writing
            os.close(descriptor)
            descriptor = os.open(directory / GUARD, os.O_CREAT | os.O_RDWR, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True


def _process_start(pid: int) -> str:
    """Start time of a process in clock ticks since boot (Linux); empty elsewhere or when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
