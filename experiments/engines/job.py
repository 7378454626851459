"""What a job of SLURM does: it runs one trial in a process of its own, and notes how that ended."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmstart.core.files import read_json, write_json
from warmstart.core.threads import GRACE_SECONDS
from warmstart.experiments.engines.local import start_directly, trial_environment
from warmstart.experiments.records.claims import STALE_SECONDS, holder
from warmstart.experiments.records.status import EXIT_CLAIMED, EXIT_INTERRUPTED, read_status

EXIT = "job_exit.json"
"""In a trial's directory: which job ended there, and with which exit status."""
_SECONDS_BETWEEN_LOOKS = 0.1
_SPARE_SECONDS = 5.0


def noted_code(directory: Path, job: str) -> int | None:
    """The exit status with which a job said that it ended; None where it said nothing."""
    noted = read_json(directory / EXIT) or {}
    code = noted.get("code")
    return code if noted.get("job") == job and isinstance(code, int) else None


def goes_on(directory: Path, job: str) -> bool:
    """Whether a job that SLURM still knows runs, will run, or may be queued again."""
    return noted_code(directory, job) in (None, EXIT_INTERRUPTED)


@dataclass(frozen=True)
class TrialJob:
    """What a job does: run a trial in a process of its own; submitit asks it what to do when it must end."""

    directory: str
    torch_threads: int
    gpus: bool

    def __call__(self) -> int:
        """Run the trial, and note its exit status beside it.

        A claim whose owner died with another machine is waited for until it is stale.
        """
        directory = Path(self.directory)
        deadline = time.monotonic() + STALE_SECONDS + _SPARE_SECONDS
        while (code := self._run(directory)) == EXIT_CLAIMED and time.monotonic() < deadline:
            while holder(directory) is not None and time.monotonic() < deadline:
                time.sleep(1.0)
        self._note(code)
        return code

    def _note(self, code: int) -> None:
        import submitit

        write_json(Path(self.directory) / EXIT, {"job": submitit.JobEnvironment().job_id, "code": code})

    def _run(self, directory: Path) -> int:
        if read_status(directory).state == "done":
            return 0
        hidden = {} if self.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        process = start_directly(directory, trial_environment(self.torch_threads, hidden))
        _CHILDREN[:] = [process.pid]
        while (code := process.poll()) is None:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return code

    def checkpoint(self, *_: Any, **__: Any) -> Any:
        """End the trial in order, and have this job queued again; submitit calls it in a signal's handler."""
        import submitit

        for pid in _CHILDREN:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
                _await(pid, GRACE_SECONDS + _SPARE_SECONDS)
                os.kill(pid, signal.SIGKILL)
                _await(pid, _SPARE_SECONDS)
        if read_status(Path(self.directory)).state == "done":
            self._note(0)
            return None
        return submitit.helpers.DelayedSubmission(self)


_CHILDREN: list[int] = []
"""Process of the trial, in the job."""


def _await(pid: int, seconds: float) -> None:
    """Wait for a child's end without taking its exit status from whoever else waits for it.

    Raises:
        ProcessLookupError: It has ended.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            ended = True
        if ended:
            raise ProcessLookupError(pid)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
