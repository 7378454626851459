"""A robot in the browser: its bodies as meshes of viser's, which follow a simulation and can be dragged."""

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Drag = Callable[[int, Array, Array, bool], None]
"""Called with a body's index, the point that was grabbed, in the body's frame, the way to the mouse from
there, m in the world's frame, and whether it is still held. Shapes: (3,)."""
_TEXTURED = (int(mujoco.mjtGeom.mjGEOM_MESH), int(mujoco.mjtGeom.mjGEOM_HFIELD))
"""Geoms whose textures mjviser draws; others have one colour."""
_STRIP, _STILL = 60.0, 0.05
"""Length of a lane's floor, and how far a label's place may move before it follows, m."""
_WIDE = 10.0
"""A plane from this half-length on is drawn as an endless floor, m."""


class RobotScene:
    """The bodies of one simulation in viser's scene.

    Args:
        server: viser's server.
        path: Where in the scene's tree, ``/0``.
        model: What is drawn.
        lane: Width of the floor where several stand side by side, m; None is an endless one.
        offset: Where it stands, m. Shape: (3,).
        on_drag: Called while a body is dragged.
    """

    def __init__(
        self, server: Any, path: str, model: mujoco.MjModel, lane: float | None, offset: Array, on_drag: Drag
    ) -> None:
        self._server, self._path, self._on_drag = server, path, on_drag
        self._offset = np.asarray(offset, dtype=float)
        self._shift = np.zeros(3)
        self._root = server.scene.add_frame(path, show_axes=False, position=self._offset)
        self._bodies: dict[int, Any] = {}
        self._meshes: dict[int, Any] = {}
        self._sizes = np.full(model.geom_size.shape, np.nan)
        self._positions = np.zeros((model.nbody, 3))
        self._axes = np.tile(np.eye(3), (model.nbody, 1, 1))
        for body in range(model.nbody):
            self._bodies[body] = server.scene.add_frame(f"{path}/{body}", show_axes=False)
        self._label = server.scene.add_label(f"{path}-label", "", visible=lane is not None)
        self._lane = lane
        self._floors: list[tuple[Any, Array]] = []
        self.draw(model)

    @property
    def shift(self) -> Array:
        """From the simulation's world to the scene's, m. Shape: (3,)."""
        return self._offset + self._shift

    def draw(self, model: mujoco.MjModel) -> None:
        """Make the meshes of a model, anew where the sizes of its parts have changed."""
        new = np.flatnonzero((self._sizes != model.geom_size).any(axis=1)).tolist()
        self._sizes = model.geom_size.copy()
        with self._server.atomic():
            for geom in new:
                if geom in self._meshes:
                    self._meshes.pop(geom).remove()
                if model.geom_rgba[geom, 3] > 0 and model.geom_group[geom] < 3:
                    self._meshes[geom] = self._add(model, geom)

    def _add(self, model: mujoco.MjModel, geom: int) -> Any:
        from mjviser.conversions import merge_geoms

        body = int(model.geom_bodyid[geom])
        path = f"{self._path}/{body}/{geom}"
        size = model.geom_size[geom]
        plane = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE
        if plane and (size[:2].max() >= _WIDE or not size[:2].any()):
            floor = self._server.scene.add_grid(
                path,
                infinite_grid=self._lane is None,
                width=_STRIP,
                height=self._lane or _STRIP,
                cell_size=1.0,
                section_size=1.0,
                cell_thickness=1.0,
                section_thickness=1.0,
                cell_color=(188, 196, 206),
                section_color=(188, 196, 206),
                plane_color=(228, 232, 237),
                plane_opacity=1.0,
                shadow_opacity=0.35,
                fade_distance=40.0,
                position=model.geom_pos[geom],
                wxyz=model.geom_quat[geom],
            )
            self._floors.append((floor, model.geom_pos[geom].copy()))
            return floor
        shape: Any = merge_geoms(model, [geom])
        if int(model.geom_type[geom]) not in _TEXTURED:
            shape.visual.vertex_colors = _colour(model, geom)
        mesh = self._server.scene.add_mesh_trimesh(path, shape)
        if model.body_weldid[body]:
            mesh.on_drag("left")(self._dragger(body))
        return mesh

    def _dragger(self, body: int) -> Callable[[Any], Any]:
        grabbed = np.zeros(3)

        async def drag(event: Any) -> None:  # viser keeps the order of events only for coroutines
            nonlocal grabbed
            position, axes = self._positions[body] + self.shift, self._axes[body]
            if event.phase == "start":
                grabbed = axes.T @ (np.array(event.start_position) - position)
            point = position + axes @ grabbed
            way = np.array(event.end_position) - point
            self._on_drag(body, grabbed, way, event.phase != "end")

        return drag

    def follow(self, positions: Array, orientations: Array, centre: Array) -> None:
        """Move the bodies.

        Args:
            positions: Of all bodies, m. Shape: (nbody, 3).
            orientations: Of all bodies, as quaternions w, x, y, z. Shape: (nbody, 4).
            centre: The point of the simulation that stands at the scene's origin, m. Shape: (3,).
        """
        self._shift = -np.asarray(centre, dtype=float)
        self._root.position = self.shift
        if self._lane is not None:  # the strip of floor goes along, in whole squares
            for floor, place in self._floors:
                floor.position = place + np.round(centre)
        for body, handle in self._bodies.items():
            handle.position = positions[body]
            handle.wxyz = orientations[body]
        self._positions = positions
        for body in range(len(positions)):
            flat = np.zeros(9)
            mujoco.mju_quat2Mat(flat, orientations[body])
            self._axes[body] = flat.reshape(3, 3)

    def write(self, text: str, place: Array) -> None:
        """Write the label, at a place of the scene, m. Shape: (3,)."""
        if text != self._label.text:
            self._label.text = text
        if np.abs(place - self._label.position).max() > _STILL:
            self._label.position = place

    def remove(self) -> None:
        """Take it out of the scene."""
        self._label.remove()
        self._root.remove()


def _colour(model: mujoco.MjModel, geom: int) -> NDArray[np.uint8]:
    """A geom's colour; of a texture the mean. Shape: (4,)."""
    material = int(model.geom_matid[geom])
    rgba = np.array(model.geom_rgba[geom] if material < 0 else model.mat_rgba[material], dtype=float)
    texture = -1 if material < 0 else int(model.mat_texid[material, int(mujoco.mjtTextureRole.mjTEXROLE_RGB)])
    if texture >= 0:
        channels = int(model.tex_nchannel[texture])
        start = int(model.tex_adr[texture])
        count = int(model.tex_height[texture] * model.tex_width[texture]) * channels
        pixels = model.tex_data[start : start + count].reshape(-1, channels)
        rgba[: min(channels, 3)] *= pixels.mean(axis=0)[:3] / 255
    return (255 * rgba.clip(0, 1)).astype(np.uint8)
