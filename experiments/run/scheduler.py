"""Runs trials in processes of their own, a bounded number at a time; sources before what starts from them.

An engine carries a trial's directory to a process, whose outcome is noticed; the others go on.
"""

import contextlib
import heapq
import re
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from warmstart.agents.checkpoints.places import TRIALS
from warmstart.core.files import DiskFullError, write_text
from warmstart.core.progress import Progress, Work
from warmstart.core.threads import signals_as_interrupt
from warmstart.experiments.engines.base import EXIT_LOST, Engine, Launcher, TrialProcess
from warmstart.experiments.engines.local import Local
from warmstart.experiments.records.claims import holder
from warmstart.experiments.records.config import PlannedTrial
from warmstart.experiments.records.records import ERROR, LOG, forget_states, text_of
from warmstart.experiments.records.status import (
    EXIT_CLAIMED,
    EXIT_DISK_FULL,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    State,
    Status,
    read_status,
    write_status,
)

_PAUSES = (0.001, 0.1)
"""Seconds between two looks at the processes: right after something happened, and when nothing does."""
_SECONDS_BETWEEN_SHOWS = 0.5
_SECONDS_BETWEEN_LOOKS_ELSEWHERE = 1.0
"""At a trial that another scheduler runs."""
_PATIENCE_SECONDS = 15.0
"""How long an interrupted process may take to end."""
_MOST_LOSSES = 5
"""Ends in a row without a step of training in between, after which a lost trial counts as failed."""
_LAST_LINES = 40
"""Of the log of a process that left no word."""


class StudyInterruptedError(KeyboardInterrupt):
    """The study was stopped; its message says how to continue."""


