"""How a task is looked at: a camera of its model, or a free one that may follow a body."""

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.robots.base import View

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A camera as the visual parameters see it.

    Attributes:
        fixed: Index of the model's camera, or -1 for a free one.
        body: Body that a free camera follows horizontally, or -1.
        distance: From the point it looks at, m.
        azimuth: Degrees about the vertical; 90 looks along y.
        elevation: Degrees above the horizon, negative looking down.
        lookat: The point it looks at, m; relative to the body's tree in x and y where it follows one.
        fovy: Vertical field of view, degrees.
    """

    fixed: int
    body: int
    distance: float
    azimuth: float
    elevation: float
    lookat: tuple[float, float, float]
    fovy: float


def pixel_camera(model: mujoco.MjModel, choice: str | int | None, view: View, follows: str | None) -> Camera:
    """Choose the camera of pixel observations.

    Args:
        model: The model.
        choice: Name or index of one of its cameras; None takes the task's own free camera.
        view: That camera; MuJoCo's free one fills in the rest.
        follows: Body that it follows; None stands still.

    Raises:
        WarmstartError: The model has no such camera.
    """
    free = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, free)
    if choice is not None:
        names = [model.camera(i).name for i in range(model.ncam)]
        if isinstance(choice, bool) or (isinstance(choice, int) and not 0 <= choice < model.ncam):
            raise WarmstartError(
                f"Expected a camera below {model.ncam}, found {choice}: the model's cameras are "
                f"{', '.join(names) or 'none'}; leave the option out for the task's own."
            )
        if isinstance(choice, str) and choice not in names:
            raise unknown_name("camera", choice, names)
        fixed = names.index(choice) if isinstance(choice, str) else choice
        return Camera(fixed, -1, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0), float(model.cam_fovy[fixed]))
    # a model file of the user's may name its bodies otherwise
    body = -1 if follows is None else mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, follows)
    x, y, z = map(float, free.lookat if view.lookat is None else view.lookat)
    if body >= 0 and view.lookat is None:
        x, y = 0.0, 0.0
    return Camera(
        -1,
        body,
        float(free.distance if view.distance is None else view.distance),
        float(free.azimuth if view.azimuth is None else view.azimuth),
        float(free.elevation if view.elevation is None else view.elevation),
        (x, y, z),
        float(model.vis.global_.fovy if view.fovy is None else view.fovy),
    )


def rotation(degrees: Floats) -> Floats:
    """Matrix of a rotation by roll (x), pitch (y) and yaw (z), in this order. Shape: (3, 3)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)
