"""What becomes of one input: it is read, refused in a message, or something that is a fault."""

import re
import resource
import signal
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.fuzzing.mutators import CANARY
from warmstart.core.errors import LONGEST, WarmstartError

SECONDS, WAITING = 5.0, 8
"""Longest time that one input may compute, and how many times as long it may take with waiting."""
MEMORY = 1 << 30
"""Most bytes by which the process may grow."""


class Late(BaseException):
    """An input took too long; not an `Exception`, so that nothing catches it."""


@dataclass(frozen=True)
class Outcome:
    """What became of an input."""

    kind: str
    """``accepted``, ``refused``, ``unclear`` or ``hang``."""
    why: str = ""
    """The message, or what is wrong."""


def watch(read: Callable[[], object], names: str, seconds: float = SECONDS) -> Outcome:
    """Read an input and see how that ends.

    Args:
        read: Reads it.
        names: What a message must name: a regular expression.
        seconds: Longest time.
    """

    def late(_: int, frame: FrameType | None) -> None:
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"
        raise Late(place)

    before = {number: signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAITING * seconds)  # other processes may take their time
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read()
        outcome = Outcome("accepted")
    except WarmstartError as error:
        outcome = _judged(str(error), names)
    except Late as error:
        outcome = Outcome("hang", f"more than {seconds:g} s, at {error}")
    except Exception as error:  # noqa: BLE001 (any other error is the fault that is looked for)
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        outcome = Outcome("unclear", f"{type(error).__name__} at {place}: {str(error)[:200]}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    if CANARY.exists():
        CANARY.rmdir()
        return Outcome("unclear", "a bomb was executed")
    if 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown) > MEMORY:
        return Outcome("unclear", f"more than {MEMORY >> 20:,} MiB of memory")
    return outcome


def _judged(message: str, names: str) -> Outcome:
    """Whether a message is one that helps."""
    if not re.search(names, message):
        return Outcome("unclear", f"the message doesn't name {names}: {message[:300]}")
    if len(message) > LONGEST + 200:
        return Outcome("unclear", f"a message of {len(message):,} characters: {message[:100]}")
    return Outcome("refused", message)
