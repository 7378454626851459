"""Visual parameters: camera, lights, colours, textures and background, as physical parameters are.

They change what pixel observations show and nothing else.
"""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.envs.physics.cameras import Camera
from warmstart.envs.simulation.fields import Fields, Ids

Array = NDArray[Any]
TEXTURES = ("own", "plain", "checker", "stripes", "dots", "noise")
"""What ``material.NAME.texture`` may be, by number."""


def visual_nominal(model: mujoco.MjModel, camera: Camera) -> dict[str, Array]:
    """What the visual parameters' fields hold in a model that a camera sees, by name.

    Returns:
        Shapes: lights (nlight, 3), headlight (3,), ``mat_rgba`` (nmat, 4), ``geom_rgba`` (ngeom, 4),
        ``texture`` (nmat,), ``background`` (3,); of the camera ``distance`` (m), ``azimuth``, ``elevation``
        and ``fovy`` (deg) (1,), ``lookat`` and ``camera_offset`` (m) and ``camera_rotation`` (deg) (3,).
    """
    of_model = ("light_diffuse", "light_ambient", "light_dir", "mat_rgba", "geom_rgba")
    light = model.vis.headlight
    return {
        **{name: np.array(getattr(model, name), dtype=np.float64) for name in of_model},
        **{f"headlight_{name}": np.array(getattr(light, name), float) for name in ("diffuse", "ambient")},
        **{name: np.array([getattr(camera, name)]) for name in ("distance", "azimuth", "elevation", "fovy")},
        **{name: np.zeros(3) for name in ("background", "camera_offset", "camera_rotation")},
        "texture": np.zeros(model.nmat),
        "lookat": np.array(camera.lookat),
    }


class VisualFields(Fields):
    """Fields of simulations, and beside them the values of visual parameters, one row per simulation.

    Args:
        model: The model, for what the visual values are to begin with.
        camera: The camera.
        simulations: Has the fields that are not visual.
    """

    def __init__(self, model: mujoco.MjModel, camera: Camera, simulations: Fields) -> None:
        self.nsim, self._simulations = simulations.nsim, simulations
        self._nominal = visual_nominal(model, camera)
        self._values: dict[str, Array] = {}

    @override
    def field(self, name: str) -> Array:
        where, _, visual = name.rpartition(".")
        if where != "visual":
            return self._simulations.field(name)
        if visual not in self._values:
            self._values[visual] = np.repeat(self._nominal[visual][None], self.nsim, axis=0)
        return self._values[visual]

    @override
    def set_const(self, ids: Ids) -> None:
        self._simulations.set_const(ids)

    @override
    def commit(self, ids: Ids) -> None:
        self._simulations.commit(ids)

    def row(self, env: int) -> Mapping[str, Array]:
        """Visual values of one simulation that any context has been about, shapes as in `visual_nominal`."""
        return {name: values[env] for name, values in self._values.items()}


def material_names(model: mujoco.MjModel) -> list[str]:
    """Names of the materials, those without one numbered."""
    return [model.material(i).name or f"material_{i}" for i in range(model.nmat)]


def texture_pattern(kind: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Pixels of a texture of our own. Shape: (height, width, channels), uint8.

    Args:
        kind: Number in `TEXTURES`; ``own`` is the model's and has no pattern here.
        height: Rows.
        width: Columns.
        channels: Channels; all the same shade, which the material's colour tints.
    """
    y, x = np.mgrid[0:height, 0:width]
    cell = max(2, min(width, height) // 2)
    name = TEXTURES[kind]
    if name == "checker":
        shade = np.where((x // cell + y // cell) % 2, 230, 60)
    elif name == "stripes":
        shade = np.where(x // max(1, cell // 2) % 2, 230, 60)
    elif name == "dots":
        radius = cell // 3
        shade = np.where(np.hypot(x % cell - cell / 2, y % cell - cell / 2) < radius, 60, 230)
    elif name == "noise":
        coarse = np.random.default_rng(0).integers(40, 255, (-(-height // 4), -(-width // 4)))
        shade = np.kron(coarse, np.ones((4, 4), dtype=np.int64))[:height, :width]
    else:
        shade = np.full((height, width), 255)
    return np.repeat(shade.astype(np.uint8)[..., None], channels, axis=2)
