"""Threads that draw: each owns an OpenGL context from its making to its end.

A context that is freed in a thread in which another one is current takes that one's textures and buffers
with it; so contexts live and die in their thread, however their owner is collected.
"""

import functools
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import mujoco

from warmstart.envs.frames.gl import ONE_AT_A_TIME, at_exit
from warmstart.envs.frames.rendering import FULL, FrameRenderer, Quality, film_camera
from warmstart.envs.robots.base import MujocoTask

_alive: "weakref.WeakSet[Painter]" = weakref.WeakSet()
Job = Callable[[FrameRenderer], Any]
_Item = tuple["Future[Any]", Job]


class Painter:
    """A thread with a renderer of its own, made when it is first asked to draw.

    Args:
        make: Makes the renderer; it must not hold on to the painter's owner.
    """

    def __init__(self, make: Callable[[], FrameRenderer]) -> None:
        self._jobs: SimpleQueue[_Item | None] = SimpleQueue()
        thread = threading.Thread(target=_serve, args=(self._jobs, make), name="painter", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _end, self._jobs, thread)
        self._end.atexit = False  # by then the backend has ended; see `at_exit`
        _alive.add(self)

    def submit(self, job: Job) -> "Future[Any]":
        """Have a function called with the renderer, in the painter's thread."""
        future: Future[Any] = Future()
        self._jobs.put((future, job))
        return future

    def close(self) -> None:
        """Free the context and end the thread."""
        self._end()


def _close_all() -> None:
    for painter in list(_alive):
        painter.close()


at_exit(_close_all)


def _end(jobs: "SimpleQueue[_Item | None]", thread: threading.Thread) -> None:
    jobs.put(None)
    if thread is not threading.current_thread():
        thread.join(timeout=5)


def _serve(jobs: "SimpleQueue[_Item | None]", make: Callable[[], FrameRenderer]) -> None:
    renderer = None
    while (item := jobs.get()) is not None:
        future, job = item
        try:
            if renderer is None:
                with ONE_AT_A_TIME:
                    renderer = make()
                    future.set_result(job(renderer))
            else:
                future.set_result(job(renderer))
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the result
            future.set_exception(error)
        del item, future, job
    if renderer is not None:
        with ONE_AT_A_TIME:
            renderer.close()


def film_painter(task: MujocoTask, model: mujoco.MjModel, quality: Quality = FULL) -> Painter:
    """Make a painter for films and `render`: the camera and size that Gymnasium's options ask for.

    Raises:
        WarmstartError: The camera isn't known.
    """
    camera, own = film_camera(task, model), mujoco.MjModel.__copy__(model)
    size = (task.width, task.height)
    return Painter(
        functools.partial(FrameRenderer, own, camera, *size, quality, task.max_geom, task.visual_options)
    )
