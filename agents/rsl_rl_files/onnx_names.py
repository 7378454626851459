"""Names of a policy's dimensions out of what mjlab writes into the ONNX model that it exports beside it.

mjlab 1.0 and 1.6 (``rl/exporter_utils.py``) write ``joint_names``, ``default_joint_pos``, ``action_scale``,
``observation_names`` (terms, not dimensions) and ``command_names``, as comma-separated texts with three
decimals; 1.6 also ``observation_terms_scale`` and ``observation_terms_history_length``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from warmstart.agents.rsl_rl_files.onnx_metadata import read_metadata
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.dimensions import AXES
from warmstart.envs.simulation.layouts import Dimension, Layout

VECTORS = {"base_lin_vel": "m/s", "base_ang_vel": "rad/s", "projected_gravity": ""}
"""Terms of three numbers, along the axes of the robot's base."""
TWISTS = ("twist", "base_velocity")
"""Commands of three numbers."""
ANGLES, VELOCITIES, LAST_ACTIONS, COMMAND = "joint_pos", "joint_vel", ("actions", "last_action"), "command"
"""Terms of one number for each joint, for each action, and of a command."""


@dataclass(frozen=True)
class Names:
    """What is known of a policy's dimensions."""

    observations: Layout | None = None
    """``None`` where their names aren't known."""
    actions: Layout | None = None
    """``None`` where their names aren't known."""
    notes: tuple[str, ...] = ()
    """What was taken from where."""


@dataclass(frozen=True)
class _Term:
    """One term of an observation."""

    dimensions: tuple[Dimension, ...]
    """Its numbers, in physical units."""
    scale: str
    """What the task multiplied them with, as it is written; empty for nothing."""


def onnx_beside(path: Path) -> Path | None:
    """The ONNX model beside a checkpoint: of its name, or of its folder's, as mjlab calls it."""
    for name in (path.with_suffix(".onnx").name, f"{path.absolute().parent.name}.onnx"):
        if path.with_name(name).is_file():
            return path.with_name(name)
    return None


def names_for(path: Path, stated: str | Path | None, observations: int, actions: int) -> Names:
    """Names for a checkpoint's dimensions.

    Args:
        path: The checkpoint.
        stated: The ONNX model with the names; ``None`` takes the one beside the checkpoint, if any.
        observations: Number of observations.
        actions: Number of actions.

    Raises:
        WarmstartError: A stated file isn't there or names nothing, or a file is damaged.
    """
    file = onnx_beside(path) if stated is None else Path(stated).expanduser()
    if file is None:
        return Names()
    try:
        metadata = read_metadata(file)
    except FileNotFoundError:
        raise WarmstartError(f"There is no ONNX model at {file}.") from None
    joints = _words(metadata, "joint_names")
    if not joints:
        told = f"{file} names no joints: expected the metadata joint_names, which mjlab writes"
        if stated is not None:
            raise WarmstartError(f"{told}.")
        return Names(notes=(f"{told}; the dimensions have no names.",))
    try:
        acting, of_actions = _actions(metadata, joints, actions)
        seeing, of_observations = _observations(metadata, joints, observations, acting)
    except WarmstartError as error:
        raise WarmstartError(f"{file}: {error}") from error
    return Names(seeing, acting, tuple(f"{file.name}: {told}" for told in (*of_observations, *of_actions)))


def _actions(
    metadata: Mapping[str, str], joints: Sequence[str], size: int
) -> tuple[Layout | None, list[str]]:
    """Targets of the joints' servos, and what to know of them."""
    if len(joints) != size:
        told = f"it names {len(joints)} joints and there are {size} actions, which have no names therefore."
        return None, [told]
    scales = _numbers(metadata.get("action_scale", ""))
    scales = scales * size if len(scales) == 1 else scales
    known = len(scales) == size and all(scale != 0 for scale in scales)
    at_zero = _at_zero(metadata, joints)
    dimensions = (
        Dimension(f"{joint}.{'target_angle' if zero else 'target_offset'}", "rad", scale=scale)
        for joint, zero, scale in zip(joints, at_zero, scales if known else [math.nan] * size, strict=True)
    )
    notes = [
        "actions are taken for targets of the joints' servos, in the order of joint_names"
        + (
            ", with their action_scale (rounded to three decimals)."
            if known
            else "; their scale isn't known."
        )
    ]
    if not all(at_zero):
        notes.append(
            "JOINT.target_offset is a target less the joint's default_joint_pos, which isn't 0: an "
            "action_map can give it to a target_angle."
        )
    return Layout(tuple(dimensions)), notes


