"""The training state of a trial on the disk: written while it trains, found again by the next attempt.

A file is named by the step and by what it contains, staged beside its name, synced and renamed; the last two
are kept. One that is damaged is passed over, and said so.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from warmstart.agents.resuming.packing import pack, unpack
from warmstart.agents.untrusted.torch_files import MOST_BYTES
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import read_bytes, replace_file
from warmstart.experiments.records.records import RECORDS, TIMES

FOLDER = "training"
KEPT = 2
FIRST_AFTER = 20.0
"""Seconds of training before the first state is written."""
EVERY = 60.0
"""Seconds between two of them, at least."""
SHARE = 0.02
"""Share of the time that writing them may take."""


class UnusableStateError(WarmstartError):
    """A training state that belongs to another training, or to another version."""


class StateKeeper:
    """Writes a trial's training state from time to time.

    Args:
        directory: The trial's.
        gather: Gives the state.
        may_write: Whether this process still owns the trial.
        tell: Says what somebody should know.
    """

    def __init__(
        self,
        directory: Path,
        gather: Callable[[], tuple[int, State]],
        may_write: Callable[[], bool],
        tell: Callable[[str], None] = print,
    ) -> None:
        self.folder = directory / FOLDER
        self.gather, self.may_write, self.tell = gather, may_write, tell
        self._due = time.monotonic() + FIRST_AFTER
        self._works = True

    def __call__(self) -> None:
        """Write the state if it is time to."""
        start = time.monotonic()
        if not self._works or start < self._due or not self.may_write():
            return
        try:
            step, state = self.gather()
            content = pack(state)
        except WarmstartError as error:
            self._works = False
            have = "go on from its last state" if _files(self.folder) else "begin anew"
            self.tell(f"Interrupted from here on, this training would {have}: {error}")
            return
        self.folder.mkdir(exist_ok=True)
        replace_file(self.folder / f"{step:012}-{_digest(content)}.safetensors", content)
        for old in _files(self.folder)[KEPT:]:
            old.unlink(missing_ok=True)
        end = time.monotonic()
        self._due = end + max(EVERY, (end - start) / SHARE)


def kept_states(directory: Path, tell: Callable[[str], None] = print) -> Iterator[State]:
    """The training states of an earlier attempt, the newest first; damaged ones are passed over.

    Args:
        directory: The trial's.
        tell: Says which are damaged.
    """
    for path in _files(directory / FOLDER):
        try:
            content = read_bytes(path, MOST_BYTES, within=directory)
            if _digest(content) != path.stem.rpartition("-")[2]:
                raise WarmstartError("it isn't what was written")
            state = unpack(content)
            for name, file in (("records", RECORDS), ("times", TIMES)):
                if (directory / file).stat().st_size < _recorded(state, name):
                    raise WarmstartError(f"{file} is shorter than it was")
            yield state
        except (OSError, WarmstartError) as error:
            tell(f"{path} is passed over: {error}")


def _recorded(state: State, name: str) -> int:
    """Bytes of a file that a state goes on from."""
    kept = state.get("recorder") if isinstance(state, dict) else None
    size = kept.get(name) if isinstance(kept, dict) else None
    if type(size) is not int or size < 0:
        raise WarmstartError(f"it doesn't say how many bytes of {name} there were")
    return size


def forget_states(directory: Path) -> None:
    """Remove what only an unfinished training needs."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*-*.safetensors"), reverse=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
