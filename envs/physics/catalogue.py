"""The physical parameters that a MuJoCo model has, and which of its fields each one is written to.

Every parameter's physics is here once; :mod:`warmstart.envs.physics.parameters` applies it to one model or to
many simulations.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import mujoco
import numpy as np

from warmstart.envs.simulation.fields import read_field
from warmstart.envs.simulation.names import PartNames

SET_CONST_INPUTS = frozenset(
    {
        "body_mass",
        "body_inertia",
        "body_ipos",
        "qpos0",
        "qpos_spring",
        "dof_armature",
        "actuator_gear",
        "geom_size",
    }
)
"""The written fields that ``mj_setConst`` derives others from (of ``MjModel._setconst_inputs``)."""

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
_MIN_MASS = 1e-15  # mjMINVAL: MuJoCo refuses a moving body that is lighter


@dataclass(frozen=True)
class Parameter:
    """A named physical quantity of a model.

    Attributes:
        name: ``body.torso.mass``, ``option.gravity``.
        unit: Its unit; empty where it has none.
        nominal: The model's own value, one number per component.
        low: Smallest plausible value of each component.
        high: Largest plausible value of each component.
    """

    name: str
    unit: str
    nominal: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def size(self) -> int:
        """Number of components."""
        return len(self.nominal)


@dataclass(frozen=True)
class Write:
    """One element of a model field that follows one component of a parameter.

    Attributes:
        field: The field: ``body_mass``, ``opt.gravity``.
        target: Flat position within one model's field.
        source: The parameter's component.
        rule: ``value`` writes it; ``ratio`` multiplies the field's nominal by value / nominal;
            ``bounded`` writes it where it is finite and the field's nominal elsewhere; ``finite`` writes
            whether it is finite.
    """

    field: str
    target: int
    source: int
    rule: Literal["value", "ratio", "bounded", "finite"] = "value"


@dataclass(frozen=True)
class Entry:
    """A parameter with the knowledge of how to apply it.

    Attributes:
        parameter: The parameter.
        quantity: Its last name: ``mass``.
        index: Index of its body, geom, joint, actuator or pair in the model.
        writes: What it is written to.
        scalar: The components that a single number sets or adds to; ``()`` if it takes a vector.
        pivot: What ``scale`` shrinks or stretches about.
        meaning: What a vector of it means, for error messages.
    """

    parameter: Parameter
    quantity: str
    index: int
    writes: tuple[Write, ...]
    scalar: tuple[int, ...]
    pivot: tuple[float, ...]
    meaning: str = ""


@dataclass
class Catalogue:
    """All parameters of a model by name, and the reasons why others can't be changed."""

    entries: dict[str, Entry] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def catalogue(
    model: mujoco.MjModel, names: PartNames, visual: Iterable[tuple[str, "Entry | str"]] = ()
) -> Catalogue:
    """List the physical parameters of a model.

    Args:
        model: The model with its nominal values.
        names: The names of its parts.
        visual: Descriptions of visual parameters, where frames are drawn.
    """
    found = Catalogue()
    kinds = (_options, _bodies, _geoms, _pairs, _joints, _actuators)
    for name, item in chain(*(describe(model, names) for describe in kinds), visual):
        if isinstance(item, str):
            found.refused[name] = item
        else:
            found.entries[name] = item
    return found


Described = Iterator[tuple[str, Entry | str]]


def _entry(
    model: mujoco.MjModel,
    name: str,
    unit: str,
    index: int,
    writes: Sequence[Write],
    bounds: tuple[Sequence[float] | float, Sequence[float] | float],
    *,
    scalar: Sequence[int] | None = None,
    nominal: Sequence[float] | None = None,
    pivot: Sequence[float] | None = None,
    meaning: str = "",
) -> tuple[str, Entry]:
    """Describe a parameter; its nominal is read from the fields that hold its value."""
    if nominal is None:
        held = sorted((w for w in writes if w.rule == "value"), key=lambda w: w.source)
        nominal = [float(read_field(model, w.field).flat[w.target]) for w in held]
    low, high = (np.broadcast_to(np.asarray(bound, dtype=float), len(nominal)).tolist() for bound in bounds)
    parameter = Parameter(name, unit, tuple(nominal), tuple(low), tuple(high))
    every = tuple(range(parameter.size))
    return name, Entry(
        parameter,
        name.rpartition(".")[2],
        index,
        tuple(writes),
        every if scalar is None else tuple(scalar),
        tuple(pivot) if pivot is not None else (0.0,) * parameter.size,
        meaning,
    )


def _row(field_name: str, start: int, size: int) -> list[Write]:
    """Write component i of a parameter to the element ``start + i`` of a field."""
    return [Write(field_name, start + i, i) for i in range(size)]


