"""The training states of a trial: written while it trains, found again by the next attempt."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from warmstart.agents.resuming.storage import read_states, state_files, write_state
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import DiskFullError
from warmstart.core.threads import Notice
from warmstart.experiments.records.records import RECORDS, TIMES, TRAINING

FIRST_AFTER = 20.0
"""Seconds of training before the first state is written."""
EVERY = 60.0
"""Seconds between two of them, at least."""
SHARE = 0.02
"""Share of the time that writing them may take."""


class UnusableStateError(WarmstartError):
    """A training state that belongs to another training, or to another version."""


class StateKeeper:
    """Writes a trial's training state from time to time, and when notice is given, which it follows.

    Args:
        directory: The trial's.
        gather: Gives the state.
        may_write: Whether this process still owns the trial.
        tell: Says what somebody should know.
        notice: A request to end.
    """

    def __init__(
        self,
        directory: Path,
        gather: Callable[[], tuple[int, State]],
        may_write: Callable[[], bool],
        tell: Callable[[str], None] = print,
        notice: Notice | None = None,
    ) -> None:
        self.folder = directory / TRAINING
        self.gather, self.may_write, self.tell = gather, may_write, tell
        self.notice = notice or Notice()
        self._due = time.monotonic() + FIRST_AFTER
        self._works, self._told = True, False

    def __call__(self) -> None:
        """Write the state if it is time to, or if this is where training ends.

        Raises:
            KeyboardInterrupt: Notice was given; the state is written.
        """
        start, leaves = time.monotonic(), self.notice.given
        if self._works and (leaves or start >= self._due) and self.may_write():
            self._write(start)
        if leaves:
            raise KeyboardInterrupt

    def _write(self, start: float) -> None:
        try:
            step, state = self.gather()
            write_state(self.folder, step, state)
        except DiskFullError:
            raise
        except WarmstartError as error:
            self._works = False
            have = "go on from its last state" if state_files(self.folder) else "begin anew"
            self.tell(f"Interrupted from here on, this training would {have}: {error}")
            return
        if state["agent"]["lost"] and not self._told:
            self._told = True
            self.tell(f"A resume of this training would be statistical: {'; '.join(state['agent']['lost'])}.")
        end = time.monotonic()
        self._due = end + max(EVERY, (end - start) / SHARE)


def kept_states(directory: Path, tell: Callable[[str], None] = print) -> Iterator[State]:
    """The training states of an earlier attempt, the newest first; damaged ones are passed over.

    Args:
        directory: The trial's.
        tell: Says which are damaged.
    """
    for path, state in read_states(directory / TRAINING, tell):
        try:
            for name, file in (("records", RECORDS), ("times", TIMES)):
                if (directory / file).stat().st_size < _recorded(state, name):
                    raise WarmstartError(f"{file} is shorter than it was")
        except (OSError, WarmstartError) as error:
            tell(f"{path} is passed over: {error}")
        else:
            yield state


def _recorded(state: State, name: str) -> int:
    """Bytes of a file that a state goes on from."""
    kept = state.get("recorder") if isinstance(state, dict) else None
    size = kept.get(name) if isinstance(kept, dict) else None
    if type(size) is not int or size < 0:
        raise WarmstartError(f"it doesn't say how many bytes of {name} there were")
    return size
