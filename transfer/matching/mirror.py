"""Limbs on the other side of a body: what they are called, and what a reflection makes of their numbers."""

import re
from collections.abc import Collection

import mujoco
import numpy as np

from warmstart.core.errors import WarmstartError

ANYTHING, MIRROR = "*", "mirror"
"""A map's entry ``{"*": "mirror"}``: what has no namesake takes the dimension on the body's other side."""
_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])")
_OTHER = {"left": "right", "right": "left"}
SQUARE = 0.99
"""How parallel a joint's axis and the other's reflection have to be."""


def check_anything(asked: str | None) -> None:
    """Refuse what a map can't say of all dimensions that have no namesake.

    Raises:
        WarmstartError: It isn't `MIRROR`.
    """
    if asked != MIRROR:
        raise WarmstartError(
            f"Of {ANYTHING!r}, all the others, a map can only say {MIRROR!r}, found {asked!r}."
        )


def other_side(name: str, known: Collection[str]) -> str | None:
    """The name among ``known`` of the same dimension on the body's other side; None for none.

    ``left_knee.angle`` is ``right_knee.angle`` there, and ``thigh_left_joint.angle`` also
    ``thigh_joint.angle``: a body may have a side without a word for it.
    """
    if _SIDE.search(name) is None:
        return None
    swapped = _SIDE.sub(lambda side: _OTHER[side[0]], name)
    without = re.sub(r"__+", "_", _SIDE.sub("", name)).strip("_")
    return next((each for each in (swapped, without) if each in known and each != name), None)


def reflected(model: mujoco.MjModel, name: str, other: str) -> float | None:
    """By what a joint's number is multiplied when the body is seen in a mirror at its x-z plane.

    Args:
        model: The target's.
        name: Of a dimension that is a joint's (``left_knee.angle``).
        other: Of its counterpart.

    Returns:
        1 or -1; None where they aren't two joints of the model that mirror each other.
    """
    joints = [
        mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, each.partition(".")[0]) for each in (name, other)
    ]
    if min(joints) < 0 or name.partition(".")[2] != other.partition(".")[2]:
        return None
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    ours, theirs = data.xaxis[joints]
    kinds = {int(model.jnt_type[joint]) for joint in joints}
    if kinds == {int(mujoco.mjtJoint.mjJNT_HINGE)}:
        theirs = theirs * (-1, 1, -1)  # an axis of rotation keeps what a mirror turns round
    elif kinds == {int(mujoco.mjtJoint.mjJNT_SLIDE)}:
        theirs = theirs * (1, -1, 1)
    else:
        return None
    along = float(np.dot(ours, theirs))
    return None if abs(along) < SQUARE else float(np.sign(along))
