"""Progress of many trials: a live table on a terminal, plain lines elsewhere. Written to stderr."""

import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from warmstart.experiments.records.config import PlannedTrial
from warmstart.experiments.records.status import Status

Mode = Literal["auto", "live", "plain", "none"]
SECONDS_BETWEEN_LINES = 15.0
_MARKS = {"waiting": "·", "running": "▶", "done": "✓", "failed": "✗", "interrupted": "‖"}
_STYLES = {"waiting": "dim", "running": "cyan", "done": "green", "failed": "red", "interrupted": "yellow"}


class TrialProgress:
    """Shows nothing; the base of those that do. A context manager."""

    def __enter__(self) -> "TrialProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, trial: PlannedTrial, status: Status) -> None:
        """Show where a trial stands; called a few times per second."""

    def message(self, text: str) -> None:
        """Show one line that stays."""


class PlainProgress(TrialProgress):
    """Lines: when a trial starts and ends, and how far each is every quarter of a minute."""

    def __init__(self, trials: Iterable[PlannedTrial]) -> None:
        self.total = len(tuple(trials))
        self._states: dict[str, str] = {}
        self._spoken: dict[str, float] = {}

    def update(self, trial: PlannedTrial, status: Status) -> None:
        """Print a line when there is something new to say."""
        state = status.state
        changed = self._states.get(trial.hash) != state
        self._states[trial.hash] = state
        now = time.monotonic()
        if changed and state != "waiting":
            self._spoken[trial.hash] = now
            done = sum(other == "done" for other in self._states.values())
            tail = f" [{done}/{self.total} trials done]" if state == "done" else ""
            what = (
                "" if state == "running" else f": {status.error}" if state == "failed" else _describe(status)
            )
            self.message(f"{trial.label}: {'started' if state == 'running' else state}{what}{tail}")
        elif state == "running" and now - self._spoken.get(trial.hash, 0.0) > SECONDS_BETWEEN_LINES:
            self._spoken[trial.hash] = now
            self.message(f"{trial.label}:{_describe(status)}")

    def message(self, text: str) -> None:
        """Print one line."""
        print(text, file=sys.stderr, flush=True)


class LiveProgress(TrialProgress):
    """One row per trial, redrawn in place; trials beyond the terminal's height are summed up in a line."""

    def __init__(self, trials: Iterable[PlannedTrial], console: Console) -> None:
        self.trials = tuple(trials)
        self.console = console
        self.bars = Progress(
            TextColumn("[{task.fields[style]}]{task.fields[mark]} {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[steps]}", justify="right"),
            TextColumn("{task.fields[speed]}", justify="right"),
            TextColumn("{task.fields[last]}", justify="right"),
            TextColumn("{task.fields[eta]}", justify="right"),
            console=console,
            auto_refresh=False,
        )
        self._rows: dict[str, TaskID] = {}
        self._states: dict[str, str] = {}
        for trial in self.trials:
            columns = self._columns(Status(total=trial.steps))
            total = max(trial.steps, 1)
            self._rows[trial.hash] = self.bars.add_task(trial.label, total=total, visible=False, **columns)
            self._states[trial.hash] = "waiting"
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> "LiveProgress":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, trial: PlannedTrial, status: Status) -> None:
        """Redraw a trial's row."""
        self._states[trial.hash] = status.state
        complete = max(trial.steps, 1) if status.state == "done" else status.step
        self.bars.update(self._rows[trial.hash], completed=complete, **self._columns(status))

    def message(self, text: str) -> None:
        """Print one line above the table."""
        self.console.print(text, markup=False, highlight=False)

    def _columns(self, status: Status) -> dict[str, Any]:
        running = status.state == "running"
        return {
            "mark": _MARKS[status.state],
            "style": _STYLES[status.state],
            "steps": f"{_short(status.step)}/{_short(status.total)}" if status.total else "",
            "speed": f"{_short(status.steps_per_second)} steps/s" if status.steps_per_second else "",
            "last": "" if status.last_return is None else f"return {status.last_return:.1f}",
            "eta": _remaining(status) if running else (status.state if status.state != "done" else ""),
        }

    def _render(self) -> Group:
        """Choose the rows that fit: running first, then failed, the latest done, the next waiting."""
        order = {"running": 0, "failed": 1, "interrupted": 1, "done": 2, "waiting": 3}
        room = max(self.console.height - 3, 4)
        ranked = sorted(self.trials, key=lambda trial: order[self._states[trial.hash]])
        shown = {trial.hash for trial in ranked[:room]}
        for trial in self.trials:
            self.bars.update(self._rows[trial.hash], visible=trial.hash in shown)
        counts = {state: list(self._states.values()).count(state) for state in order}
        words = [f"{count} {state}" for state, count in counts.items() if count]
        return Group(self.bars.get_renderable(), f"{len(self.trials)} trials: {', '.join(words)}")


def make_progress(trials: Iterable[PlannedTrial], mode: Mode = "auto") -> TrialProgress:
    """Choose how progress is shown: `auto` is live on a terminal and plain lines elsewhere."""
    console = Console(stderr=True)
    if mode == "none":
        return TrialProgress()
    if mode == "live" or (mode == "auto" and console.is_terminal and not console.is_dumb_terminal):
        return LiveProgress(trials, console)
    return PlainProgress(trials)


def _describe(status: Status) -> str:
    parts = []
    if status.total and status.step:
        parts.append(f"{status.step:,}/{status.total:,} steps")
    if status.steps_per_second:
        parts.append(f"{_short(status.steps_per_second)} steps/s")
    if status.last_return is not None:
        parts.append(f"return {status.last_return:.1f}")
    if status.state == "running" and (remaining := _remaining(status)):
        parts.append(remaining)
    return " " + ", ".join(parts) if parts else ""


def _remaining(status: Status) -> str:
    """Estimate the time left from the time since the attempt's start, evaluations included."""
    elapsed = status.updated - status.started
    if status.step <= 0 or elapsed <= 0 or status.total <= status.step:
        return ""
    seconds = round(elapsed / status.step * (status.total - status.step))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"


def _short(number: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
