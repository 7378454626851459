"""Off-screen OpenGL: the first backend that works here, chosen when a frame is first asked for.

Nothing depends on ``MUJOCO_GL`` being set before mujoco is imported.
"""

import atexit
import contextlib
import importlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import mujoco

from warmstart.core.errors import WarmstartError

BACKENDS = ("egl", "osmesa", "glfw")
ONE_AT_A_TIME = threading.RLock()
"""Held while a context is made, draws for the first time (drivers compile then) or is freed."""
_at_exit: list[Callable[[], None]] = []


def at_exit(close: Callable[[], None]) -> None:
    """Have something called when the interpreter ends, before the OpenGL backend does."""
    _at_exit.append(close)


def _before_the_backend_ends() -> None:
    """Register what `at_exit` was given after the backend's own ending, so that it runs before it."""
    if _registered:
        return
    _registered.append(True)

    def run() -> None:
        while _at_exit:
            _at_exit.pop()()

    atexit.register(run)


_registered: list[bool] = []


@contextlib.contextmanager
def mesa_threads(n: int) -> Iterator[None]:
    """Let Mesa draw with threads of its own, which serves large frames, if nothing was drawn here before."""
    before = os.environ.get("LP_NUM_THREADS")
    os.environ.setdefault("LP_NUM_THREADS", str(n))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("LP_NUM_THREADS", None)


def gl_contexts(model: mujoco.MjModel, width: int, height: int) -> tuple[Any, mujoco.MjrContext]:
    """Make an OpenGL context, current in this thread, and MuJoCo's context in it.

    Takes the backend that ``MUJOCO_GL`` names, or the first of EGL, OSMesa and GLFW that works. Mesa's
    software renderer draws in the calling thread unless ``LP_NUM_THREADS`` says otherwise: for small frames a
    pool of its own costs more than it brings, and side by side they slow one another down.

    Args:
        model: What is drawn; its quality settings are fixed here.
        width: Width of the buffer, pixels.
        height: Height of the buffer, pixels.

    Raises:
        WarmstartError: No OpenGL library works.
    """
    os.environ.setdefault("LP_NUM_THREADS", "0")
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    problems = []
    with ONE_AT_A_TIME:
        for backend in (chosen,) if chosen in BACKENDS else BACKENDS:
            platform = os.environ.get("PYOPENGL_PLATFORM")
            try:
                with warnings.catch_warnings(action="ignore"):
                    gl = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
                    gl.make_current()
                    context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
                _before_the_backend_ends()
                return gl, context
            except Exception as error:  # noqa: BLE001 - each library fails in its own way
                problems.append(f"{backend}: {error or type(error).__name__}")
                if platform is None:  # what the failed backend chose must not stand in the next one's way
                    os.environ.pop("PYOPENGL_PLATFORM", None)
                    for name in [n for n in sys.modules if n.partition(".")[0] == "OpenGL"]:
                        del sys.modules[name]  # PyOpenGL binds its platform when it is imported
                    sys.modules.pop(f"mujoco.{backend}", None)
    raise WarmstartError(
        "Expected an OpenGL library to render with, found none that works. On Debian and Ubuntu: "
        "apt-get install libegl1 libgl1-mesa-dri (or libosmesa6 with MUJOCO_GL=osmesa). "
        f"Tried {'; '.join(problems)}."
    )
