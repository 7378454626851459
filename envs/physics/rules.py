"""What the rows of the table of quantities say by functions: bounds, addresses, why something can't be."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np

from warmstart.envs.physics.quantity import Floats, Parameter, Part, Write
from warmstart.envs.physics.visuals import TEXTURES

_HINGE, _SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
_FREE, _BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
_DOFS = {_FREE: 6, _BALL: 3, _HINGE: 1, _SLIDE: 1}
_GEOM = mujoco.mjtGeom
_SIZES = {
    int(_GEOM.mjGEOM_SPHERE): 1,
    int(_GEOM.mjGEOM_CAPSULE): 2,
    int(_GEOM.mjGEOM_CYLINDER): 2,
    int(_GEOM.mjGEOM_ELLIPSOID): 3,
    int(_GEOM.mjGEOM_BOX): 3,
}
Limits = Callable[[Part, Floats], tuple[Any, Any]]
"""Smallest and largest plausible values, from a part and its nominal values. Shape of each: (size,) or ()."""
_MIN_MASS = 1e-15  # mjMINVAL: MuJoCo refuses a moving body that is lighter
_RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
_DEFAULT_RGBA = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)
"""A geom of this colour shows its material's, as MuJoCo has it."""


def fixed_bounds(low: Any, high: Any) -> Limits:
    """Bounds that are the same everywhere."""
    return lambda part, nominal: (low, high)  # noqa: ARG005


def nominal_bounds(low: float, high: float) -> Limits:
    """Bounds that are wider where the model's own value lies outside."""
    return lambda part, nominal: (np.minimum(low, nominal), np.maximum(high, nominal))  # noqa: ARG005


def times_bounds(factor: float) -> Limits:
    """Bounds of a factor about the nominal."""
    return lambda part, nominal: (nominal / factor, nominal * factor)  # noqa: ARG005


def up_to_bounds(plausible: float, factor: float) -> Limits:
    """Bounds from 0 to a plausible value, or a multiple of the nominal where that is larger."""
    return lambda part, nominal: (0.0, np.maximum(plausible, factor * nominal))  # noqa: ARG005


def reference_bounds(part: Part, nominal: Floats) -> tuple[Any, Any]:
    """A turn, or 10 m, about the nominal, in rad or m. Shape of each: (1,)."""
    reach = 2 * math.pi if _joint_type(part) == _HINGE else 10.0
    return nominal - reach, nominal + reach


def range_bounds(part: Part, nominal: Floats) -> tuple[Any, Any]:
    """Two turns, or 10 m and more, about 0: scalars in rad or m, for a nominal of shape (2,)."""
    reach = 4 * math.pi if _joint_type(part) == _HINGE else max(10.0, 10 * float(np.abs(nominal).max()))
    return -reach, reach


def com_bounds(part: Part, nominal: Floats) -> tuple[Any, Any]:  # noqa: ARG001
    """1 m and more about the nominal. Shape of each: (3,), m."""
    reach = np.maximum(1.0, 10 * np.abs(nominal))
    return nominal - reach, nominal + reach


def gear_bounds(part: Part, nominal: Floats) -> tuple[Any, Any]:  # noqa: ARG001
    """Both signs of 1000, or 100 times the nominal. Shape of each: (1,) or (6,)."""
    reach = np.maximum(1e3, 100 * np.abs(nominal))
    return -reach, reach


def gain_bounds(part: Part, nominal: Floats) -> tuple[Any, Any]:  # noqa: ARG001
    """As gears, without a change of sign to below 0: scalars, for a nominal of shape (1,)."""
    reach = max(1e3, 100 * abs(float(nominal[0])))
    return (0.0 if nominal[0] >= 0 else -reach), reach


def _joint_type(part: Part) -> int:
    return int(part.model.jnt_type[part.index])


