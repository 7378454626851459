"""Progress of a command that works through a few stages: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[..., None]
"""Called with what is done, what there is in all, and a word on how it goes."""
SECONDS_BETWEEN_LINES = 15.0


class Meter:
    """Shows how far each stage is, on standard error. A context manager.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet
        self._bars: Progress | None = None
        if not quiet and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._bars = Progress(
                TextColumn("{task.description:<26}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[word]}"),
                console=self._console,
            )

    def __enter__(self) -> "Meter":
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def stage(self, name: str) -> Advance:
        """Begin a stage.

        Args:
            name: What is being done, as in ``Collecting frames``.

        Returns:
            A function to call with steps done, steps in all and, if there is something to say, a few words.
        """
        if self._quiet:
            return _silent
        if self._bars is None:
            return _Lines(name)
        bars, row = self._bars, self._bars.add_task(name, total=None, word="")

        def advance(done: int, total: int, word: str = "") -> None:
            bars.update(row, completed=done, total=total, word=word)

        return advance


def _silent(done: int, total: int, word: str = "") -> None:
    """Show nothing."""


class _Lines:
    """A line when a stage begins, every quarter of a minute, and at its end."""

    def __init__(self, name: str) -> None:
        self._name, self._spoken = name, time.monotonic()
        self._began = self._spoken
        print(f"{name} …", file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int, word: str = "") -> None:
        now = time.monotonic()
        if done < total and now - self._spoken < SECONDS_BETWEEN_LINES:
            return
        self._spoken = now
        tail = f", {word}" if word else ""
        print(
            f"{self._name}: {done:,}/{total:,}{tail} ({now - self._began:.0f} s)", file=sys.stderr, flush=True
        )
