"""Visual parameters: camera, lights, colours, textures and background, as physical parameters are.

They change what pixel observations show and nothing else. May import nothing of ours but the parameters'
parts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.envs.physics.cameras import Camera
from warmstart.envs.physics.catalogue import Described, Entry, Parameter, Write
from warmstart.envs.simulation.fields import Fields, Ids
from warmstart.envs.simulation.names import PartNames

Array = NDArray[Any]
TEXTURES = ("own", "plain", "checker", "stripes", "dots", "noise")
"""What ``material.NAME.texture`` may be, by number."""
_DEFAULT_RGBA = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)
"""A geom of this colour shows its material's, as MuJoCo has it."""
_RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)


def visual_parameters(model: mujoco.MjModel, names: PartNames, camera: Camera) -> Described:
    """Describe the visual parameters of a model seen by a camera."""
    yield from _camera(camera)
    for i, name in enumerate(_numbered("light", [model.light(i).name for i in range(model.nlight)])):
        for quantity in ("diffuse", "ambient"):
            nominal = getattr(model, f"light_{quantity}")[i]
            yield _entry(f"light.{name}.{quantity}", "", f"visual.light_{quantity}", 3 * i, nominal, 0.0, 5.0)
        yield _entry(
            f"light.{name}.direction", "", "visual.light_dir", 3 * i, model.light_dir[i], -10.0, 10.0
        )
    for quantity in ("diffuse", "ambient"):
        nominal = getattr(model.vis.headlight, quantity)
        yield _entry(f"light.headlight.{quantity}", "", f"visual.headlight_{quantity}", 0, nominal, 0.0, 5.0)
    shown = model.geom_rgba[:, 3] > 0
    by_material = shown & (model.geom_matid >= 0) & (model.geom_rgba == _DEFAULT_RGBA).all(axis=1)
    for i, name in enumerate(material_names(model)):
        if i in model.geom_matid[by_material]:
            colour = model.mat_rgba[i, :3]
            yield _entry(f"material.{name}.color", "", "visual.mat_rgba", 4 * i, colour, 0.0, 1.0)
        if i in model.geom_matid[shown]:
            yield _texture(model, i, name)
    for geom in map(int, np.flatnonzero(shown & ~by_material)):
        colour = model.geom_rgba[geom, :3]
        yield _entry(f"geom.{names.geoms[geom]}.color", "", "visual.geom_rgba", 4 * geom, colour, 0.0, 1.0)
    yield _entry("background", "", "visual.background", 0, (0.0, 0.0, 0.0), 0.0, 1.0)


def _camera(camera: Camera) -> Described:
    fovy = ("camera.fovy", "deg", "visual.fovy", 0, (camera.fovy,), 1.0, 170.0)
    if camera.fixed >= 0:
        still = (0.0, 0.0, 0.0)
        yield _entry("camera.offset", "m", "visual.camera_offset", 0, still, -100.0, 100.0)
        yield _entry("camera.rotation", "deg", "visual.camera_rotation", 0, still, -180.0, 180.0)
    else:
        distance = camera.distance
        yield _entry(
            "camera.distance", "m", "visual.distance", 0, (distance,), distance / 100, distance * 100
        )
        yield _entry("camera.azimuth", "deg", "visual.azimuth", 0, (camera.azimuth,), -360.0, 360.0)
        yield _entry("camera.elevation", "deg", "visual.elevation", 0, (camera.elevation,), -90.0, 90.0)
        yield _entry("camera.lookat", "m", "visual.lookat", 0, camera.lookat, -100.0, 100.0)
    yield _entry(*fovy)


def _texture(model: mujoco.MjModel, index: int, name: str) -> tuple[str, Entry | str]:
    full = f"material.{name}.texture"
    if model.mat_texid[index, _RGB] < 0:
        return full, "the material has no texture in the model"
    last = float(len(TEXTURES) - 1)
    return _entry(full, "", "visual.texture", index, (0.0,), 0.0, last, texture_meaning())


def texture_meaning() -> str:
    """The numbers of the textures, for messages."""
    return ", ".join(f"{i} {name}" for i, name in enumerate(TEXTURES))


