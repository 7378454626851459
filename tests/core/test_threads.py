"""Threads are decided before torch is loaded."""

import os
import signal
import subprocess
import sys

import pytest

from warmstart.core import threads
from warmstart.core.errors import WarmstartError


def test_threads_are_decided_before_torch() -> None:
    code = (
        "import sys; from warmstart.core.threads import decide_threads; decide_threads(1);"
        "assert 'torch' not in sys.modules;"
        "import torch, os; print(torch.get_num_threads(), os.environ['MKL_NUM_THREADS'])"
    )
    env = {k: v for k, v in os.environ.items() if k not in threads.POOL_VARIABLES}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["1", "1"]
    with pytest.raises(WarmstartError, match="at least 1 thread"):
        threads.decide_threads(0)
    assert threads.available_cores() >= 1


def test_signals_wait_until_something_is_done() -> None:
    done = []

    def work() -> None:
        with threads.signals_as_interrupt([], (signal.SIGTERM,)), threads.signals_deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("to its end")
        done.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["to its end"]
