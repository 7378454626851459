"""Frames of one simulation, drawn off screen. OpenGL is only touched when a frame is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.frames.gl import gl_contexts
from warmstart.envs.physics.cameras import Camera, rotation
from warmstart.envs.physics.visuals import TEXTURES, texture_pattern
from warmstart.envs.robots.base import MujocoTask

Frame = NDArray[np.uint8]
Visuals = Mapping[str, NDArray[Any]]
_RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
_FLAGS = mujoco.mjtRndFlag


@dataclass(frozen=True)
class Quality:
    """How finely frames are drawn; source and target must agree on it, as their pixels differ.

    Attributes:
        name: What tasks call it.
        settings: Values of MuJoCo's ``visual/quality``; what isn't named stays the model's.
        without: Effects of the scene that are left out.
    """

    name: str
    settings: Mapping[str, int]
    without: tuple[int, ...] = ()


FULL = Quality("full", {})
"""As the model asks for: shadows, reflections, sky, anti-aliasing."""
LEAN = Quality(
    "lean",
    {"offsamples": 0, "shadowsize": 0, "numslices": 8, "numstacks": 4},
    (_FLAGS.mjRND_SHADOW, _FLAGS.mjRND_REFLECTION, _FLAGS.mjRND_SKYBOX, _FLAGS.mjRND_HAZE, _FLAGS.mjRND_FOG),
)
"""Without shadows, reflections, sky and anti-aliasing: over 100 times faster where a model has them."""
QUALITIES = {quality.name: quality for quality in (LEAN, FULL)}
"""Those that a task may ask for."""
FILM = Quality("film", {"offsamples": 0, "shadowsize": 1024}, (_FLAGS.mjRND_REFLECTION,))
"""Without anti-aliasing and reflections, and with coarser shadows: four times as fast, good in motion."""


class FrameRenderer:
    """Draws frames of a model; it belongs to the thread that made it.

    Args:
        model: The model; copied, so that quality and visual parameters don't touch the simulation's.
        camera: Where it is seen from.
        width: Width, pixels.
        height: Height, pixels.
        quality: How finely.
        max_geom: Largest number of geoms in a scene.
        visual_options: Flags of `mujoco.MjvOption` by index.

    Attributes:
        model: The renderer's own model.
        data: Data of that model, free to use.

    Raises:
        WarmstartError: No OpenGL library works here.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        camera: Camera | mujoco.MjvCamera,
        width: int,
        height: int,
        quality: Quality = FULL,
        max_geom: int = 1000,
        visual_options: Mapping[int, bool] | None = None,
    ) -> None:
        self.model = mujoco.MjModel.__copy__(model)
        visual = self.model.vis
        visual.global_.offwidth = max(visual.global_.offwidth, width)
        visual.global_.offheight = max(visual.global_.offheight, height)
        for name, value in quality.settings.items():
            setattr(visual.quality, name, value)
        self.data = mujoco.MjData(self.model)
        self._view = mujoco.MjrRect(0, 0, width, height)
        self._camera = camera
        self._seen_from = mujoco.MjvCamera() if isinstance(camera, Camera) else camera
        self._placement: dict[str, NDArray[Any]] = {}
        if isinstance(camera, Camera):
            self._aim(camera)
        self._options = mujoco.MjvOption()
        for flag, on in (visual_options or {}).items():
            self._options.flags[flag] = on
        self._scene = mujoco.MjvScene(self.model, max_geom)
        for flag in quality.without:
            self._scene.flags[flag] = 0
        self._textures = np.zeros(self.model.nmat, dtype=int)
        self._own_textures = np.array(self.model.tex_data)
        self._background: NDArray[Any] | None = None
        self._gl, self._context = gl_contexts(self.model, width, height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)

    def _aim(self, camera: Camera) -> None:
        seen_from, kinds = self._seen_from, mujoco.mjtCamera
        seen_from.type = kinds.mjCAMERA_FREE if camera.fixed < 0 else kinds.mjCAMERA_FIXED
        seen_from.fixedcamid = camera.fixed
        seen_from.distance, seen_from.azimuth = camera.distance, camera.azimuth
        seen_from.elevation = camera.elevation
        if camera.fixed < 0:
            self.model.vis.global_.fovy = camera.fovy
        self._placement = {
            "lookat": np.array(camera.lookat),
            "camera_offset": np.zeros(3),
            "camera_rotation": np.zeros(3),
        }

    def draw(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        visuals: Visuals | None = None,
        out: Frame | None = None,
    ) -> Frame:
        """Draw one frame.

        Args:
            model: The model of the data; `self.model` for visual parameters to act.
            data: The simulation, with its positions computed.
            visuals: Values of the visual parameters, by name; shapes as in `visual_nominal`.
            out: Where the frame goes. Shape: (height, width, 3).

        Returns:
            The frame. Shape: (height, width, 3), uint8.
        """
        self._gl.make_current()
        if visuals:
            self.apply(visuals)
        if isinstance(self._camera, Camera):
            self._point(self._camera, data)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._options, None, self._seen_from, everything, self._scene)
        if self._background is not None:
            self._paint_background(self._background)
        mujoco.mjr_render(self._view, self._scene, self._context)
        frame = np.empty((self._view.height, self._view.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(frame, None, self._view, self._context)
        if out is None:
            out = np.empty_like(frame)
        out[...] = frame[::-1]
        return out

    def apply(self, visuals: Visuals) -> None:
        """Put visual parameters into force, shapes as in `visual_nominal`; they stay until others come."""
        model = self.model
        for name, value in visuals.items():
            if name in ("light_diffuse", "light_ambient", "mat_rgba", "geom_rgba"):
                getattr(model, name)[...] = value
            elif name == "light_dir":
                model.light_dir[...] = value / np.maximum(np.linalg.norm(value, axis=1, keepdims=True), 1e-9)
                model.light_dir0[...] = model.light_dir
            elif name.startswith("headlight_"):
                getattr(model.vis.headlight, name.removeprefix("headlight_"))[...] = value
            elif name == "fovy" and isinstance(self._camera, Camera) and self._camera.fixed >= 0:
                model.cam_fovy[self._camera.fixed] = value[0]
            elif name == "fovy":
                model.vis.global_.fovy = float(value[0])
            elif name in ("distance", "azimuth", "elevation"):
                setattr(self._seen_from, name, float(value[0]))
            elif name == "texture":
                self._set_textures(value)
            elif name == "background":
                self._background = value if value.any() else None
            else:
                self._placement[name] = value

    def _point(self, camera: Camera, data: mujoco.MjData) -> None:
        """Follow the body, or move a camera of the model by its offset and rotation."""
        if camera.fixed < 0:
            lookat = self._placement["lookat"]
            self._seen_from.lookat[:] = lookat
            if camera.body >= 0:  # in height it stands still, so that hopping and falling can be seen
                self._seen_from.lookat[:2] += data.subtree_com[camera.body, :2]
            return
        offset, turn = self._placement["camera_offset"], self._placement["camera_rotation"]
        if offset.any() or turn.any():
            axes = data.cam_xmat[camera.fixed].reshape(3, 3).copy()
            data.cam_xpos[camera.fixed] += axes @ offset
            data.cam_xmat[camera.fixed] = (axes @ rotation(turn)).ravel()

    def _set_textures(self, kinds: NDArray[Any]) -> None:
        """Give materials other textures; uploads only those that differ from the last frame's."""
        model = self.model
        wanted = kinds.round().astype(int)  # a randomization draws between two numbers
        for material in np.flatnonzero(wanted != self._textures):
            texture, kind = int(model.mat_texid[material, _RGB]), int(wanted[material])
            self._textures[material] = kind
            height, width, channels = (
                int(getattr(model, f"tex_{part}")[texture]) for part in ("height", "width", "nchannel")
            )
            start = int(model.tex_adr[texture])
            place = slice(start, start + height * width * channels)
            own = TEXTURES[kind] == "own"
            pattern = None if own else texture_pattern(kind, height, width, channels).ravel()
            model.tex_data[place] = self._own_textures[place] if pattern is None else pattern
            mujoco.mjr_uploadTexture(model, self._context, texture)

    def _paint_background(self, colour: NDArray[Any]) -> None:
        """Put a wall of one colour behind everything, corrected for the light that falls on it."""
        scene = self._scene
        if scene.ngeom >= scene.maxgeom:
            return
        eye = scene.camera[0]
        forward, up = np.array(eye.forward), np.array(eye.up)
        light = np.zeros(3)
        for index in range(scene.nlight):
            lamp = scene.lights[index]
            facing = 1.0 if lamp.headlight else max(0.0, float(np.dot(np.array(lamp.dir), forward)))
            light += np.array(lamp.ambient) + facing * np.array(lamp.diffuse)
        far = 0.9 * eye.frustum_far
        half = 2.0 * far * max(1.0, eye.frustum_top / eye.frustum_near)
        axes = np.stack([np.cross(forward, up), up, -forward], axis=1)
        wall = scene.geoms[scene.ngeom]
        scene.ngeom += 1
        shade = np.append(colour / (1.0 + light), 1.0).astype(np.float32)
        place = np.array(eye.pos) + far * forward
        plane = mujoco.mjtGeom.mjGEOM_PLANE
        mujoco.mjv_initGeom(wall, plane, np.array([half, half, 0.0]), place, axes.ravel(), shade)
        wall.emission, wall.specular, wall.shininess = 1.0, 0.0, 0.0
        wall.category = mujoco.mjtCatBit.mjCAT_DECOR

    def close(self) -> None:
        """Free the OpenGL context; in the thread that made it."""
        self._context.free()
        self._gl.free()


def film_camera(task: MujocoTask, model: mujoco.MjModel) -> mujoco.MjvCamera:
    """The camera of Gymnasium's renderer for a task.

    It is ``camera_id`` or ``camera_name`` if given, else a free camera that tracks the robot with the
    attributes of ``default_camera_config`` (or the task's own).

    Raises:
        WarmstartError: The camera isn't known.
    """
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
    config = vars(task.film_view) if task.default_camera_config is None else task.default_camera_config
    config = {name: value for name, value in config.items() if value is not None}
    for name, value in config.items():
        if isinstance(value, np.ndarray | tuple | list):
            getattr(camera, name)[:] = value
        else:
            setattr(camera, name, value)
    if camera.trackbodyid >= 0 and "trackbodyid" in config:
        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
    return camera
