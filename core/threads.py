"""Threads of a process, decided explicitly and before torch is imported, and its end. Doesn't import torch.

Two processes that each take every core slow one another down 4 to 40 times, so the number is never left to
the libraries' defaults.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from warmstart.core.errors import WarmstartError

POOL_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


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
    received: list[int], numbers: Sequence[int] = (signal.SIGTERM,), quit_imports: str = ""
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
