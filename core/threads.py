"""Threads of a process, decided explicitly and before torch is imported, and its end. Doesn't import torch.

Two processes that each take every core slow one another down 4 to 40 times, so the number is never left to
the libraries' defaults.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from warmstart.core.errors import WarmstartError

POOL_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals that end a command in order: a request, a closed terminal, and what schedulers of clusters send
before they take a machine back."""
NOTICES = (*ENDINGS, signal.SIGUSR2)
"""Those that a trial takes for its notice; submitit's is SIGUSR2."""
GRACE_SECONDS = 10.0
"""How long a process that was given notice may take to a safe place."""


def decide_threads(n: int) -> None:
    """Give this process, and the processes it starts, ``n`` threads for its linear algebra.

    Sets the environment variables that OpenMP, MKL, OpenBLAS and numexpr read when they are first loaded.
    Where torch is loaded already, ``torch.set_num_threads`` decides for it as well.

    Args:
        n: Number of threads, at least 1.

    Raises:
        WarmstartError: If ``n`` is below 1.
    """
    if n < 1:
        raise WarmstartError(f"A process needs at least 1 thread, {n} were asked for.")
    for variable in POOL_VARIABLES:
        os.environ[variable] = str(n)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(n)


def available_cores() -> int:
    """Number of cores this process may run on (its CPU affinity, not the machine's size)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


@contextlib.contextmanager
def signals_as_interrupt(
    received: list[int], numbers: Sequence[int] = ENDINGS, quit_imports: str = ""
) -> Iterator[None]:
    """Let signals raise KeyboardInterrupt meanwhile, as Ctrl-C does, so that nothing is left behind.

    Where one is ignored it stays so, and outside of the main thread nothing changes. One inside another tells
    that one, too.

    Args:
        received: The signals' numbers are appended to it.
        numbers: Signals.
        quit_imports: Where torch or mujoco, which abort at an exception, are just being imported, this is
            said and the process ends by the status of convention; empty to raise there, too.
    """
    known = {number: signal.getsignal(number) for number in numbers}
    held = {number: before for number, before in known.items() if before not in (signal.SIG_IGN, None)}
    if threading.current_thread() is not threading.main_thread():
        held = {}

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if quit_imports and any(_is_importing(name) for name in ("torch", "mujoco")):
            print(quit_imports, file=sys.stderr, flush=True)
            os._exit(128 + number)
        before = held[number]
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)
        raise KeyboardInterrupt

    for number in held:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, before in held.items():
            signal.signal(number, before)


@contextlib.contextmanager
def signals_deferred(numbers: Sequence[int] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[None]:
    """Let signals wait while something is done that mustn't end halfway, such as drawing on a terminal.

    The first that came is handled in the end, as it would have been. Outside of the main thread, to which no
    signal comes, nothing changes.
    """
    received: list[tuple[int, FrameType | None]] = []
    known = {number: signal.getsignal(number) for number in numbers}
    held = {number: before for number, before in known.items() if callable(before)}
    if threading.current_thread() is not threading.main_thread():
        held = {}
    for number in held:
        signal.signal(number, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        for number, before in held.items():
            signal.signal(number, before)
        for number, frame in received[:1]:
            held[number](number, frame)


def _is_importing(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


class Notice:
    """A request to end, which may be followed at the next safe place if there is one ahead.

    Args:
        grace: Seconds after which it is no longer waited for.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self.grace = grace
        self.deadline: float | None = None
        """Monotonic time at which the wait ends; None where no notice was given."""
        self._safe_place_ahead = self._followed = False

    @property
    def given(self) -> bool:
        """Whether to end at the next safe place."""
        return self.deadline is not None

    @property
    def overdue(self) -> bool:
        """Whether the safe place wasn't reached in time."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @contextlib.contextmanager
    def safe_place_ahead(self) -> Iterator[None]:
        """Say that meanwhile `given` is looked at from time to time."""
        self._safe_place_ahead = True
        try:
            yield
        finally:
            self._safe_place_ahead = False

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A signal's handler: gives notice, and ends the process at once where nothing is to be waited for.

        Raises:
            KeyboardInterrupt: No safe place lies ahead, or it wasn't reached in time; once only.
        """
        if self._followed:
            return
        if not self._safe_place_ahead or self.overdue:
            self._followed = True
            raise KeyboardInterrupt
        if self.deadline is None:
            self.deadline = time.monotonic() + self.grace