def _options(model: mujoco.MjModel, names: PartNames) -> Described:  # noqa: ARG001
    up = max(0.0, float(model.opt.gravity[2]))
    gravity, wind = _row("opt.gravity", 0, 3), _row("opt.wind", 0, 3)
    limits = (-100.0, (100.0, 100.0, up))
    yield _entry(model, "option.gravity", "m/s2", 0, gravity, limits, scalar=(2,), meaning="[x,y,z]")
    yield _entry(model, "option.wind", "m/s", 0, wind, (-100.0, 100.0), scalar=(), meaning="[x,y,z]")
    yield _entry(model, "option.density", "kg/m3", 0, _row("opt.density", 0, 1), (0.0, 2e4))
    yield _entry(model, "option.viscosity", "Pa s", 0, _row("opt.viscosity", 0, 1), (0.0, 100.0))
    yield _entry(model, "option.timestep", "s", 0, _row("opt.timestep", 0, 1), (1e-5, 0.1))


def _bodies(model: mujoco.MjModel, names: PartNames) -> Described:
    for i in range(1, model.nbody):
        mass_name, com_name = f"body.{names.bodies[i]}.mass", f"body.{names.bodies[i]}.com"
        if model.body_weldid[i] == 0:
            yield mass_name, "the body is fixed to the world and never moves"
            yield com_name, "the body is fixed to the world and never moves"
            continue
        mass = float(model.body_mass[i])
        if mass < _MIN_MASS:
            yield mass_name, "the body has no mass in the model, so there is no inertia that could follow"
            yield com_name, "the body has no mass in the model"
            continue
        inertia = [Write("body_inertia", 3 * i + k, 0, "ratio") for k in range(3)]
        writes = [Write("body_mass", i, 0), *inertia]
        yield _entry(model, mass_name, "kg", i, writes, (mass / 1000, mass * 1000))
        if model.body_simple[i] == 1:
            yield (
                com_name,
                "MuJoCo compiled the body with a diagonal inertia matrix, which an offset would make wrong; "
                "give the body a small offset (1e-6) in the model file",
            )
            continue
        centre = model.body_ipos[i]
        reach = np.maximum(1.0, 10 * np.abs(centre))
        bounds = (centre - reach, centre + reach)
        com = _row("body_ipos", 3 * i, 3)
        yield _entry(model, com_name, "m", i, com, bounds, scalar=(), meaning="[x,y,z] in the body's frame")


def _geoms(model: mujoco.MjModel, names: PartNames) -> Described:
    for i, name in enumerate(names.geoms):
        friction = model.geom_friction[i]
        yield _entry(
            model,
            f"geom.{name}.friction",
            "",
            i,
            _row("geom_friction", 3 * i, 3),
            (0.0, np.maximum(20.0, 20 * friction)),
            scalar=(0,),
            meaning="[sliding,torsional,rolling]",
        )
        yield f"geom.{name}.solref", _contact_time(model, i, f"geom.{name}.solref")
        kind = int(model.geom_type[i])
        if kind not in _SIZES:
            shape = _GEOM(kind).name.removeprefix("mjGEOM_").lower()
            yield (
                f"geom.{name}.size",
                f"its shape is {shape}; only spheres, capsules, cylinders, ellipsoids and boxes "
                "can be resized",
            )
            continue
        size = model.geom_size[i, : _SIZES[kind]]
        yield _entry(
            model,
            f"geom.{name}.size",
            "m",
            i,
            _row("geom_size", 3 * i, _SIZES[kind]),
            (size / 100, size * 100),
            scalar=(0,) if _SIZES[kind] == 1 else (),
            meaning="radius and half-lengths as in MuJoCo's geom size",
        )


def _contact_time(model: mujoco.MjModel, index: int, name: str) -> Entry | str:
    """How soft a geom's contacts are: the first number of MuJoCo's ``solref``."""
    time = float(model.geom_solref[index, 0])
    if time <= 0:
        return "the model gives stiffness and damping instead of a time constant"
    bounds = (1e-3, max(1.0, 100 * time))  # MuJoCo itself keeps to at least two timesteps
    meaning = "time constant of contacts; larger is softer"
    return _entry(model, name, "s", index, _row("geom_solref", 2 * index, 1), bounds, meaning=meaning)[1]


def _pairs(model: mujoco.MjModel, names: PartNames) -> Described:
    for i, name in enumerate(names.pairs):
        high = np.maximum(20.0, 20 * model.pair_friction[i])
        writes = _row("pair_friction", 5 * i, 5)
        meaning = "[sliding,sliding,torsional,rolling,rolling]"
        yield _entry(
            model, f"pair.{name}.friction", "", i, writes, (0.0, high), scalar=(0, 1), meaning=meaning
        )


