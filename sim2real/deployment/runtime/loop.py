"""The loop of a run: observe, act and log at a fixed rate, and a safe stop however it ends."""

import contextlib
import gc
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .log import Log
from .outcome import Outcome, RunError
from .policy import Policy
from .robot import Reading, Robot, check_fit, check_reading
from .safety import STOP_SECONDS, ActionLimits, Limits, Watchdog, bad_number, read_limits

_SPIN = 0.0002
"""Seconds before a step that are waited awake, since a sleeping process wakes late."""
_FEWEST_STOPS = 5
"""Commands of a safe stop at least, of which a poor link may lose some."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Runner:
    """Runs a policy on a robot.

    Args:
        policy: The policy.
        robot: The robot.
        limits: Of commands.
        watchdog: When to give up.

    Raises:
        DeploymentError: The contract doesn't fit the robot, or a limit the contract; before anything is
            commanded.
    """

    def __init__(
        self,
        policy: Policy,
        robot: Robot,
        limits: Limits | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        check_fit(policy.contract, robot)
        self.policy, self.robot = policy, robot
        self.limits: ActionLimits = read_limits(limits or Limits(), policy.contract)
        self.watchdog = watchdog or Watchdog()
        self.period = 1 / robot.rate
        self._stale = self.watchdog.seconds("stale_after", self.period)
        self._pause = self.watchdog.seconds("pause_after", self.period)
        self._reading: Reading | None = None
        self._seen = self._logged = -1
        self._heard, self._unsound = math.nan, ""
        self._last: NDArray[np.float64] | None = None
        self._start = 0.0
        self._signal: int | None = None
        self._written: Log
        self.outcome = Outcome()
        if policy.contract.rate is None:
            self.outcome.notes.append(f"The contract says no rate: the robot's was taken, {robot.rate:g} Hz.")

    def run(self, log: Log, seconds: float = math.inf) -> Outcome:
        """Act until the time is up, a watchdog or a signal ends it; the safe stop is part of every end.

        Args:
            log: Where everything is written.
            seconds: How long.

        Raises:
            RunError: The robot's or the log's own code failed; after the safe stop.
        """
        outcome, self._written = self.outcome, log
        gc.collect()
        gc.freeze()  # what is there needs no looking through while the loop runs
        self._start = time.monotonic()
        with _signals(self._on_signal):
            try:
                outcome.reason = self._wait() or self._loop(seconds)
                self._stop(outcome.reason)
            except Exception as error:
                outcome.reason = f"{type(error).__name__}: {error}"
                self._stop(outcome.reason)
                raise RunError(
                    f"The run ended in a safe stop since something failed. {outcome.reason}"
                ) from error
            except BaseException as error:
                self._stop(type(error).__name__)
                raise
            finally:
                gc.unfreeze()
                damaged = getattr(self.robot, "damaged", 0)
                if damaged:
                    outcome.notes.append(f"{damaged} packets were no observations and were dropped.")
        return outcome

    def _wait(self) -> str:
        """Wait for the first sound observation; returns why there is none, empty where there is."""
        while self._reading is None:
            if self._signal is not None:
                return self._ended_by_signal()
            if time.monotonic() - self._start > self.watchdog.first_within:
                bad = f"; those that came hold no number for {self._unsound}" if self._unsound else ""
                return f"no observation came within {self.watchdog.first_within:g} s{bad}"
            self._observe()
            time.sleep(min(0.002, self.period / 4))
        return ""

    def _loop(self, seconds: float) -> str:
        """Take control steps; returns why it ended."""
        assert self._reading is not None
        outcome, period = self.outcome, self.period
        start = self._reading.arrived + period / 2  # in the middle between one observation and the next
        step = max(0, math.ceil((time.monotonic() - start) / period))
        first = start + step * period
        event = "start"
        while True:
            due = start + step * period
            now = _sleep_until(due)
            late = now - due
            if self._signal is not None:
                return self._ended_by_signal()
            if late > self._pause:
                return f"the runner stood still for {late:.3f} s"
            if due - first >= seconds:
                outcome.finished = True
                return "the time is up"
            self._observe()
            reason = self._act(now, late, event)
            if reason:
                return reason
            event = ""
            outcome.steps += 1
            outcome.late.append(late)
            outcome.seconds = now - first
            spent = time.monotonic() - due
            if spent > self._pause:
                return f"the runner stood still for {spent:.3f} s"
            missed = max(0, int(spent / period))
            outcome.missed += missed
            step += 1 + missed

    def _observe(self) -> None:
        """Take the newest observation, unless it is unsound; those that aren't acted on are only logged."""
        found = self.robot.observe()
        if found is None or found.number <= self._seen:
            return
        check_reading(found, self.policy.contract)
        before = () if self._reading is None else (self._reading,)
        for earlier in (*before, *found.earlier):
            if earlier.number > self._seen:
                self._count(earlier)
            if earlier.number > self._logged:
                self._log(time.monotonic(), math.nan, earlier, self._last, event="not acted on")
        self._count(found)
        self._unsound = bad = bad_number(found.values, self.policy.contract)
        if bad:
            self.outcome.unsound += 1
            self._log(
                time.monotonic(), math.nan, found, self._last, event=f"not acted on: no number for {bad}"
            )
            return
        if self._reading is None or found.episode != self._reading.episode:
            self.policy.reset()
            self._last = None if self._reading is None else self._last
        self._reading = found

    def _count(self, reading: Reading) -> None:
        """Count the observations that are missing before one."""
        self.outcome.unheard += reading.number - self._seen - 1 if self._seen >= 0 else 0
        self._seen = reading.number

    def _act(self, now: float, late: float, event: str) -> str:
        """Command what the policy wants, within limits; returns why to stop, empty to go on."""
        reading, outcome, period = self._reading, self.outcome, self.period
        assert reading is not None
        age = now - reading.arrived
        if age > self._stale:
            bad = f"they hold no number for {self._unsound}" if self._unsound else "none comes any more"
            return f"the newest sound observation is {age:.3f} s old, {bad}"
        wanted: NDArray[np.float64] | None = None
        if reading.ended:  # no action follows an episode's last observation
            command = self.limits.rest.copy()
        else:
            wanted = self.policy.act(reading.values).astype(np.float64).reshape(-1)
            if not np.isfinite(wanted).all():
                names = [each.name for each in self.policy.contract.action.dimensions]
                k = int(np.flatnonzero(~np.isfinite(wanted))[0])
                self._log(now, late, reading, self._last, wanted, event=event)
                return f"the policy gave {wanted[k]} for {names[k] if names else f'action {k}'}"
            command = self.limits.apply(wanted, self._last, reading.values, period)
        limited = 0 if wanted is None else int((command != wanted).sum())
        outcome.limited += limited > 0
        done = time.monotonic()
        if done - now > self._pause:
            return f"the runner stood still for {done - now:.3f} s"
        self._command(command)
        self._last = command
        self._log(now, late, reading, command, wanted, done - now, limited, event)
        return ""

    def _command(self, command: NDArray[np.float64]) -> None:
        signal_ = self.policy.contract.action
        self.robot.act(command.astype(signal_.dtype).reshape(signal_.shape))

    def _log(
        self,
        now: float,
        late: float,
        reading: Reading | None,
        command: NDArray[np.float64] | None,
        wanted: NDArray[np.float64] | None = None,
        compute: float = math.nan,
        limited: int = 0,
        event: str = "",
    ) -> None:
        age = trip = math.nan
        if reading is not None:
            self._logged = reading.number
            age = now - reading.arrived
            if reading.answered is not None and reading.answered != self._heard:
                self._heard, trip = reading.answered, reading.arrived - reading.answered
        sent = self.limits.rest if command is None else command
        self._written.write(
            reading, sent, wanted, (now - self._start, late, compute, age, trip), limited, event
        )

    def _stop(self, reason: str) -> None:
        """Bring the robot to rest and say so in the log, whatever fails on the way."""
        problems = dict[str, None]()
        event = f"safe stop: {reason}"
        for _ in range(max(_FEWEST_STOPS, math.ceil(STOP_SECONDS / self.period))):
            self._last = self.limits.stopping(self._last, self.period)
            with _told(problems):
                self._command(self._last)
            with _told(problems):
                self._observe()
            with _told(problems):
                self._log(time.monotonic(), math.nan, self._reading, self._last, event=event)
            event = "stopping"
            time.sleep(self.period)
        stop: Callable[[], None] | None = getattr(self.robot, "stop", None)
        if stop is not None:
            with _told(problems):
                stop()
        failed = "".join(f"; {problem}" for problem in problems)
        with _told(problems):
            self._log(time.monotonic(), math.nan, self._reading, self._last, event=f"stopped{failed}")
        self.outcome.reason += failed

    def _on_signal(self, number: int) -> None:
        self._signal = number

    def _ended_by_signal(self) -> str:
        self.outcome.signal = self._signal
        return f"{signal.Signals(self._signal or 0).name} was received"


def _sleep_until(due: float) -> float:
    """Wait for a moment of `time.monotonic`; returns the moment after it."""
    while True:
        now = time.monotonic()
        if now >= due:
            return now
        if due - now > _SPIN:
            time.sleep(due - now - _SPIN)


@contextlib.contextmanager
def _told(problems: dict[str, None]) -> Iterator[None]:
    """Go on after any error, and remember it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (nothing may keep a robot from being stopped)
        problems[f"{type(error).__name__} while stopping: {error}"] = None


@contextlib.contextmanager
def _signals(handler: Callable[[int], None]) -> Iterator[None]:
    """Let signals that end a process only tell it to; outside of the main thread none come."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[Any, Any] = {
        number: signal.signal(number, lambda got, _: handler(got)) for number in _SIGNALS
    }
    try:
        yield
    finally:
        for number, held in before.items():
            signal.signal(number, signal.SIG_DFL if held is None else held)
