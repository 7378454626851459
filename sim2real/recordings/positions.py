"""Names of positions, velocities and controls, and differences of positions."""

from collections.abc import Iterable

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from warmstart.envs.simulation.dimensions import ModelDimensions, action_layout
from warmstart.envs.simulation.names import PartNames

Floats = NDArray[np.float64]


def columns(model: mujoco.MjModel) -> dict[str, tuple[str, ...]]:
    """Names of the columns of ``qpos``, ``qvel`` and ``ctrl``, as layouts have them.

    A hinge has ``JOINT.angle``, a slide ``JOINT.position``, both ``JOINT.velocity``; a free joint
    ``JOINT.x``, ``JOINT.qw``, ``JOINT.velocity_x``, ``JOINT.angular_velocity_x`` and so on; an actuator
    ``ACTUATOR.ctrl``, where an unnamed actuator has the name of its joint.
    """
    dimensions = ModelDimensions(model)
    controls = tuple(f"{name}.ctrl" for name in PartNames(model).actuators)
    if len(controls) != model.nu:  # an actuator with several controls
        controls = action_layout(model).names
    qpos, qvel = (tuple(d.name for d in part) for part in (dimensions.qpos, dimensions.qvel))
    return {"qpos": qpos, "qvel": qvel, "ctrl": controls}


def quaternions(model: mujoco.MjModel) -> list[int]:
    """Where quaternions start within qpos."""
    kinds = {int(mujoco.mjtJoint.mjJNT_FREE): 3, int(mujoco.mjtJoint.mjJNT_BALL): 0}
    return [
        int(model.jnt_qposadr[i]) + kinds[int(model.jnt_type[i])]
        for i in range(model.njnt)
        if int(model.jnt_type[i]) in kinds
    ]


def subtract(model: mujoco.MjModel, qpos: Floats, other: Floats) -> Floats:
    """Differences of positions as velocities over 1 s (`mj_differentiatePos`). Shape: (n, nq) to (n, nv)."""
    if model.nq == model.nv:
        return np.asarray(qpos - other)
    found = np.empty((len(qpos), model.nv))
    for q, v, turns in _parts(model):
        if turns:
            found[:, v : v + 3] = (_rotation(other, q).inv() * _rotation(qpos, q)).as_rotvec()
        else:
            found[:, v] = qpos[:, q] - other[:, q]
    return found


def add(model: mujoco.MjModel, qpos: Floats, velocity: Floats) -> Floats:
    """Positions, shape (n, nq), a second later (`mj_integratePos`); velocity of shape (n, nv)."""
    if model.nq == model.nv:
        return np.asarray(qpos + velocity)
    found = np.empty_like(qpos)
    for q, v, turns in _parts(model):
        if turns:
            turned = _rotation(qpos, q) * Rotation.from_rotvec(velocity[:, v : v + 3])
            found[:, q : q + 4] = turned.as_quat(scalar_first=True)
        else:
            found[:, q] = qpos[:, q] + velocity[:, v]
    return found


def _rotation(qpos: Floats, start: int) -> Rotation:
    """Rotations whose quaternions start somewhere in positions. Shape: (n, nq)."""
    return Rotation.from_quat(qpos[:, start : start + 4], scalar_first=True)


def spread_of(model: mujoco.MjModel, stds: Floats) -> Floats:
    """Standard deviations of positions from those of their differences. Shape: (nv,) to (nq,).

    To first order, a quaternion changes by half of the rotation.
    """
    found = np.empty(model.nq)
    for q, v, turns in _parts(model):
        if turns:
            found[q : q + 4] = np.sqrt((stds[v : v + 3] ** 2).mean()) / 2
        else:
            found[q] = stds[v]
    return found


def _parts(model: mujoco.MjModel) -> Iterable[tuple[int, int, bool]]:
    """Where each coordinate or rotation starts in qpos and in qvel."""
    turning, q, v = quaternions(model), 0, 0
    while q < model.nq:
        turns = q in turning
        yield q, v, turns
        q, v = (q + 4, v + 3) if turns else (q + 1, v + 1)