def _joints(model: mujoco.MjModel, names: PartNames) -> Described:
    for i, name in enumerate(names.joints):
        kind, dof, q = int(model.jnt_type[i]), int(model.jnt_dofadr[i]), int(model.jnt_qposadr[i])
        effort, place, inertia = ("N", "m", "kg") if kind == _SLIDE else ("N m", "rad", "kg m2")
        for quantity, unit, plausible in (
            ("damping", f"{effort} s/{place}", 1e3),
            ("armature", inertia, 1e2),
            ("frictionloss", effort, 1e3),
        ):
            writes = _row(f"dof_{quantity}", dof, _DOFS[kind])
            high = [max(plausible, 100 * float(getattr(model, w.field)[w.target])) for w in writes]
            yield _entry(model, f"joint.{name}.{quantity}", unit, i, writes, (0.0, high))
        stiffness = max(1e4, 100 * float(np.ravel(model.jnt_stiffness[i])[0]))
        yield _entry(
            model,
            f"joint.{name}.stiffness",
            f"{effort}/{place}",
            i,
            _row("jnt_stiffness", i, 1),
            (0.0, stiffness),
        )
        yield f"joint.{name}.range", _joint_range(model, i, name, place)
        for quantity, where in (("ref", "qpos0"), ("springref", "qpos_spring")):
            full = f"joint.{name}.{quantity}"
            if kind not in (_HINGE, _SLIDE):
                yield full, "only hinges and slides have a single reference position"
                continue
            value = float(getattr(model, where)[q])
            reach = 2 * math.pi if kind == _HINGE else 10.0
            yield _entry(model, full, place, i, _row(where, q, 1), (value - reach, value + reach))


def _joint_range(model: mujoco.MjModel, index: int, name: str, unit: str) -> Entry | str:
    if not model.jnt_limited[index]:
        return "the joint has no limits in the model"
    kind = int(model.jnt_type[index])
    if kind == _BALL:
        return "only the limits of hinges and slides can be changed"
    low, high = map(float, model.jnt_range[index])
    # the pose that the shrinking limits close in on: the rest position, or the limit nearest to it
    rest = min(max(float(model.qpos0[model.jnt_qposadr[index]]), low), high)
    reach = 4 * math.pi if kind == _HINGE else max(10.0, 10 * abs(low), 10 * abs(high))
    return _entry(
        model,
        f"joint.{name}.range",
        unit,
        index,
        _row("jnt_range", 2 * index, 2),
        (-reach, reach),
        scalar=(),
        pivot=(rest, rest),
        meaning="[low,high]",
    )[1]


def _actuators(model: mujoco.MjModel, names: PartNames) -> Described:
    for i, name in enumerate(names.actuators):
        output, gear = int(model.actuator_outadr[i]), 1 if _single_gear(model, i) else 6
        reach = np.maximum(1e3, 100 * np.abs(model.actuator_gear[output, :gear]))
        writes = _row("actuator_gear", 6 * output, gear)
        unit = _effort_unit(model, i)
        if int(model.actuator_outnum[i]) > 1:
            reason = "the actuator drives several outputs, each with a gear of its own"
            yield f"actuator.{name}.gear", reason
        else:
            yield _entry(model, f"actuator.{name}.gear", unit, i, writes, (-reach, reach), scalar=(0,))
        yield f"actuator.{name}.gain", _gain(model, i, f"actuator.{name}.gain")
        yield f"actuator.{name}.forcerange", _force_range(model, i, f"actuator.{name}.forcerange")


def _single_gear(model: mujoco.MjModel, index: int) -> bool:
    """Whether only the first component of an actuator's gear acts: all but 3D joints and sites."""
    kind, types = int(model.actuator_trntype[index]), mujoco.mjtTrn
    if kind in (types.mjTRN_JOINT, types.mjTRN_JOINTINPARENT):
        return int(model.jnt_type[model.actuator_trnid[index, 0]]) in (_HINGE, _SLIDE)
    return kind != int(types.mjTRN_SITE)


def _effort_unit(model: mujoco.MjModel, index: int) -> str:
    if int(model.actuator_trntype[index]) != mujoco.mjtTrn.mjTRN_JOINT:
        return ""
    return "N" if int(model.jnt_type[model.actuator_trnid[index, 0]]) == _SLIDE else "N m"


def _gain(model: mujoco.MjModel, index: int, name: str) -> Entry | str:
    if int(model.actuator_gaintype[index]) != mujoco.mjtGain.mjGAIN_FIXED:
        return "only actuators with a fixed gain (motors and servos) have one number for it"
    gain = float(model.actuator_gainprm[index, 0])
    width, bias_width = model.actuator_gainprm.shape[1], model.actuator_biasprm.shape[1]
    writes = [Write("actuator_gainprm", index * width, 0)]
    # a servo pulls towards its target by gain × (target − state): its bias moves with the gain
    writes += [
        Write("actuator_biasprm", index * bias_width + k, 0, "ratio")
        for k in (1, 2)
        if gain and model.actuator_biasprm[index, k] == -gain
    ]
    reach = max(1e3, 100 * abs(gain))
    return _entry(model, name, "", index, writes, (0.0 if gain >= 0 else -reach, reach))[1]


def _force_range(model: mujoco.MjModel, index: int, name: str) -> Entry:
    limited = bool(model.actuator_forcelimited[index])
    nominal = map(float, model.actuator_forcerange[index]) if limited else (-math.inf, math.inf)
    writes = [
        Write("actuator_forcerange", 2 * index, 0, "bounded"),
        Write("actuator_forcerange", 2 * index + 1, 1, "bounded"),
        Write("actuator_forcelimited", index, 0, "finite"),
    ]
    bounds = (-1e6, 1e6)
    return _entry(
        model, name, "N", index, writes, bounds, scalar=(), nominal=tuple(nominal), meaning="[low,high]"
    )[1]
