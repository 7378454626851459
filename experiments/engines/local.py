"""This machine: trials forked from a server that has imported everything already, or started directly.

Importing torch and what it draws in takes about three seconds, which every trial would pay anew. The fork
server of `multiprocessing` doesn't serve here: its children import the user's main script again, which may be
the one that runs the study; it keeps the environment of its first use, and so one number of threads for all
studies; and it outlives them. Only Linux has a server, which is this module as a program.
"""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from warmstart.core.files import as_disk_full
from warmstart.core.threads import POOL_VARIABLES, available_cores
from warmstart.experiments.engines.base import EXIT_LOST, Engine, TrialProcess, register_engine
from warmstart.experiments.records.records import LOG

PLATFORM = sys.platform
_POLL_SECONDS = 0.05


@register_engine
@dataclass(frozen=True)
class Local(Engine):
    """Processes of this machine, as many at a time as it has cores."""

    name: ClassVar[str] = "local"
    title: ClassVar[str] = "processes of this machine"

    @override
    def launch(self, torch_threads: int, workers: int | None) -> "LocalLauncher":
        return LocalLauncher(torch_threads, workers or available_cores())


class LocalLauncher:
    """Starts trials on this machine.

    Args:
        torch_threads: Threads of each.
        workers: Trials at a time; not held to.
        variables: Of the environment, beside this process's.
    """

    outlives = False

    def __init__(
        self, torch_threads: int, workers: int = 1, variables: Mapping[str, str] | None = None
    ) -> None:
        self.workers = workers
        self.environment = trial_environment(torch_threads, variables)
        self._server = _ForkServer(self.environment) if PLATFORM == "linux" else None

    def close(self) -> None:
        """End the fork server; what still runs below it notices and stops."""
        if self._server is not None:
            self._server.close()

    def start(self, directory: Path) -> TrialProcess:
        """Start the process of a trial; its output goes to the directory's `log.txt`.

        Raises:
            DiskFullError: The log can't be written.
        """
        directory = directory.resolve()
        log = directory / LOG
        try:
            log.write_bytes(b"")
            if self._server is not None and self._server.is_alive():
                return self._server.start(directory)
            return start_directly(directory, self.environment)
        except OSError as error:
            raise as_disk_full(error, log) from None


def trial_environment(torch_threads: int, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a trial's process: this one's, with so many threads, and more variables."""
    return os.environ | dict.fromkeys(POOL_VARIABLES, str(torch_threads)) | dict(variables or {})


def start_directly(directory: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start the process of a trial, in a session of its own; its output is added to its log."""
    with (directory / LOG).open("ab") as output:
        return subprocess.Popen(
            _command("warmstart.experiments.trial.trial", str(directory), str(os.getpid())),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the scheduler only, which ends them in order
        )


class _ForkServer:
    """The scheduler's end of the server: sends what `serve` reads, notes the exit statuses that it tells."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                _command("warmstart.experiments.engines.local", str(theirs.fileno())),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        self._codes: dict[int, int] = {}
        self._started = 0
        self._ended = False

    def is_alive(self) -> bool:
        """Say whether it can start trials."""
        self._listen()
        return not self._ended

    def start(self, directory: Path) -> "_Forked":
        """Have a process forked."""
        self._started += 1
        self.ask(self._started, directory)
        return _Forked(self, self._started)

    def ask(self, number: int, request: Path | int) -> None:
        """Have a trial started, or a signal sent to its process."""
        try:
            self._connection.send((number, request))
        except OSError:
            self._ended = True

    def code(self, number: int) -> int | None:
        """Exit status of a process; None while it runs."""
        self._listen()
        return self._codes.get(number, EXIT_LOST if self._ended else None)

    def _listen(self) -> None:
        try:
            while not self._ended and self._connection.poll():
                number, code = self._connection.recv()
                self._codes[number] = code
        except (EOFError, OSError):
            self._ended = True

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


class _Forked:
    """A process below the server, to be used like one of `subprocess`."""

    def __init__(self, server: _ForkServer, number: int) -> None:
        self._server, self._number = server, number

    def poll(self) -> int | None:
        return self._server.code(self._number)

    def send_signal(self, number: int) -> None:
        self._server.ask(self._number, int(number))


def _command(module: str, *arguments: str) -> list[str]:
    """Run a module by this interpreter; the working directory is searched only if this process does so."""
    searched = {"", os.getcwd()} & set(sys.path)
    return [sys.executable, *([] if searched else ["-P"]), "-m", module, *arguments]


def serve(scheduler: Connection) -> int:
    """Fork a process for each trial that the scheduler asks for, until it hangs up.

    Args:
        scheduler: Sends a number with a trial's directory to start it, or with a signal for its process; is
            sent the number and the exit status of each that ended.

    Returns:
        The exit status.
    """
    for module in ("torch._dynamo", "warmstart.experiments.trial.training"):  # the first optimizer needs one
        import_module(module)
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        return 1  # forking beside other threads isn't safe; trials are started directly then
    gc.collect()
    gc.freeze()
    pids: dict[int, int] = {}
    while True:
        try:
            if scheduler.poll(_POLL_SECONDS):
                number, request = scheduler.recv()
                if isinstance(request, Path):
                    pids[number] = _fork(request, scheduler)
                elif number in pids:
                    os.kill(pids[number], request)
            for number, pid in tuple(pids.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del pids[number]
                    scheduler.send((number, os.waitstatus_to_exitcode(status)))
        except (EOFError, OSError):
            return 0


def _fork(directory: Path, scheduler: Connection) -> int:
    """Start the process of a trial, in a session of its own; returns its number."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        scheduler.close()
        os.setsid()
        output = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        from warmstart.experiments.trial.trial import main

        code = main([str(directory), str(parent)])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(serve(Connection(int(sys.argv[1]))))
