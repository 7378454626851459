"""Threads, decided explicitly and before torch is imported. Doesn't import torch.

Two processes that each take every core slow one another down 4 to 40 times, so the number is never left to
the libraries' defaults.
"""

import os
import sys

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