def joint_unit(hinge: str, slide: str) -> Callable[[Part], str]:
    """A unit of hinges and one of slides."""
    return lambda part: slide if _joint_type(part) == _SLIDE else hinge


def dof_start(part: Part) -> int:
    """Where a joint's degrees of freedom start."""
    return int(part.model.jnt_dofadr[part.index])


def dofs(part: Part) -> int:
    """Number of a joint's degrees of freedom."""
    return _DOFS[_joint_type(part)]


def position_start(part: Part) -> int:
    """Where a joint's positions start."""
    return int(part.model.jnt_qposadr[part.index])


def rest(part: Part) -> float:
    """The pose that shrinking limits close in on: the rest position, or the limit nearest to it."""
    low, high = map(float, part.model.jnt_range[part.index])
    return min(max(float(part.model.qpos0[position_start(part)]), low), high)


def gears(part: Part) -> int:
    """How many components of an actuator's gear act: one but for 3D joints and sites."""
    model, types = part.model, mujoco.mjtTrn
    kind = int(model.actuator_trntype[part.index])
    if kind in (types.mjTRN_JOINT, types.mjTRN_JOINTINPARENT):
        single = int(model.jnt_type[model.actuator_trnid[part.index, 0]]) in (_HINGE, _SLIDE)
    else:
        single = kind != int(types.mjTRN_SITE)
    return 1 if single else 6


def effort_unit(part: Part) -> str:
    """Unit of what an actuator does to its joint."""
    model = part.model
    if int(model.actuator_trntype[part.index]) != mujoco.mjtTrn.mjTRN_JOINT:
        return ""
    return "N" if int(model.jnt_type[model.actuator_trnid[part.index, 0]]) == _SLIDE else "N m"


def inertia_follows(part: Part, nominal: Floats) -> Sequence[Write]:  # noqa: ARG001
    """The inertia moves with the mass. Shape of ``nominal``: (1,), kg."""
    return [Write("body_inertia", 3 * part.index + k, 0, "ratio") for k in range(3)]


def bias_follows(part: Part, nominal: Floats) -> Sequence[Write]:
    """A servo pulls towards its target by gain × (target − state): its bias moves with the gain.

    Args:
        part: The actuator.
        nominal: Its gain. Shape: (1,).
    """
    bias, gain = part.model.actuator_biasprm, float(nominal[0])
    return [
        Write("actuator_biasprm", part.index * bias.shape[1] + k, 0, "ratio")
        for k in (1, 2)
        if gain and bias[part.index, k] == -gain
    ]


def limited_follows(part: Part, nominal: Floats) -> Sequence[Write]:  # noqa: ARG001
    """A force is limited where its limits are finite. Shape of ``nominal``: (2,), N."""
    return [Write("actuator_forcelimited", part.index, 0, "finite")]


def force_limits(part: Part) -> Sequence[float]:
    """A motor's limits; infinite where the model has none."""
    limited = bool(part.model.actuator_forcelimited[part.index])
    return tuple(part.model.actuator_forcerange[part.index]) if limited else (-math.inf, math.inf)


def sizes(part: Part) -> int:
    """How many numbers a geom's size has; 0 where it can't be resized."""
    return _SIZES.get(int(part.model.geom_type[part.index]), 0)


def by_material(part: Part) -> Any:
    """Which geoms show their material's colour. Shape: (ngeom,)."""
    own = (part.model.geom_rgba == _DEFAULT_RGBA).all(axis=1)
    return shown(part) & (part.model.geom_matid >= 0) & own


def shown(part: Part) -> Any:
    """Which geoms can be seen. Shape: (ngeom,)."""
    return part.model.geom_rgba[:, 3] > 0


def no_mass(part: Part) -> str | None:
    """Why a body's mass can't be changed."""
    if part.model.body_weldid[part.index] == 0:
        return "the body is fixed to the world and never moves"
    if part.model.body_mocapid[part.model.body_weldid[part.index]] >= 0:
        return "the body is moved as motion capture, whatever its mass"
    massless = part.model.body_mass[part.index] < _MIN_MASS
    return "the body has no mass in the model, so there is no inertia that could follow" if massless else None


