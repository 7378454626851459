"""Layouts: the name, unit and range of every dimension of an observation or action.

Alignment between different spaces works on these names. They are derived for the eleven Gymnasium v5
MuJoCo tasks, generic elsewhere, or given by the user.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import gymnasium
import mujoco
import numpy as np

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.simulation.names import PartNames

_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Dimension:
    """One number of an observation or action.

    Attributes:
        name: What it is: ``bthigh.angle``, ``bthigh.torque``.
        unit: Its unit: ``m``, ``rad``, ``m/s``, ``rad/s``, ``N``, ``N m``; empty where it has none.
        low: Smallest value.
        high: Largest value.
        scale: What one unit of an action is in physical terms (an actuator's gear × gain).
        block: Hash of the encoder whose opaque feature this is; such a dimension only matches one of
            the same name from the same encoder. Empty for a quantity with a meaning of its own.
    """

    name: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    scale: float = 1.0
    block: str = ""

    def matches(self, other: "Dimension") -> bool:
        """Whether the other dimension is the same quantity: same name, same encoder if it has one."""
        return self.name == other.name and self.block == other.block


@dataclass(frozen=True)
class Layout:
    """The dimensions of an observation or action, in order; names are unique."""

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise WarmstartError(
                f"Expected unique names of dimensions, found more than once: {', '.join(repeated)}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names in order."""
        return tuple(dimension.name for dimension in self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    def __add__(self, other: "Layout") -> "Layout":
        return Layout(self.dimensions + other.dimensions)

    def index(self, name: str) -> int:
        """Return the position of a dimension.

        Raises:
            WarmstartError: There is none of that name.
        """
        if name not in self.names:
            raise unknown_name("dimension", name, self.names)
        return self.names.index(name)

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain JSON: one object per dimension, without what has its default (an infinite range)."""
        default = asdict(Dimension(""))
        return [
            {key: value for key, value in asdict(dimension).items() if value != default[key]}
            for dimension in self.dimensions
        ]

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]]) -> "Layout":
        """Read what :meth:`to_json` wrote.

        Raises:
            WarmstartError: The data is not a list of dimensions.
        """
        try:
            return cls(tuple(Dimension(**dimension) for dimension in data))
        except TypeError as error:
            raise WarmstartError(
                f"Expected a list of dimensions with a name each, found {data!r}."
            ) from error


def opaque_block(name: str, size: int, encoder_hash: str) -> Layout:
    """Return the layout of an encoder's features: ``NAME[0]``…, matched only by the same encoder's.

    Args:
        name: Name of the block.
        size: Number of features.
        encoder_hash: Hash that identifies the encoder with its weights and preprocessing.
    """
    return Layout(tuple(Dimension(f"{name}[{i}]", block=encoder_hash) for i in range(size)))


def action_layout(model: mujoco.MjModel) -> Layout:
    """Return the layout of a model's controls, one dimension per actuator.

    A motor on a joint is named ``JOINT.torque`` (N m) or ``JOINT.force`` (N), a position or velocity
    servo ``JOINT.target_angle``, ``JOINT.target_position`` or ``JOINT.target_velocity``, anything else
    ``ACTUATOR.control``. The range is that of the control, the scale gear × gain.
    """
    names = PartNames(model)
    wanted = [control for index in range(model.nactuator) for control in _controls(model, names, index)]
    counts = Counter(name for _, (name, _, _) in wanted)
    dimensions = []
    for position, (actuator, (name, unit, scale)) in enumerate(wanted):
        if counts[name] > 1:  # several actuators of one joint
            name = f"{names.actuators[actuator]}.{name.rpartition('.')[2]}"
        dimensions.append(Dimension(name, unit, *_control_range(model, position), scale))
    return Layout(tuple(dimensions))


def _controls(
    model: mujoco.MjModel, names: PartNames, actuator: int
) -> list[tuple[int, tuple[str, str, float]]]:
    """Describe an actuator's controls, most often one: (actuator, (name, unit, scale))."""
    count = int(model.actuator_ctrlnum[actuator])
    if count == 1:
        return [(actuator, _control(model, names, actuator))]
    return [(actuator, (f"{names.actuators[actuator]}.control[{k}]", "", 1.0)) for k in range(count)]


def _control_range(model: mujoco.MjModel, index: int) -> tuple[float, float]:
    if not model.actuator_ctrllimited[index]:
        return -math.inf, math.inf
    low, high = model.actuator_ctrlrange[index]
    return float(low), float(high)


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
    if kind not in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
        return other
    name, turns = names.joints[joint], kind == mujoco.mjtJoint.mjJNT_HINGE
    if int(model.actuator_biastype[index]) == mujoco.mjtBias.mjBIAS_NONE:
        return (f"{name}.torque", "N m", gear * gain) if turns else (f"{name}.force", "N", gear * gain)
    if model.actuator_biasprm[index, 1] != 0:
        return (
            (f"{name}.target_angle", "rad", 1 / gear) if turns else (f"{name}.target_position", "m", 1 / gear)
        )
    if model.actuator_biasprm[index, 2] != 0:
        return f"{name}.target_velocity", "rad/s" if turns else "m/s", 1 / gear
    return other


def generic_layout(space: gymnasium.Space[Any], prefix: str) -> Layout:
    """Return the layout of any flat space, where nothing better is known.

    A Box gives ``PREFIX[0]``… (``PREFIX[0,1]`` in more dimensions), a Dict the same for every key, a
    Discrete space ``choice[0]``…, a MultiDiscrete ``PREFIX[0].choice[0]``…, a MultiBinary ``PREFIX[0]``….

    Raises:
        WarmstartError: The space is of another kind.
    """
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Dict):
        parts = [generic_layout(part, name) for name, part in space.spaces.items()]
        return Layout(tuple(dimension for part in parts for dimension in part.dimensions))
    if isinstance(space, spaces.Box):
        indices = (",".join(map(str, index)) for index in np.ndindex(space.shape))
        bounds = zip(indices, space.low.flat, space.high.flat, strict=True)
        return Layout(
            tuple(Dimension(f"{prefix}[{index}]", "", float(low), float(high)) for index, low, high in bounds)
        )
    if isinstance(space, spaces.Discrete):
        return Layout(tuple(Dimension(f"choice[{i}]", "", 0.0, 1.0) for i in range(int(space.n))))
    if isinstance(space, spaces.MultiDiscrete):
        choices = ((i, k) for i, n in enumerate(space.nvec.flat) for k in range(int(n)))
        return Layout(tuple(Dimension(f"{prefix}[{i}].choice[{k}]", "", 0.0, 1.0) for i, k in choices))
    if isinstance(space, spaces.MultiBinary):
        return Layout(
            tuple(Dimension(f"{prefix}[{i}]", "", 0.0, 1.0) for i in range(int(np.prod(space.shape))))
        )
    raise WarmstartError(
        "Expected a Box, flat Dict, Discrete, MultiDiscrete or MultiBinary space, "
        f"found {type(space).__name__}; give the dimensions' names yourself."
    )


def observation_layout(task_id: str, model: mujoco.MjModel, options: Mapping[str, Any]) -> Layout:
    """Return the layout of a Gymnasium v5 MuJoCo task's observation.

    Args:
        task_id: One of the eleven ids, ``warmstart/`` in front or not.
        model: The task's model.
        options: The task's constructor options; those that shape the observation are read
            (``exclude_current_positions_from_observation``, ``include_cfrc_ext_in_observation``, …).

    Raises:
        WarmstartError: The task is not one of the eleven; use :func:`generic_layout` or names of your own.
    """
    name = task_id.removeprefix("warmstart/")
    if name not in _OBSERVATIONS:
        raise unknown_name("MuJoCo v5 task", task_id, _OBSERVATIONS)
    return Layout(tuple(_OBSERVATIONS[name](_Reader(model, options))))


class _Reader:
    """Describes the parts of MjData that observations are made of."""

    def __init__(self, model: mujoco.MjModel, options: Mapping[str, Any]) -> None:
        self.model = model
        self.names = PartNames(model)
        self.options = options

    def option(self, name: str, default: Any = True) -> Any:
        return self.options.get(name, default)

    def qpos(self) -> list[Dimension]:
        return [
            d for i, name in enumerate(self.names.joints) for d in _position(self.model.jnt_type[i], name)
        ]

    def visible_qpos(self, hidden: int) -> list[Dimension]:
        """The positions, without the first ``hidden`` where the task's option leaves them out."""
        return self.qpos()[hidden if self.option("exclude_current_positions_from_observation") else 0 :]

    def qvel(self, limit: float = math.inf) -> list[Dimension]:
        found = (
            d for i, name in enumerate(self.names.joints) for d in _velocity(self.model.jnt_type[i], name)
        )
        return [replace(d, low=-limit, high=limit) for d in found]

    def per_body(
        self, parts: tuple[tuple[str, str], ...], low: float = -math.inf, high: float = math.inf
    ) -> list[Dimension]:
        """One block of named, united parts for every body but the world."""
        return [
            Dimension(f"{body}.{part}", unit, low, high)
            for body in self.names.bodies[1:]
            for part, unit in parts
        ]

    def joint_torques(self, first_dof: int) -> list[Dimension]:
        found = [
            Dimension(d.name.replace("velocity", _effort(d)), "N m" if d.unit == "rad/s" else "N")
            for d in self.qvel()
        ]
        return found[first_dof:]

    def body_position(self, body: str) -> list[Dimension]:
        return [Dimension(f"{body}.{axis}", "m") for axis in _AXES]


def _position(kind: int, name: str) -> list[Dimension]:
    """Describe a joint's part of qpos."""
    rotation = [Dimension(f"{name}.q{part}", "", -1.0, 1.0) for part in "wxyz"]
    if kind == mujoco.mjtJoint.mjJNT_FREE:
        return [*(Dimension(f"{name}.{axis}", "m") for axis in _AXES), *rotation]
    if kind == mujoco.mjtJoint.mjJNT_BALL:
        return rotation
    slides = kind == mujoco.mjtJoint.mjJNT_SLIDE
    return [Dimension(f"{name}.position", "m") if slides else Dimension(f"{name}.angle", "rad")]


def _velocity(kind: int, name: str) -> list[Dimension]:
    """Describe a joint's part of qvel."""
    turning = [Dimension(f"{name}.angular_velocity_{axis}", "rad/s") for axis in _AXES]
    if kind == mujoco.mjtJoint.mjJNT_FREE:
        return [*(Dimension(f"{name}.velocity_{axis}", "m/s") for axis in _AXES), *turning]
    if kind == mujoco.mjtJoint.mjJNT_BALL:
        return turning
    return [Dimension(f"{name}.velocity", "m/s" if kind == mujoco.mjtJoint.mjJNT_SLIDE else "rad/s")]


def _effort(velocity: Dimension) -> str:
    return "actuator_torque" if velocity.unit == "rad/s" else "actuator_force"


# in MuJoCo's order: cfrc_ext and cvel are (rotation, translation), cinert is (inertia, mass × offset, mass)
_FORCE = tuple((f"contact.torque_{a}", "N m") for a in _AXES) + tuple(
    (f"contact.force_{a}", "N") for a in _AXES
)
_MOTION = tuple((f"com.angular_velocity_{a}", "rad/s") for a in _AXES) + tuple(
    (f"com.velocity_{a}", "m/s") for a in _AXES
)
_INERTIA = (
    *((f"inertia.{pair}", "kg m2") for pair in ("xx", "yy", "zz", "xy", "xz", "yz")),
    *((f"inertia.moment_{a}", "kg m") for a in _AXES),
    ("inertia.mass", "kg"),
)


def _runner(hidden: int, limit: float = math.inf) -> Callable[[_Reader], list[Dimension]]:
    """Positions (the first ``hidden`` optional) and velocities (clipped to ``limit``)."""
    return lambda read: read.visible_qpos(hidden) + read.qvel(limit)


def _ant(read: _Reader) -> list[Dimension]:
    found = read.visible_qpos(2) + read.qvel()
    if read.option("include_cfrc_ext_in_observation"):
        low, high = read.option("contact_force_range", (-1.0, 1.0))
        found += read.per_body(_FORCE, float(low), float(high))
    return found


def _humanoid(read: _Reader) -> list[Dimension]:
    found = read.visible_qpos(2) + read.qvel()
    if read.option("include_cinert_in_observation"):
        found += read.per_body(_INERTIA)
    if read.option("include_cvel_in_observation"):
        found += read.per_body(_MOTION)
    if read.option("include_qfrc_actuator_in_observation"):
        found += read.joint_torques(first_dof=6)
    if read.option("include_cfrc_ext_in_observation"):
        found += read.per_body(_FORCE)
    return found


def _double_pendulum(read: _Reader) -> list[Dimension]:
    slider, *hinges = read.names.joints
    return [
        read.qpos()[0],
        *(Dimension(f"{hinge}.sin", "", -1.0, 1.0) for hinge in hinges),
        *(Dimension(f"{hinge}.cos", "", -1.0, 1.0) for hinge in hinges),
        *read.qvel(10.0),
        Dimension(f"{slider}.constraint_force", "N", -10.0, 10.0),
    ]


def _reacher(read: _Reader) -> list[Dimension]:
    arm = read.names.joints[:2]
    return [
        *(Dimension(f"{joint}.cos", "", -1.0, 1.0) for joint in arm),
        *(Dimension(f"{joint}.sin", "", -1.0, 1.0) for joint in arm),
        *read.qpos()[2:],
        *read.qvel()[:2],
        Dimension("fingertip.from_target_x", "m"),
        Dimension("fingertip.from_target_y", "m"),
    ]


def _pusher(read: _Reader) -> list[Dimension]:
    bodies = [d for body in ("tips_arm", "object", "goal") for d in read.body_position(body)]
    return read.qpos()[:7] + read.qvel()[:7] + bodies


_OBSERVATIONS: dict[str, Callable[[_Reader], list[Dimension]]] = {
    "Ant-v5": _ant,
    "HalfCheetah-v5": _runner(1),
    "Hopper-v5": _runner(1, 10.0),
    "Humanoid-v5": _humanoid,
    "HumanoidStandup-v5": _humanoid,
    "InvertedDoublePendulum-v5": _double_pendulum,
    "InvertedPendulum-v5": _runner(0),
    "Pusher-v5": _pusher,
    "Reacher-v5": _reacher,
    "Swimmer-v5": _runner(2),
    "Walker2d-v5": _runner(1, 10.0),
}
