"""What tests of every room share."""

import contextlib
import functools
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_PROBE = (
    "from warmstart.envs.vector import make_vec\n"
    "assert make_vec('InvertedPendulum-v5:obs=pixels', 1).reset()[0].any()\n"
)


@pytest.fixture(scope="session", autouse=True)
def _trust_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests trust is remembered in a file of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WARMSTART_TRUSTED", str(tmp_path_factory.mktemp("trust") / "trusted.json"))
        yield


@pytest.fixture(scope="module", autouse=True)
def _registered_alone() -> Iterator[None]:
    """What a file's tests and their plugins register is forgotten after them: the next finds what ships."""
    import gymnasium

    from warmstart.agents.encoders.backbones import BACKBONES
    from warmstart.agents.rewards.table import REWARDS
    from warmstart.core import plugins
    from warmstart.envs.robots import table
    from warmstart.transfer.pretraining.table import OBJECTIVES
    from warmstart.transfer.table import METHODS

    tables: list[dict[str, Any]] = [BACKBONES, REWARDS, OBJECTIVES, METHODS]
    tables += [plugins._loaded, table._registered, gymnasium.registry]
    before, searched = [dict(each) for each in tables], list(sys.path)
    yield
    for each, known in zip(tables, before, strict=True):
        each.clear()
        each.update(known)
    sys.path[:] = searched


@functools.cache
def _draws() -> str:
    """Empty where frames can be drawn, else why not; asked in a process of its own, which may crash."""
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=120)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no OpenGL"])[-1]


@pytest.fixture(scope="session")
def opengl() -> None:
    """Skips where no frame can be drawn."""
    problem = _draws()
    if problem:
        pytest.skip(f"no OpenGL here: {problem}")


@pytest.fixture(scope="session")
def box2d() -> None:
    """Skips where Gymnasium's Box2D tasks can't be made; imports it first, as its import warns."""
    with warnings.catch_warnings(action="ignore"):  # a warning turned into an error there crashes the process
        pytest.importorskip("Box2D", reason="Box2D is not installed: pip install 'gymnasium[box2d]'")
        pytest.importorskip("pygame", reason="pygame is not installed")


@pytest.fixture
def start_process() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a process that Ctrl-C reaches, in a session of its own; its standard error is piped.

    A shell has its background jobs ignore SIGINT, and whatever they start inherits that: while a test runs
    it doesn't hold. What a failing test leaves running is killed.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.ExitStack() as processes:

        def start(command: list[str], **options: Any) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                command, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
            )
            processes.enter_context(process)
            processes.callback(process.kill)
            return process

        yield start
    signal.signal(signal.SIGINT, before)
