"""Names, units and ranges of what a MuJoCo model's observations and actions are made of."""

import math
from collections import Counter

import mujoco
import numpy as np
from gymnasium import spaces

from warmstart.envs.simulation.layouts import Dimension, Layout
from warmstart.envs.simulation.names import PartNames

AXES = ("x", "y", "z")
_FREE, _BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
_SLIDE, _HINGE = int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE)


def _vector(name: str, unit: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"{name}_{axis}", unit) for axis in AXES)


# in MuJoCo's order: (rotation, translation); for the inertia (inertia, mass × offset, mass)
CONTACT_FORCE = _vector("contact.torque", "N m") + _vector("contact.force", "N")
"""``cfrc_ext`` of a body: the name and unit of each component."""
MOTION = _vector("com.angular_velocity", "rad/s") + _vector("com.velocity", "m/s")
"""``cvel`` of a body."""
INERTIA = (
    *((f"inertia.{pair}", "kg m2") for pair in ("xx", "yy", "zz", "xy", "xz", "yz")),
    *_vector("inertia.moment", "kg m"),
    ("inertia.mass", "kg"),
)
"""``cinert`` of a body."""


class ModelDimensions:
    """Describes the parts of `mujoco.MjData` that observations are made of, in MuJoCo's order.

    Attributes:
        joints: Names of the joints.
        qpos: One dimension per position, m or rad.
        qvel: One dimension per velocity, m/s or rad/s.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        names = PartNames(model)
        self.joints, self._bodies = names.joints, names.bodies[1:]
        joints = list(zip(names.joints, map(int, model.jnt_type), strict=True))
        self.qpos = [d for name, kind in joints for d in _position(kind, name)]
        self.qvel = [d for name, kind in joints for d in _velocity(kind, name)]

    def clipped_qvel(self, limit: float) -> list[Dimension]:
        """Velocities within ±limit."""
        return [Dimension(d.name, d.unit, -limit, limit) for d in self.qvel]

    def per_body(
        self, parts: tuple[tuple[str, str], ...], low: float = -math.inf, high: float = math.inf
    ) -> list[Dimension]:
        """One block of parts (name and unit) for every body but the world."""
        return [Dimension(f"{body}.{part}", unit, low, high) for body in self._bodies for part, unit in parts]

    def actuator_efforts(self) -> list[Dimension]:
        """What actuators do to each degree of freedom (``qfrc_actuator``), N or N m."""
        efforts = {"rad/s": ("actuator_torque", "N m"), "m/s": ("actuator_force", "N")}
        return [
            Dimension(d.name.replace("velocity", efforts[d.unit][0]), efforts[d.unit][1]) for d in self.qvel
        ]


def trigonometric(joints: list[str], function: str) -> list[Dimension]:
    """``sin`` or ``cos`` of hinges' angles."""
    return [Dimension(f"{joint}.{function}", "", -1.0, 1.0) for joint in joints]


def _position(kind: int, name: str) -> list[Dimension]:
    """Describe a joint's part of qpos."""
    if kind == _SLIDE:
        return [Dimension(f"{name}.position", "m")]
    if kind == _HINGE:
        return [Dimension(f"{name}.angle", "rad")]
    place = [Dimension(f"{name}.{axis}", "m") for axis in AXES] if kind == _FREE else []
    return place + [Dimension(f"{name}.q{part}", "", -1.0, 1.0) for part in "wxyz"]


def _velocity(kind: int, name: str) -> list[Dimension]:
    """Describe a joint's part of qvel."""
    if kind in (_SLIDE, _HINGE):
        return [Dimension(f"{name}.velocity", "m/s" if kind == _SLIDE else "rad/s")]
    moving = _vector(f"{name}.velocity", "m/s") if kind == _FREE else ()
    return [Dimension(*part) for part in (*moving, *_vector(f"{name}.angular_velocity", "rad/s"))]


def action_layout(model: mujoco.MjModel) -> Layout:
    """Return the layout of a model's controls, one dimension per actuator.

    A motor on a joint is named ``JOINT.torque`` (N m) or ``JOINT.force`` (N), a position or velocity
    servo ``JOINT.target_angle``, ``JOINT.target_position`` or ``JOINT.target_velocity``, anything else
    ``ACTUATOR.control``. The range is that of the control, the scale gear × gain.
    """
    names = PartNames(model)
    wanted: list[tuple[str, str, str, float]] = []  # actuator, control, its unit and scale
    for index, actuator in enumerate(names.actuators):
        count = int(model.actuator_ctrlnum[index])
        if count == 1:
            wanted.append((actuator, *_control(model, names, index)))
        else:
            wanted += [(actuator, f"{actuator}.control[{k}]", "", 1.0) for k in range(count)]
    counts = Counter(name for _, name, _, _ in wanted)
    dimensions = []
    for position, (actuator, name, unit, scale) in enumerate(wanted):
        if counts[name] > 1:  # several actuators of one joint
            name = f"{actuator}.{name.rpartition('.')[2]}"
        low, high = model.actuator_ctrlrange[position]
        limits = (float(low), float(high)) if model.actuator_ctrllimited[position] else (-math.inf, math.inf)
        dimensions.append(Dimension(name, unit, *limits, scale))
    return Layout(tuple(dimensions))


def _control(model: mujoco.MjModel, names: PartNames, index: int) -> tuple[str, str, float]:
    """Return the name, unit and physical scale of an actuator's control."""
    gear = float(model.actuator_gear[model.actuator_outadr[index], 0])
    gain = float(model.actuator_gainprm[index, 0])
    other = (f"{names.actuators[index]}.control", "", gear * gain)
    on_joint = int(model.actuator_trntype[index]) == mujoco.mjtTrn.mjTRN_JOINT
    fixed_gain = int(model.actuator_gaintype[index]) == mujoco.mjtGain.mjGAIN_FIXED
    if not (on_joint and fixed_gain):
        return other
    joint = int(model.actuator_trnid[index, 0])
    kind = int(model.jnt_type[joint])
    if kind not in (_HINGE, _SLIDE):
        return other
    name, turns = names.joints[joint], kind == _HINGE
    if int(model.actuator_biastype[index]) == mujoco.mjtBias.mjBIAS_NONE:
        return (f"{name}.torque", "N m", gear * gain) if turns else (f"{name}.force", "N", gear * gain)
    if model.actuator_biasprm[index, 1] != 0:
        return (
            (f"{name}.target_angle", "rad", 1 / gear) if turns else (f"{name}.target_position", "m", 1 / gear)
        )
    if model.actuator_biasprm[index, 2] != 0:
        return f"{name}.target_velocity", "rad/s" if turns else "m/s", 1 / gear
    return other


def box_spaces(model: mujoco.MjModel, size: int) -> tuple[spaces.Box, spaces.Box]:
    """Spaces of one observation (size,), float64, and of one action (nu,), float32."""
    low, high = model.actuator_ctrlrange.astype(np.float32).T
    return spaces.Box(-np.inf, np.inf, (size,), np.float64), spaces.Box(low, high, dtype=np.float32)