class Scheduler:
    """Runs a plan's trials to their ends."""

    def __init__(
        self,
        run: Path,
        trials: Sequence[PlannedTrial],
        workers: int | None,
        progress: Progress,
        engine: Engine | None = None,
    ) -> None:
        """Prepare to run trials whose directories hold their configurations; equal hashes are run once.

        `workers` is how many at a time, None for what the engine has room for; `engine` is the local one by
        default.
        """
        self.run = run
        self.trials = tuple({trial.hash: trial for trial in trials}.values())
        self.workers = workers
        self.progress = progress
        self.engine = engine or Local()
        self.states: dict[str, State] = {}
        self._order = {trial.hash: index for index, trial in enumerate(self.trials)}
        self._chances: dict[str, int] = {}
        self._losses: dict[str, tuple[int, int]] = {}
        """Of trials whose process was lost: how often in a row, and the step that they had got to."""
        self._ready: list[int] = []
        """Heap of the places, in the plan, of trials that can be started."""
        self._elsewhere: list[tuple[float, int]] = []
        """Heap of trials that another process runs: when to look at each again, and its place."""
        self._followers: dict[str, list[PlannedTrial]] = {}
        """Trials that wait for a source, by its hash."""
        self._running: dict[PlannedTrial, TrialProcess] = {}
        self._shown = 0.0

    def run_all(self) -> dict[str, State]:
        """Run everything that isn't done.

        Returns:
            State of each trial by hash: `done` or `failed`.

        Raises:
            StudyInterruptedError: Ctrl-C, SIGTERM, SIGHUP or SIGUSR1; running trials were stopped and
                marked, or go on where the engine's outlive the scheduler.
            DiskFullError: A trial could not write.
            WarmstartError: The engine can't be used.
        """
        for trial in self.trials:
            status = read_status(self.directory(trial))
            self.states[trial.hash] = "done" if status.state == "done" else "waiting"
            self._chances[trial.hash] = 1 if status.state == "failed" else 2
            self._show(trial, status)
        for trial in self.trials:
            if self.states[trial.hash] == "done":
                forget_states(self.directory(trial))  # of one killed as it ended
            elif trial.needs and self.states[trial.needs] != "done":
                self._followers.setdefault(trial.needs, []).append(trial)
            else:
                heapq.heappush(self._ready, self._order[trial.hash])
        if self._is_open():
            self._loop()
        return self.states

    def _loop(self) -> None:
        threads = max(trial.config.torch_threads for trial in self.trials)
        with signals_as_interrupt([]), closing(self.engine.launch(threads, self.workers)) as launcher:
            try:
                pause = _PAUSES[0]
                while self._is_open():
                    moved = self._settle() + self._start_ready(launcher)
                    pause = _PAUSES[0] if moved else min(2 * pause, _PAUSES[1])
                    if not moved:
                        time.sleep(pause)
            except BaseException:
                self._stop(launcher)
                raise

    def _is_open(self) -> bool:
        return bool(self._ready or self._running or self._elsewhere)

    def directory(self, trial: PlannedTrial) -> Path:
        """Directory of a trial."""
        return self.run / TRIALS / trial.hash

    def _start_ready(self, launcher: Launcher) -> int:
        """Start what can be started; returns how many were taken off the waiting list."""
        now = time.monotonic()
        while self._elsewhere and self._elsewhere[0][0] <= now:
            heapq.heappush(self._ready, heapq.heappop(self._elsewhere)[1])
        taken = 0
        while self._ready and len(self._running) < launcher.workers:
            place = heapq.heappop(self._ready)
            if self._start(self.trials[place], launcher):
                taken += 1
            else:
                heapq.heappush(self._elsewhere, (now + _SECONDS_BETWEEN_LOOKS_ELSEWHERE, place))
        return taken

    def _start(self, trial: PlannedTrial, launcher: Launcher) -> bool:
        """Start a trial, or note that it is done; False where another process runs it."""
        directory = self.directory(trial)
        status = read_status(directory)
        if status.state == "done":
            self._finish(trial, status)  # by another process since
        elif holder(directory) is not None:
            self._show(trial, status)  # wait for its result
            return False
        else:
            self._running[trial] = launcher.start(directory)
            self._set(trial, "running", status)
            self._chances[trial.hash] -= 1
        return True

    def _settle(self) -> int:
        """Take note of processes that ended, and show how far the others are; returns how many ended."""
        now, ended = time.monotonic(), 0
        shows = now - self._shown >= _SECONDS_BETWEEN_SHOWS
        self._shown = now if shows else self._shown
        for trial, process in tuple(self._running.items()):
            code = process.poll()
            if code is None:
                if shows:
                    self._show(trial)
                continue
            ended += 1
            del self._running[trial]
            status = read_status(self.directory(trial))
            if code == 0 and status.state == "done":
                self._finish(trial, status)
            elif code == EXIT_CLAIMED:
                self._wait_again(trial, 1)
            elif code in (EXIT_LOST, EXIT_INTERRUPTED) and self._may_go_on(trial, status):
                self.progress.message(f"{trial.label}: {_what_happened(code)}; it goes on.")
                self._wait_again(trial, 1)
            elif code == EXIT_DISK_FULL:
                raise DiskFullError(self.directory(trial))
            else:
                self._end_badly(trial, code, status)
        return ended

    def _may_go_on(self, trial: PlannedTrial, status: Status) -> bool:
        """Whether a trial that was stopped from outside got further since the last time, or seldom was."""
        times, step = self._losses.get(trial.hash, (0, 0))
        times = 1 if status.step > step else times + 1
        self._losses[trial.hash] = times, max(step, status.step)
        return times < _MOST_LOSSES

    def _wait_again(self, trial: PlannedTrial, chances: int = 0) -> None:
        self._chances[trial.hash] += chances
        heapq.heappush(self._ready, self._order[trial.hash])
        self._set(trial, "waiting")

    def _end_badly(self, trial: PlannedTrial, code: int, status: Status) -> None:
        error, traceback = status.error, text_of(self.directory(trial) / ERROR)
        if status.state != "failed":
            log = text_of(self.directory(trial) / LOG)
            hung = re.search(r"^Timeout \((.*)\)!$", log, re.M)
            traceback = log[hung.start() :] if hung else "\n".join(log.splitlines()[-_LAST_LINES:])
            lines = traceback.splitlines() if code == EXIT_REFUSED else []
            error = lines[-1].rpartition("WarmstartError: ")[2] if lines else _what_happened(code)
            if hung:
                error = f"nothing moved for {hung[1]}; the traceback shows where it stood"
        if self._chances[trial.hash] > 0 and code != EXIT_REFUSED:
            self.progress.message(f"{trial.label}: failed ({error}); trying once more.")
            self._wait_again(trial)
        else:
            self._fail(trial, error, traceback)

    def _fail(self, trial: PlannedTrial, error: str, traceback: str) -> None:
        """Note that a trial failed, and with it whatever was to start from it."""
        directory = self.directory(trial)
        write_text(directory / ERROR, traceback.rstrip() + "\n")
        write_status(directory, replace(read_status(directory), state="failed", error=error))
        self._set(trial, "failed")
        for follower in self._followers.pop(trial.hash, ()):
            self._fail(follower, "its source agent failed", traceback)

    def _finish(self, trial: PlannedTrial, status: Status) -> None:
        self._set(trial, "done", status)
        for follower in self._followers.pop(trial.hash, ()):
            heapq.heappush(self._ready, self._order[follower.hash])

    def _set(self, trial: PlannedTrial, state: State, status: Status | None = None) -> None:
        self.states[trial.hash] = state
        self._show(trial, status)

    def _show(self, trial: PlannedTrial, status: Status | None = None) -> None:
        status = status or read_status(self.directory(trial))
        state = self.states[trial.hash]
        if state == "running" and status.state != "running":
            status = replace(status, state="running", step=0)
        elif state == "waiting" and status.state not in ("waiting", "running"):
            status = replace(status, state="waiting", step=0)
        self.progress.show(trial.label, shown(replace(status, total=trial.steps)))

    def _stop(self, launcher: Launcher) -> None:
        """End running processes: politely, then after a while, or at a second Ctrl-C, by force."""
        if launcher.outlives:
            if self._running:
                self.progress.message(
                    f"{len(self._running)} trials go on by themselves; the same command finds them again."
                )
            return
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with contextlib.suppress(KeyboardInterrupt):
            while time.monotonic() < deadline and any(p.poll() is None for p in self._running.values()):
                time.sleep(_PAUSES[1])
        for trial, process in self._running.items():
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                while process.poll() is None:
                    time.sleep(_PAUSES[1])
            directory = self.directory(trial)
            status = read_status(directory)
            if status.state == "running":
                with contextlib.suppress(OSError, DiskFullError):
                    write_status(directory, replace(status, state="interrupted"))
        self._running.clear()


def _what_happened(code: int) -> str:
    """Say how a process ended that left no word."""
    if code in (EXIT_LOST, EXIT_INTERRUPTED):
        return "its process was lost" if code == EXIT_LOST else "it was interrupted from outside"
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
