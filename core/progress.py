"""Progress of long work, on standard error: a live table on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from typing_extensions import override

from warmstart.core.errors import readable

Mode = Literal["auto", "live", "plain", "none"]
State = Literal["waiting", "running", "done", "failed", "interrupted"]
Advance = Callable[..., None]
"""Called with what is done, what there is in all, and a word on how it goes."""
SECONDS_BETWEEN_LINES = 15.0
_COLUMNS = ("amount", "rate", "note", "end")
"""What the live table shows of each `Work`."""
MARKS: dict[State, tuple[str, str]] = {
    "running": ("▶", "cyan"),
    "failed": ("✗", "red"),
    "interrupted": ("‖", "yellow"),
    "done": ("✓", "green"),
    "waiting": ("·", "dim"),
}
"""Mark and colour of each state, those first that are shown where not all fit."""


@dataclass(frozen=True)
class Work:
    """How far one piece of work is."""

    state: State = "running"
    done: int = 0
    total: int = 0
    """What there is in all; 0 where nobody knows yet."""
    seconds: float = 0.0
    """Time since it began."""
    note: str = ""
    """How it goes."""
    unit: str = ""
    """What is counted."""
    speed: float = 0.0
    """What was done per second lately; 0 shows none."""
    error: str = ""
    """Why it failed."""
    where: str = ""
    """Who does it; empty where that goes without saying."""

    @property
    def amount(self) -> str:
        """What is done of all, briefly."""
        return f"{short(self.done)}/{short(self.total)}" if self.total else ""

    @property
    def rate(self) -> str:
        """Its speed in words."""
        return f"{short(self.speed)} {self.unit}/s" if self.speed else ""

    @property
    def end(self) -> str:
        """Time left in words, estimated from the time since it began; or how it ended, if it isn't done."""
        if self.state not in ("running", "done"):
            return self.state
        if self.state != "running" or self.done <= 0 or self.seconds <= 0 or self.total <= self.done:
            return ""
        minutes, seconds = divmod(round(self.seconds / self.done * (self.total - self.done)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"

    def __str__(self) -> str:
        amount = f"{self.done:,}/{self.total:,} {self.unit}".rstrip() if self.total and self.done else ""
        return ", ".join(
            filter(None, (amount, self.rate, self.note, self.end if self.state == "running" else ""))
        )


def most_telling(states: Mapping[str, State], room: int) -> tuple[str, ...]:
    """Names of the work that is shown where not all fit: running first, then failed, done, waiting."""
    order = list(MARKS)
    return tuple(sorted(states, key=lambda name: order.index(states[name]))[:room])


def counted(states: Iterable[State]) -> str:
    """How many are in each state, in words."""
    numbers = Counter(states)
    return ", ".join(f"{numbers[state]} {state}" for state in MARKS if numbers[state])


class Progress:
    """Shows nothing; the base of those that do. A context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, name: str, work: Work) -> None:
        """Show how far some work is; may be called many times per second."""

    def message(self, text: str) -> None:
        """Show one line that stays."""

    def stage(self, name: str) -> Advance:
        """Begin a stage.

        Args:
            name: What is being done, as in ``Collecting frames``.

        Returns:
            A function to call with steps done, steps in all and, if there is something to say, a few words.
        """
        began = time.monotonic()

        def advance(done: int, total: int, word: str = "") -> None:
            seconds = time.monotonic() - began
            state: State = "running" if done < total else "done"
            took = f"{seconds:.0f} s" if state == "done" else ""
            self.show(name, Work(state, done, total, seconds, ", ".join(filter(None, (word, took)))))

        self.show(name, Work())
        return advance


class Lines(Progress):
    """Lines: when work starts and ends, and how far it is every quarter of a minute."""

    def __init__(self, trials: Iterable[str] = (), file: TextIO | None = None) -> None:
        """Take the names of a study's trials, and where lines go: standard error by default."""
        self._file = file
        self._total = len(tuple(trials))
        self._states: dict[str, State] = {}
        self._spoken: dict[str, float] = {}

    @override
    def show(self, name: str, work: Work) -> None:
        now, state = time.monotonic(), work.state
        changed = self._states.get(name) != state
        self._states[name] = state
        late = state == "running" and now - self._spoken.get(name, 0.0) > SECONDS_BETWEEN_LINES
        if state == "waiting" or not (changed or late):
            return
        self._spoken[name] = now
        if not changed:
            self.message(f"{name}: {str(work) or 'still running'}")
        elif state == "running":
            at = f" on {work.where}" if work.where else ""
            self.message(f"{name}: running{at}: {work}" if at and work.done else f"{name}: started{at}")
        elif state == "failed":
            self.message(f"{name}: failed: {work.error}")
        else:
            done = sum(other == "done" for other in self._states.values())
            tail = f" [{done}/{self._total} trials done]" if self._total and state == "done" else ""
            self.message(f"{name}: {state} {work}".rstrip() + tail)

    @override
    def message(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal ends no work
            print(readable(text), file=self._file or sys.stderr, flush=True)


class LiveTable(Progress):
    """One row for each piece of work, redrawn in place; trials beyond the terminal's height are summed up."""

    def __init__(self, trials: Iterable[str], console: Console) -> None:
        self.console = console
        self._bars = Bars(
            TextColumn("[{task.fields[style]}]{task.fields[mark]} {task.description}"),
            BarColumn(bar_width=24),
            *(TextColumn(f"{{task.fields[work].{name}}}", justify="right") for name in _COLUMNS),
            console=console,
            auto_refresh=False,
        )
        self._rows: dict[str, TaskID] = {}
        self._states: dict[str, State] = {}
        for name in trials:
            self.show(name, Work("waiting"))
        self._total = len(self._rows)
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # the terminal is closed
            self._live.stop()

    @override
    def show(self, name: str, work: Work) -> None:
        if name not in self._rows:
            self._rows[name] = self._bars.add_task(escape(readable(name)), visible=False)
        self._states[name] = work.state
        mark, style = MARKS[work.state]
        total = max(work.total, 1)
        done = total if work.state == "done" else work.done
        self._bars.update(self._rows[name], total=total, completed=done, mark=mark, style=style, work=work)

    @override
    def message(self, text: str) -> None:
        self.console.print(readable(text), markup=False, highlight=False)

    def _render(self) -> Group:
        """Choose the rows that fit: running first, then failed, the latest done, the next waiting."""
        room, states = max(self.console.height - 3, 4), dict(self._states)
        shown = most_telling(states, room)
        for name in states:
            self._bars.update(self._rows[name], visible=name in shown)
        summary = [f"{self._total} trials: {counted(states.values())}"] if self._total else []
        return Group(self._bars.get_renderable(), *summary)


def make_progress(mode: Mode = "auto", trials: Iterable[str] = ()) -> Progress:
    """Choose how progress is shown.

    Args:
        mode: `auto` is live on a terminal and plain lines elsewhere.
        trials: Names of a study's trials, which are counted; none where stages follow one another.
    """
    console = Console(stderr=True)
    if mode == "none":
        return Progress()
    if mode == "live" or (mode == "auto" and console.is_terminal and not console.is_dumb_terminal):
        return LiveTable(trials, console)
    return Lines(trials)


def short(number: float) -> str:
    """Write a number in three digits, as in ``5.23k``."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