def _observations(
    metadata: Mapping[str, str], joints: Sequence[str], size: int, actions: Layout | None
) -> tuple[Layout | None, list[str]]:
    """What the terms are made of, and what to know of it."""
    names = _words(metadata, "observation_names")
    if not names:
        return None, ["it names no observations (observation_names)."]
    if any(length > 1 for length in _numbers(metadata.get("observation_terms_history_length", ""))):
        return None, ["its observations hold histories, and have no names therefore."]
    known = {name: _known(name, metadata, joints, actions) for name in names}
    open_ones = [name for name, dimensions in known.items() if dimensions is None]
    left = size - sum(len(dimensions or ()) for dimensions in known.values())
    if len(open_ones) > 1 or (left < 1 if open_ones else left != 0):
        of = f"how many numbers {', '.join(open_ones)} have" if open_ones else f"all but {left}"
        return None, [
            f"the terms {', '.join(names)} don't tell {of} of {size} observations, which "
            "have no names therefore."
        ]
    for name in open_ones:
        known[name] = tuple(Dimension(f"{name}[{index}]") for index in range(left))
    scales = metadata.get("observation_terms_scale", "").split(",")
    scales = scales if len(scales) == len(names) else [""] * len(names)
    terms = [_Term(known[name] or (), scale) for name, scale in zip(names, scales, strict=True)]
    notes = [f"names of observations were put together from its terms {', '.join(names)}."]
    if any(dimension.name.endswith(".angle_offset") for term in terms for dimension in term.dimensions):
        notes.append(
            "JOINT.angle_offset is an angle less the joint's default_joint_pos, which isn't 0: an "
            "observation_map can give it to an angle."
        )
    return Layout(tuple(dimension for term in terms for dimension in _scaled(term))), notes


def _known(
    term: str, metadata: Mapping[str, str], joints: Sequence[str], actions: Layout | None
) -> tuple[Dimension, ...] | None:
    """A term's dimensions, where its name tells them."""
    if term in VECTORS:
        return tuple(Dimension(f"{term}_{axis}", VECTORS[term]) for axis in AXES)
    if term == ANGLES:
        at_zero = zip(joints, _at_zero(metadata, joints), strict=True)
        return tuple(Dimension(f"{j}.{'angle' if zero else 'angle_offset'}", "rad") for j, zero in at_zero)
    if term == VELOCITIES:
        return tuple(Dimension(f"{joint}.velocity", "rad/s") for joint in joints)
    if term in LAST_ACTIONS and actions is not None:
        return tuple(Dimension(f"{joint}.last_action") for joint in joints)
    if term == COMMAND and metadata.get("command_names") in TWISTS:
        return tuple(Dimension(f"{COMMAND}[{index}]") for index in range(3))
    return None


def _scaled(term: _Term) -> tuple[Dimension, ...]:
    """A term's dimensions with what one unit of each is in physical terms."""
    factors = _numbers(term.scale.replace(";", ","))
    factors = factors * len(term.dimensions) if len(factors) == 1 else factors
    if len(factors) != len(term.dimensions) or 0.0 in factors:
        return term.dimensions
    pairs = zip(term.dimensions, factors, strict=True)
    return tuple(Dimension(each.name, each.unit, scale=1.0 / factor) for each, factor in pairs)


def _at_zero(metadata: Mapping[str, str], joints: Sequence[str]) -> list[bool]:
    """Whether each joint's default position is known to be 0, so that nothing is taken off its angle."""
    defaults = _numbers(metadata.get("default_joint_pos", ""))
    return [default == 0 for default in defaults] if len(defaults) == len(joints) else [False] * len(joints)


def _words(metadata: Mapping[str, str], key: str) -> list[str]:
    return [word.strip() for word in metadata.get(key, "").split(",") if word.strip()]


def _numbers(text: str) -> list[float]:
    """Comma-separated numbers; none where one of them isn't a finite number."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        return []
    return found if all(math.isfinite(number) for number in found) else []
