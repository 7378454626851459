"""How far a run is, once or live. It only reads: on any machine that shares the folder, beside schedulers."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from warmstart.core.errors import WarmstartError, readable
from warmstart.core.progress import MARKS, Lines, Work, counted, most_telling, short
from warmstart.core.threads import signals_deferred
from warmstart.experiments.run.reading import TrialState, statuses
from warmstart.experiments.run.scheduler import shown

SECONDS_BETWEEN_LOOKS = 1.0
LOOKS_AFTER_FAILURE = 5
"""A trial that failed is tried once more, which shows after a moment: so many looks are waited for it."""
LOOKS_IN_VAIN = 10
"""A shared folder may be unreadable for a moment; after so many looks that is an error."""
_LOOKS_UNTIL_IDLE = 30
"""A scheduler that begins needs a while until its first trial runs."""
_MOST_REASONS = 3
"""Reasons of failures that a live display shows."""
_COLUMNS = ("", "arm", "seed", "steps", "speed", "return", "state", "host:pid")
_NUMBERS = ("seed", "steps", "speed", "return")
_SHRINKING = ("arm", "host:pid")
"""Columns that give way where a terminal is narrow."""


@dataclass
class View:
    """What is shown of a run: a row for each trial, how many there are of each state, why some failed."""

    directory: Path
    states: tuple[TrialState, ...]
    remark: str = ""
    """What else is to be said, a sentence."""
    live: bool = False
    """Whether it is cut to the terminal's height, so that it can be redrawn in place."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        reasons = self._reasons()
        told = reasons[:_MOST_REASONS] if self.live else reasons
        if len(reasons) > len(told):
            told[-1] = f"failed for {len(reasons) - len(told) + 1} other reasons: see `warmstart status`"
        footer = [*((line, "red") for line in told), *([(self.remark, "yellow")] if self.remark else [])]
        room = max(console.height - 4 - len(footer), 1) if self.live else len(self.states)
        rows = {str(place): state for place, state in enumerate(self.states)}
        chosen = most_telling({place: state.status.state for place, state in rows.items()}, room)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name in _COLUMNS:
            side: Literal["left", "right"] = "right" if name in _NUMBERS else "left"
            table.add_column(name, justify=side, no_wrap=name not in _SHRINKING)
        for place in sorted(chosen, key=int) if not self.live else chosen:
            table.add_row(*_cells(rows[place]), style=MARKS[rows[place].status.state][1])
        hidden = len(rows) - len(chosen)
        counts = f"{len(rows)} trials: {counted(state.status.state for state in self.states)}"
        yield _line(str(self.directory), "bold")
        yield table
        yield _line(counts + (f" ({hidden} of them not shown)" if hidden else ""), "")
        for text, style in footer:
            yield _line(text, style) if self.live else Text(readable(text), style=style)

    def _reasons(self) -> list[str]:
        """Why trials failed, a line for each reason, the most frequent first."""
        failed = [state for state in self.states if state.status.state == "failed"]
        found = Counter(state.status.error for state in failed)
        told = []
        for error, _ in found.most_common():
            names = "; ".join(state.label for state in failed if state.status.error == error)
            told.append(f"failed: {error.rstrip('.') or 'no reason is known'} ({names})")
        return told


def watch(directory: Path) -> bool:
    """Show how far a run is until nothing of it is open any more: in place on a terminal, else as lines.

    Args:
        directory: The run's folder.

    Returns:
        Whether a trial failed.

    Raises:
        WarmstartError: It is no run, or can't be read any more.
        KeyboardInterrupt: Ctrl-C; its message says that the run itself goes on.
    """
    console = Console(file=sys.stdout, highlight=False, markup=False)
    view = View(directory, statuses(directory))
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            view.live = True
            _draw(view, console)
        else:
            _tell(view)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("No longer watching; the run itself isn't touched.") from None
    return any(state.status.state == "failed" for state in view.states)


def remark_of(states: tuple[TrialState, ...], directory: Path) -> str:
    """Say of a run of which nobody runs a trial how it goes on; empty where all is done or somebody does."""
    if not _is_open(states) or any(state.owner for state in states):
        return ""
    return f"No process runs a trial of it now: `warmstart resume {directory}` goes on."


def _looks(view: View) -> Iterator[None]:
    """Look at the run about once a second, until nothing is open."""
    settled = idle = vain = 0
    while True:
        is_open = _is_open(view.states)
        idle = idle + 1 if remark_of(view.states, view.directory) else 0
        if not vain:
            view.remark = remark_of(view.states, view.directory) if idle > _LOOKS_UNTIL_IDLE else ""
        yield
        settled = 0 if is_open else settled + 1
        failed = any(state.status.state == "failed" for state in view.states)
        if settled > (LOOKS_AFTER_FAILURE if failed else 0):
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)
        try:
            view.states, vain = statuses(view.directory), 0
        except WarmstartError as error:
            vain += 1
            if vain > LOOKS_IN_VAIN:
                raise
            view.remark = f"Trying again: {error}"


def _draw(view: View, console: Console) -> None:
    """Redraw it in place after each look; an interrupt amid that would leave the cursor hidden."""
    live = Live(view, console=console, auto_refresh=False)
    with signals_deferred():
        live.start()
    try:
        for _ in _looks(view):
            with signals_deferred():
                live.refresh()
    finally:
        with signals_deferred():
            live.stop()


def _tell(view: View) -> None:
    """Say in lines what there is, and then what changes."""
    lines = Lines([state.label for state in view.states], sys.stdout)
    before, remark = dict[str, Work](), ""
    for _ in _looks(view):
        labels = Counter(state.label for state in view.states)
        for state in view.states:
            name = state.label if labels[state.label] == 1 else f"{state.label} ({state.hash[:4]})"
            work = _work(state)
            if before.get(name) != work:
                lines.show(name, work)
                before[name] = work
        if view.remark != remark:
            remark = view.remark
            if remark:
                lines.message(remark)
    lines.message(f"{len(view.states)} trials: {counted(state.status.state for state in view.states)}")


def _is_open(states: tuple[TrialState, ...]) -> bool:
    """Whether something is still to be done; a failed trial that is claimed is being tried once more."""
    return any(state.status.state not in ("done", "failed") or state.owner for state in states)


def _work(state: TrialState) -> Work:
    owner = state.owner
    known = owner is not None and owner.pid
    return replace(shown(state.status), where=f"{owner.host}:{owner.pid}" if owner and known else "")


def _cells(state: TrialState) -> list[Text]:
    """A trial's row."""
    work, status = _work(state), state.status
    texts = {
        "": MARKS[status.state][0],
        "arm": state.arm,
        "seed": "" if state.kind == "random" else str(state.seed),
        "steps": work.amount,
        "speed": f"{short(work.speed)}/s" if work.speed else "",
        "return": "" if status.last_return is None else f"{status.last_return:,.1f}",
        "state": work.end or status.state,
        "host:pid": work.where,
    }
    return [_line(texts[name]) for name in _COLUMNS]


def _line(text: str, style: str = "") -> Text:
    """One line, whatever the text holds, cut where there is no room for it."""
    return Text(readable(" ".join(text.split())), style=style, no_wrap=True, overflow="ellipsis")
