"""Runs trials in processes of their own, a bounded number at a time; sources before what starts from them.

A trial is nothing but its directory: `python -m warmstart.experiments.trial.trial DIRECTORY`. Whatever
happens to the process, the outcome is noticed and kept; the others go on.
"""

import contextlib
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from warmstart.agents.checkpoints.places import TRIALS
from warmstart.core.files import DiskFullError, write_text
from warmstart.core.progress import Progress, Work
from warmstart.core.threads import available_cores, signals_as_interrupt
from warmstart.experiments.records.claims import holder
from warmstart.experiments.records.config import PlannedTrial
from warmstart.experiments.records.records import ERROR, LOG, text_of
from warmstart.experiments.records.status import (
    EXIT_CLAIMED,
    EXIT_DISK_FULL,
    State,
    Status,
    read_status,
    write_status,
)
from warmstart.experiments.run.processes import EXIT_LOST, Launcher, TrialProcess
from warmstart.experiments.trial.trial import EXIT_REFUSED

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 15.0
"""How long an interrupted process may take to end."""
_LAST_LINES = 40
"""Of the log of a process that left no word."""


class StudyInterruptedError(KeyboardInterrupt):
    """The study was stopped; its message says how to continue."""


class Scheduler:
    """Runs a plan's trials to their ends."""

    def __init__(
        self, run: Path, trials: Sequence[PlannedTrial], workers: int | None, progress: Progress
    ) -> None:
        """Prepare to run trials whose directories hold their configurations; equal hashes are run once.

        `workers` is how many at a time; None for the number of cores.
        """
        self.run = run
        self.trials = tuple({trial.hash: trial for trial in trials}.values())
        self.workers = workers or available_cores()
        self.progress = progress
        self.states: dict[str, State] = {}
        self._chances: dict[str, int] = {}
        self._running: dict[PlannedTrial, TrialProcess] = {}

    def run_all(self) -> dict[str, State]:
        """Run everything that isn't done.

        Returns:
            State of each trial by hash: `done` or `failed`.

        Raises:
            StudyInterruptedError: Ctrl-C or SIGTERM; running trials were stopped and marked.
            DiskFullError: A trial could not write.
        """
        for trial in self.trials:
            status = read_status(self.directory(trial))
            self.states[trial.hash] = "done" if status.state == "done" else "waiting"
            self._chances[trial.hash] = 1 if status.state == "failed" else 2
            self._show(trial)
        if self._is_open():
            self._loop()
        return self.states

    def _loop(self) -> None:
        threads = max(trial.config.torch_threads for trial in self.trials)
        with signals_as_interrupt([]), closing(Launcher(threads)) as launcher:
            try:
                while self._is_open():
                    self._settle()
                    self._start_ready(launcher)
                    time.sleep(_POLL_SECONDS)
            except BaseException:
                self._stop()
                raise

    def _is_open(self) -> bool:
        return any(state in ("waiting", "running") for state in self.states.values())

    def directory(self, trial: PlannedTrial) -> Path:
        """Directory of a trial."""
        return self.run / TRIALS / trial.hash

    def _start_ready(self, launcher: Launcher) -> None:
        for trial in self.trials:
            if self.states[trial.hash] != "waiting":
                continue
            needed = self.states[trial.needs] if trial.needs else "done"
            if needed == "failed":
                error = text_of(self.run / TRIALS / str(trial.needs) / ERROR)
                self._fail(trial, "its source agent failed", error)
            elif needed == "done" and len(self._running) < self.workers:
                self._start(trial, launcher)

    def _start(self, trial: PlannedTrial, launcher: Launcher) -> None:
        directory = self.directory(trial)
        if read_status(directory).state == "done":
            self._set(trial, "done")  # by another process since
            return
        if holder(directory) is not None:
            self._show(trial)  # another process runs it: wait for its result
            return
        self._running[trial] = launcher.start(directory)
        self.states[trial.hash] = "running"
        self._chances[trial.hash] -= 1

    def _settle(self) -> None:
        """Take note of processes that ended, and show how far the others are."""
        for trial, process in tuple(self._running.items()):
            code = process.poll()
            if code is None:
                self._show(trial)
                continue
            del self._running[trial]
            status = read_status(self.directory(trial))
            if code == 0 and status.state == "done":
                self._set(trial, "done")
            elif code in (EXIT_CLAIMED, EXIT_LOST):
                self._chances[trial.hash] += 1
                self.states[trial.hash] = "waiting"
            elif code == EXIT_DISK_FULL:
                raise DiskFullError(self.directory(trial))
            else:
                self._end_badly(trial, code, status)

    def _end_badly(self, trial: PlannedTrial, code: int, status: Status) -> None:
        error, traceback = status.error, text_of(self.directory(trial) / ERROR)
        if status.state != "failed":
            traceback = "\n".join(text_of(self.directory(trial) / LOG).splitlines()[-_LAST_LINES:])
            lines = traceback.splitlines() if code == EXIT_REFUSED else []
            error = lines[-1].rpartition("WarmstartError: ")[2] if lines else _death(code)
        if self._chances[trial.hash] > 0 and code != EXIT_REFUSED:
            self.progress.message(f"{trial.label}: failed ({error}); trying once more.")
            self._set(trial, "waiting")
        else:
            self._fail(trial, error, traceback)

    def _fail(self, trial: PlannedTrial, error: str, traceback: str) -> None:
        directory = self.directory(trial)
        write_text(directory / ERROR, traceback.rstrip() + "\n")
        write_status(directory, replace(read_status(directory), state="failed", error=error))
        self._set(trial, "failed")

    def _set(self, trial: PlannedTrial, state: State) -> None:
        self.states[trial.hash] = state
        self._show(trial)

    def _show(self, trial: PlannedTrial) -> None:
        status = read_status(self.directory(trial))
        state = self.states[trial.hash]
        if state == "running" and status.state != "running":
            status = replace(status, state="running", step=0)
        elif state == "waiting" and status.state not in ("waiting", "running"):
            status = replace(status, state="waiting", step=0)
        self.progress.show(trial.label, shown(replace(status, total=trial.steps)))

    def _stop(self) -> None:
        """End running processes: politely, then after a while, or at a second Ctrl-C, by force."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with contextlib.suppress(KeyboardInterrupt):
            while time.monotonic() < deadline and any(p.poll() is None for p in self._running.values()):
                time.sleep(_POLL_SECONDS)
        for trial, process in self._running.items():
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                while process.poll() is None:
                    time.sleep(_POLL_SECONDS)
            directory = self.directory(trial)
            status = read_status(directory)
            if status.state == "running":
                with contextlib.suppress(OSError, DiskFullError):
                    write_status(directory, replace(status, state="interrupted"))
        self._running.clear()


def _death(code: int) -> str:
    """Say how a process died that left no word."""
    if code >= 0:
        return f"the process ended with exit status {code} before the trial was done"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = " (out of memory, or killed by hand)" if -code == signal.SIGKILL else ""
    return f"the process was killed by {name}{why}"


def shown(status: Status) -> Work:
    """What progress shows of a trial's status."""
    return Work(
        state=status.state,
        done=status.step,
        total=status.total,
        seconds=status.updated - status.started,
        note="" if status.last_return is None else f"return {status.last_return:.1f}",
        unit="steps",
        speed=status.steps_per_second,
        error=status.error,
    )
