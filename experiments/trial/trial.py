"""One trial, whatever starts it: `run_trial(directory)`, or this module as a program with a directory.

Running a finished trial does nothing; an unfinished one goes on from its last training state; only one
process runs it at a time. Imports torch only after the number of threads is decided.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

from warmstart.core.errors import WarmstartError
from warmstart.core.files import DiskFullError, is_disk_full, write_text
from warmstart.core.plugins import load_stored_plugins
from warmstart.core.threads import NOTICES, Notice, decide_threads
from warmstart.experiments.records.claims import Claim, ClaimedError
from warmstart.experiments.records.config import TrialConfig, engine_versions
from warmstart.experiments.records.records import ERROR, forget_states
from warmstart.experiments.records.status import (
    EXIT_CLAIMED,
    EXIT_DISK_FULL,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    State,
    StatusWriter,
    read_status,
)

STALL_VARIABLE = "WARMSTART_STALL_SECONDS"
_STALL_SECONDS = 1800.0
"""Without progress in a process of its own, after which the trial counts as hung; 0 waits forever."""
_SECONDS_BETWEEN_LOOKS = 1.0


def run_trial(directory: Path, notice: Notice | None = None, stall: float = 0.0) -> None:
    """Bring a trial to its end.

    Args:
        directory: `RUN/trials/HASH`, which holds `trial.json`. A source trial lies beside it, copies of
            plugins and of a given checkpoint in the run directory.
        notice: A request to end, for the caller to give.
        stall: Seconds without progress after which the process exits; see `StatusWriter`.

    Raises:
        KeyboardInterrupt: The trial was interrupted; its training state is kept.
        ClaimedError: Another live process runs it.
        DiskFullError: No space is left.
        WarmstartError: The trial can't be run here (other library versions, a missing plugin or source).
        Exception: Whatever went wrong in training; status and `error.txt` say so.
    """
    directory = directory.resolve()
    if read_status(directory).state == "done":
        forget_states(directory)  # whoever ended it may have been killed before this
        return
    with Claim(directory, notice) as claim:
        if read_status(directory).state == "done":
            return
        config = TrialConfig.read(directory)
        decide_threads(config.torch_threads)
        status = StatusWriter(directory, config.steps, stall)
        state: State = "failed"
        message = ""
        try:
            _check(config, directory)
            from warmstart.experiments.trial.training import train

            load_stored_plugins(config.plugins, directory.parent.parent)
            train(config, directory, status, claim)
            state = "done"
            (directory / ERROR).unlink(missing_ok=True)
        except KeyboardInterrupt:
            state = "interrupted"
            raise
        except Exception as error:
            message = _one_line(error)
            with contextlib.suppress(OSError, DiskFullError):
                write_text(directory / ERROR, traceback.format_exc())
            if is_disk_full(error) and not isinstance(error, DiskFullError):
                raise DiskFullError(directory) from error
            raise
        finally:
            with contextlib.suppress(*(() if state == "done" else (OSError, DiskFullError))):
                status.end(state, message)
        forget_states(directory)


def _check(config: TrialConfig, directory: Path) -> None:
    """Refuse to compute under one name what another environment would compute differently."""
    if config.hash != directory.name:
        raise WarmstartError(f"{directory}: trial.json was changed; its hash is {config.hash}.")
    here = engine_versions()
    other = [f"{name} {version} (here {here.get(name)})" for name, version in config.versions.items()]
    if dict(config.versions) != here:
        raise WarmstartError(
            f"This trial was planned with {', '.join(other)}. Run the study again, which plans it anew, or "
            "install those versions."
        )


def _stall_seconds() -> float:
    """What the user's environment says of patience, or half an hour."""
    written = os.environ.get(STALL_VARIABLE, "")
    try:
        return max(0.0, float(written or _STALL_SECONDS))
    except ValueError:
        raise WarmstartError(f"{STALL_VARIABLE}: expected seconds, found {written!r}.") from None


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    kind = type(error).__name__
    text = text if isinstance(error, WarmstartError) else f"{kind}: {text}" if text else kind
    return text if len(text) <= 400 else text[:397] + "..."


def main(arguments: list[str]) -> int:
    """Run the trial of `arguments[0]`; stop when the parent is no longer the process `arguments[1]`."""
    directory, notice = Path(arguments[0]), Notice()
    parent = int(arguments[1]) if len(arguments) > 1 else None
    with _interruptible(parent, notice):
        try:
            run_trial(directory, notice, _stall_seconds())
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        except ClaimedError as error:
            print(error, file=sys.stderr)
            return EXIT_CLAIMED
        except DiskFullError as error:
            print(error, file=sys.stderr)
            return EXIT_DISK_FULL
        except Exception as error:  # noqa: BLE001 (every failure becomes a status and an exit code)
            traceback.print_exc()
            return EXIT_REFUSED if isinstance(error, WarmstartError) else EXIT_FAILED
    return 0


@contextlib.contextmanager
def _interruptible(parent: int | None, notice: Notice) -> Iterator[None]:
    """Give notice on SIGTERM and its like, and when the parent process is gone.

    Training then ends where its state can be written, within the notice's seconds of grace (looked at every
    second); whatever has no such place ends at once. A process of its own that has a result is on its way
    out: later signals no longer change how it ends.
    """
    before = {number: signal.signal(number, notice.handle) for number in NOTICES}
    stop = threading.Event()

    def watch() -> None:
        while not (stop.wait(_SECONDS_BETWEEN_LOOKS) or notice.overdue):
            if not notice.given and parent is not None and os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
        if not stop.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="notice", daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        for number, handler in before.items():
            signal.signal(number, handler if parent is None else signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