def no_com(part: Part) -> str | None:
    """Why a body's centre of mass can't be changed."""
    reason = no_mass(part)
    if reason is not None or part.model.body_simple[part.index] != 1:
        return reason and reason.partition(",")[0]
    return (
        "MuJoCo compiled the body with a diagonal inertia matrix, which an offset would make wrong; "
        "give the body a small offset (1e-6) in the model file"
    )


def no_solref(part: Part) -> str | None:
    """Why a geom's contacts can't get softer."""
    given = part.model.geom_solref[part.index, 0] <= 0
    return "the model gives stiffness and damping instead of a time constant" if given else None


def no_size(part: Part) -> str | None:
    """Why a geom can't be resized."""
    shape = _GEOM(int(part.model.geom_type[part.index])).name.removeprefix("mjGEOM_").lower()
    only = "only spheres, capsules, cylinders, ellipsoids and boxes can be resized"
    return None if sizes(part) else f"its shape is {shape}; {only}"


def no_range(part: Part) -> str | None:
    """Why a joint's limits can't be changed."""
    if not part.model.jnt_limited[part.index]:
        return "the joint has no limits in the model"
    return "only the limits of hinges and slides can be changed" if _joint_type(part) == _BALL else None


def no_reference(part: Part) -> str | None:
    """Why a joint has no reference position."""
    single = _joint_type(part) in (_HINGE, _SLIDE)
    return None if single else "only hinges and slides have a single reference position"


def no_gear(part: Part) -> str | None:
    """Why an actuator's gear can't be changed."""
    several = int(part.model.actuator_outnum[part.index]) > 1
    return "the actuator drives several outputs, each with a gear of its own" if several else None


def no_gain(part: Part) -> str | None:
    """Why an actuator's gain can't be changed."""
    fixed = int(part.model.actuator_gaintype[part.index]) == mujoco.mjtGain.mjGAIN_FIXED
    return None if fixed else "only actuators with a fixed gain (motors and servos) have one number for it"


def no_texture(part: Part) -> str | None:
    """Why a material's texture can't be changed."""
    none = part.model.mat_texid[part.index, _RGB] < 0
    return "the material has no texture in the model" if none else None


def unsound_mass(parameter: Parameter, values: Floats) -> str | None:
    """A mass is positive. Shape of ``values``: (1,), kg."""
    if values[0] > 0:
        return None
    return f", but a mass must be positive (nominal {parameter.nominal[0]:.6g} kg)."


def unsound_gravity(parameter: Parameter, values: Floats) -> str | None:
    """Gravity doesn't point up. Shape of ``values``: (3,), m/s²."""
    up = values[2] > parameter.high[2]
    return f", which points up; write {-values[2]:g} for a pull downwards." if up else None


def unsound_texture(parameter: Parameter, values: Floats) -> str | None:  # noqa: ARG001
    """A texture is a number of `TEXTURES`. Shape of ``values``: (1,)."""
    whole = values[0] == round(values[0])
    return None if whole else f", but a texture is a whole number: {TEXTURE_NUMBERS}."


def unsound_direction(parameter: Parameter, values: Floats) -> str | None:  # noqa: ARG001
    """Light falls somewhere. Shape of ``values``: (3,)."""
    return None if values.any() else ", but light falls in some direction: expected a vector other than 0."


def unsound_limits(parameter: Parameter, values: Floats) -> str | None:  # noqa: ARG001
    """Limits are in order. Shape of ``values``: (2,), low and high."""
    in_order = values[0] < values[1]
    return None if in_order else ", but the first limit must be smaller than the second: [low,high]."


TEXTURE_NUMBERS = ", ".join(f"{i} {name}" for i, name in enumerate(TEXTURES))
