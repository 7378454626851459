"""Starts the processes of trials: directly, or forked from one that has imported everything already."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from warmstart.core.files import as_disk_full
from warmstart.core.threads import POOL_VARIABLES
from warmstart.experiments.records.records import LOG

PLATFORM = sys.platform
EXIT_LOST = 71
"""Stands for the exit status of a process whose nursery died; it stops and can be started again."""


class TrialProcess(Protocol):
    """A started trial."""

    def poll(self) -> int | None:
        """Exit status; -N for signal N; None while it runs."""

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, if it still runs."""


class Launcher:
    """Starts trials with a given number of torch threads; a context manager."""

    def __init__(self, torch_threads: int) -> None:
        self.environment = os.environ | dict.fromkeys(POOL_VARIABLES, str(torch_threads))
        self._nursery = _Nursery(self.environment) if PLATFORM == "linux" else None

    def __enter__(self) -> "Launcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._nursery is not None:
            self._nursery.close()

    def start(self, directory: Path) -> TrialProcess:
        """Start the process of a trial; its output goes to the directory's `log.txt`.

        Raises:
            DiskFullError: The log can't be written.
        """
        log = directory.resolve() / LOG
        try:
            log.write_bytes(b"")
            if self._nursery is not None and self._nursery.is_alive():
                return self._nursery.start(directory.resolve(), log)
            with log.open("wb") as output:
                return subprocess.Popen(
                    [
                        *_python(),
                        "-m",
                        "warmstart.experiments.trial.trial",
                        str(directory.resolve()),
                        str(os.getpid()),
                    ],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches the scheduler only, which ends them in order
                )
        except OSError as error:
            raise as_disk_full(error, log) from None


class _Nursery:
    """The other end of `warmstart.experiments.run.forkserver`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [*_python(), "-m", "warmstart.experiments.run.forkserver"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        self._input: IO[bytes] = _present(self._process.stdin)
        self._output: IO[bytes] = _present(self._process.stdout)
        os.set_blocking(self._output.fileno(), False)
        self._pending = b""
        self._codes: dict[int, int] = {}
        self._count = 0
        self._ended = False

    def is_alive(self) -> bool:
        """Say whether it can start trials."""
        self.read()
        return not self._ended

    def start(self, directory: Path, log: Path) -> TrialProcess:
        """Have a process forked."""
        self._count += 1
        self.ask({"start": self._count, "directory": str(directory), "log": str(log)})
        return _Forked(self, self._count)

    def ask(self, request: dict[str, object]) -> None:
        """Send a request."""
        try:
            self._input.write((json.dumps(request) + "\n").encode())
        except BrokenPipeError:
            self._ended = True

    def code(self, number: int) -> int | None:
        """Exit status of a process; None while it runs."""
        self.read()
        return self._codes.get(number, EXIT_LOST if self._ended else None)

    def read(self) -> None:
        """Take in what the nursery has reported."""
        while not self._ended:
            received: bytes | None = self._output.read(65536)
            if received is None:
                return
            if not received:
                self._ended = True
                return
            *lines, self._pending = (self._pending + received).split(b"\n")
            for line in lines:
                answer = json.loads(line)
                if "ended" in answer:
                    self._codes[answer["ended"]] = answer["code"]

    def close(self) -> None:
        """End the nursery; what still runs below it notices and stops."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()


class _Forked:
    """A process below the nursery."""

    def __init__(self, nursery: _Nursery, number: int) -> None:
        self._nursery = nursery
        self._number = number

    def poll(self) -> int | None:
        return self._nursery.code(self._number)

    def send_signal(self, number: int) -> None:
        self._nursery.ask({"signal": int(signal.Signals(number)), "id": self._number})


def _python() -> list[str]:
    """Command of this interpreter, which searches the working directory for modules only if this one does."""
    searched = {"", os.getcwd()} & set(sys.path)
    return [sys.executable, *([] if searched else ["-P"])]


def _present(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