def _entry(
    name: str,
    unit: str,
    field: str,
    start: int,
    nominal: Sequence[float] | Array,
    low: float,
    high: float,
    meaning: str = "",
) -> tuple[str, Entry]:
    values = tuple(map(float, nominal))
    n = len(values)
    parameter = Parameter(
        name,
        unit,
        values,
        tuple(min(low, v) for v in values),
        tuple(max(high, v) for v in values),
    )
    colour = name.endswith((".color", ".diffuse", ".ambient")) or name == "background"
    described = meaning or {1: "", 3: "[red,green,blue]" if colour else "[x,y,z]"}[n]
    if name == "camera.rotation":
        described = "[roll,pitch,yaw]"
    writes = tuple(Write(field, start + k, k) for k in range(n))
    # one number is a shade of grey; a direction or a place needs all three
    scalar = tuple(range(n)) if colour or n == 1 else ()
    return name, Entry(parameter, name.rpartition(".")[2], 0, writes, scalar, (0.0,) * n, described)


class VisualFields:
    """Fields: values of the visual parameters, one row per simulation.

    Args:
        model: The model, for what the values are to begin with.
        camera: The camera.
        nsim: Number of simulations.
    """

    def __init__(self, model: mujoco.MjModel, camera: Camera, nsim: int) -> None:
        self.nsim = nsim
        self.nominal: dict[str, Array] = {
            "light_diffuse": np.array(model.light_diffuse, dtype=np.float64),
            "light_ambient": np.array(model.light_ambient, dtype=np.float64),
            "light_dir": np.array(model.light_dir, dtype=np.float64),
            "headlight_diffuse": np.array(model.vis.headlight.diffuse, dtype=np.float64),
            "headlight_ambient": np.array(model.vis.headlight.ambient, dtype=np.float64),
            "mat_rgba": np.array(model.mat_rgba, dtype=np.float64),
            "geom_rgba": np.array(model.geom_rgba, dtype=np.float64),
            "texture": np.zeros(model.nmat),
            "background": np.zeros(3),
            "camera_offset": np.zeros(3),
            "camera_rotation": np.zeros(3),
            "distance": np.array([camera.distance]),
            "azimuth": np.array([camera.azimuth]),
            "elevation": np.array([camera.elevation]),
            "lookat": np.array(camera.lookat),
            "fovy": np.array([camera.fovy]),
        }
        self._values: dict[str, Array] = {}

    def field(self, name: str) -> Array:
        """See `Fields`; ``visual.`` may precede the name."""
        name = name.removeprefix("visual.")
        if name not in self._values:
            self._values[name] = np.repeat(self.nominal[name][None], self.nsim, axis=0)
        return self._values[name]

    def set_const(self, ids: Ids) -> None:
        """See `Fields`; nothing is derived from them."""

    def commit(self, ids: Ids) -> None:
        """See `Fields`; frames read the values when they are drawn."""

    def row(self, env: int) -> Mapping[str, Array]:
        """Values of one simulation, only those that any context has been about."""
        return {name: values[env] for name, values in self._values.items()}


class RoutedFields:
    """Fields of which the visual ones lie apart from the simulations'."""

    def __init__(self, simulations: Fields, visuals: VisualFields) -> None:
        self.nsim = simulations.nsim
        self._simulations, self._visuals = simulations, visuals

    def field(self, name: str) -> Array:
        """See `Fields`."""
        return (self._visuals if name.startswith("visual.") else self._simulations).field(name)

    def set_const(self, ids: Ids) -> None:
        """See `Fields`."""
        self._simulations.set_const(ids)

    def commit(self, ids: Ids) -> None:
        """See `Fields`."""
        self._simulations.commit(ids)


def material_names(model: mujoco.MjModel) -> list[str]:
    """Names of the materials, those without one numbered."""
    return _numbered("material", [model.material(i).name for i in range(model.nmat)])


def _numbered(kind: str, names: Sequence[str]) -> list[str]:
    return [name or f"{kind}_{i}" for i, name in enumerate(names)]


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
