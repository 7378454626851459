"""Frames of one simulation, drawn off screen. OpenGL is only touched when a frame is asked for."""

import importlib
import os
import warnings
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.envs.errors import WarmstartError, unknown_name
from warmstart.envs.mujoco_task import MujocoTask

Frame = NDArray[np.uint8]
_BACKENDS = ("egl", "osmesa", "glfw")


class FrameRenderer:
    """Draws frames of a model as a task wants to be seen.

    The camera is the task's: `camera_id` or `camera_name` if given, else a free camera that tracks the robot
    with the attributes of `default_camera_config` (or the task's own).

    Raises:
        WarmstartError: No OpenGL library works here, or the camera isn't known.
    """

    def __init__(self, task: MujocoTask, model: mujoco.MjModel) -> None:
        self._width, self._height = task.width, task.height
        self._model = mujoco.MjModel.__copy__(model)
        visual = self._model.vis.global_
        visual.offwidth = max(visual.offwidth, self._width)
        visual.offheight = max(visual.offheight, self._height)
        self._camera = _camera(task, model)
        self._options = mujoco.MjvOption()
        for flag, value in (task.visual_options or {}).items():
            self._options.flags[flag] = value
        self._scene = mujoco.MjvScene(self._model, task.max_geom)
        self._gl, self._context = _gl_contexts(self._model, self._width, self._height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData) -> Frame:
        """Draw one frame. Shape: (height, width, 3), uint8."""
        self._gl.make_current()
        view = mujoco.MjrRect(0, 0, self._width, self._height)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._options, None, self._camera, everything, self._scene)
        mujoco.mjr_render(view, self._scene, self._context)
        frame = np.empty((self._height, self._width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(frame, None, view, self._context)
        return np.flipud(frame).copy()

    def close(self) -> None:
        """Free the OpenGL context."""
        self._context.free()
        self._gl.free()


def _camera(task: MujocoTask, model: mujoco.MjModel) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    if task.camera_id is not None and task.camera_name is not None:
        raise WarmstartError("Expected camera_id or camera_name, found both; give one of them.")
    fixed = task.camera_id
    if task.camera_name is not None:
        fixed = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, task.camera_name)
        if fixed < 0:
            raise unknown_name("camera", task.camera_name, [model.camera(i).name for i in range(model.ncam)])
    if fixed is not None and fixed >= 0:
        if fixed >= model.ncam:
            raise WarmstartError(f"Expected a camera_id below {model.ncam}, found {fixed}.")
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = fixed
        return camera
    config = task.camera if task.default_camera_config is None else task.default_camera_config
    for name, value in config.items():
        if isinstance(value, np.ndarray | tuple | list):
            getattr(camera, name)[:] = value
        else:
            setattr(camera, name, value)
    if camera.trackbodyid >= 0 and "trackbodyid" in config:
        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
    return camera


def _gl_contexts(model: mujoco.MjModel, width: int, height: int) -> tuple[Any, mujoco.MjrContext]:
    """Off-screen OpenGL context and MuJoCo's, of the backend in ``MUJOCO_GL`` or the first that works."""
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    problems = []
    for backend in (chosen,) if chosen in _BACKENDS else _BACKENDS:
        platform = os.environ.get("PYOPENGL_PLATFORM")
        try:
            with warnings.catch_warnings(action="ignore"):
                gl = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
                gl.make_current()
                return gl, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # noqa: BLE001 - each library fails in its own way
            problems.append(f"{backend}: {error or type(error).__name__}")
            if platform is None:  # what the failed backend chose must not stand in the next one's way
                os.environ.pop("PYOPENGL_PLATFORM", None)
    raise WarmstartError(
        "Expected an OpenGL library to render with, found none that works. On Debian and Ubuntu: "
        "apt-get install libegl1 libgl1-mesa-dri (or libosmesa6 with MUJOCO_GL=osmesa). "
        f"Tried {'; '.join(problems)}."
    )
