"""Angles in degrees: what tells them from radians, and what turns them into radians."""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.dimensions import action_layout
from warmstart.sim2real.recordings.positions import Floats, columns

DEGREES = 180 / np.pi
BEYOND = 3.0
"""How many times beyond a joint's or servo's range an angle must go to look like degrees."""
TOGETHER = 0.9
"""Correlation from which on a velocity and its position's change tell their ratio."""
SAME = (0.25, 4.0)
"""Between which that ratio may lie: differences of noisy, fast or short motion are no exact velocities."""
FEWEST = 10
"""Samples that it takes to tell."""
UNITS = {
    DEGREES: "{v} looks like degrees per second beside {q} in radians",
    1 / DEGREES: "{q} looks like degrees beside {v} in radians per second",
    30 / np.pi: "{v} looks like revolutions per minute",
    1 / (2 * np.pi): "{v} looks like revolutions per second",
}
"""What a hinge's ratio tells."""
CLOSE = 0.2
"""By which share the ratio may miss one of these."""
WAY_OUT = (
    "Degrees become radians with angles='degrees' (--angles degrees); with angles='radians' they are taken "
    "as they are."
)


def turning(model: mujoco.MjModel) -> dict[str, Floats]:
    """What of positions, velocities and servos' targets is in rad or rad/s, 1, and what isn't, 0.

    Returns:
        ``qpos`` (nq,), ``qvel`` (nv,) and ``ctrl`` (nu,).
    """
    hinge = int(mujoco.mjtJoint.mjJNT_HINGE)
    angles = np.zeros(model.nq)
    angles[model.jnt_qposadr[model.jnt_type == hinge]] = 1.0
    rates = np.zeros(model.nv)
    for joint, kind in enumerate(model.jnt_type):
        start = int(model.jnt_dofadr[joint])
        turns = {
            hinge: (0, 1),
            int(mujoco.mjtJoint.mjJNT_BALL): (0, 3),
            int(mujoco.mjtJoint.mjJNT_FREE): (3, 6),
        }
        first, last = turns.get(int(kind), (0, 0))
        rates[start + first : start + last] = 1.0
    targets = np.array([float(d.unit in ("rad", "rad/s")) for d in action_layout(model).dimensions])
    return {"qpos": angles, "qvel": rates, "ctrl": targets}


def radians_from_degrees(model: mujoco.MjModel, arrays: Mapping[str, Any]) -> dict[str, Floats]:
    """Positions (n, nq), velocities (n, nv) and controls (n, nu) in rad from such in degrees.

    Lengths, quaternions, and controls that are no angles stay; so does what hasn't the model's width.
    """
    return {
        key: arrays[key] / np.where(turns > 0, DEGREES, 1.0)
        for key, turns in turning(model).items()
        if arrays[key].shape[1] == len(turns)
    }


def check_units(
    model: mujoco.MjModel,
    name: str,
    time: Floats,
    qpos: Floats,
    qvel: Floats,
    ctrl: Floats,
    told: bool = False,
) -> None:
    """See that angles aren't degrees and velocities fit positions, as far as ranges and velocities tell.

    Args:
        model: The robot's model.
        name: What the recording is called.
        time: Seconds. Shape: (n,).
        qpos: Positions. Shape: (n, nq).
        qvel: Velocities, 0 where they weren't measured. Shape: (n, nv).
        ctrl: Controls. Shape: (n, nu).
        told: Whether somebody has said what unit they are in, and only velocities are compared.

    Raises:
        WarmstartError: An angle or a servo's target goes far beyond its range, as degrees do, or a velocity
            is a multiple of what its position says, or its opposite.
    """
    turns, names = turning(model), columns(model)
    plain = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    for q, v, kind in zip(model.jnt_qposadr, model.jnt_dofadr, model.jnt_type, strict=True):
        change = np.gradient(qpos[:, q], time)
        if kind not in plain or len(time) < FEWEST or not (change.std() and qvel[:, v].std()):
            continue
        ratio = qvel[:, v].std() / change.std()
        together = np.corrcoef(change, qvel[:, v])[0, 1]
        if abs(together) < TOGETHER or (together > 0 and SAME[0] < ratio < SAME[1]):
            continue
        own = {"q": names["qpos"][q], "v": names["qvel"][v]}
        known = [
            text for factor, text in UNITS.items() if abs(ratio / factor - 1) < CLOSE and turns["qvel"][v]
        ]
        guess = known[0] if known else "one of them, or the time, has another unit"
        if together < 0 and SAME[0] < ratio < SAME[1]:
            guess = "one of them has the other sign"
        raise WarmstartError(
            f"{name}: {own['v']} is {np.copysign(ratio, together):.3g} times what {own['q']} changes by in a "
            f"second: {guess.format(**own)}. Convert one of them."
        )
    ranges = [
        (names["qpos"][q], qpos[:, q], model.jnt_range[joint])
        for joint, q in enumerate(model.jnt_qposadr)
        if turns["qpos"][q] and model.jnt_limited[joint]
    ]
    ranges += [
        (names["ctrl"][u], ctrl[:, u], model.actuator_ctrlrange[u])
        for u in range(model.nu)
        if turns["ctrl"][u] and model.actuator_ctrllimited[u]
    ]
    for column, values, (low, high) in ranges if not told else ():
        furthest, end = np.abs(values).max(), max(abs(low), abs(high))
        if furthest > BEYOND * end and furthest / DEGREES <= end:
            raise WarmstartError(
                f"{name}: {column} goes to {furthest:.4g}, where its range ends at {end:.4g} rad: it looks "
                f"like degrees. {WAY_OUT}"
            )
    for joint, q in enumerate(model.jnt_qposadr):
        furthest, end = np.abs(qpos[:, q]).max(), np.abs(model.jnt_range[joint]).max()
        if model.jnt_type[joint] == plain[1] and model.jnt_limited[joint] and furthest > BEYOND * end:
            raise WarmstartError(
                f"{name}: {names['qpos'][q]} goes to {furthest:.4g}, where its range ends at {end:.4g} m: it "
                "looks like another unit, such as mm or cm. Convert it."
            )


def clamped(model: mujoco.MjModel, controls: Sequence[Floats]) -> list[str]:
    """Say which controls go beyond the range at which the simulation clamps them.

    Args:
        model: The robot's model.
        controls: Of each recording. Shape: (n, nu).

    Returns:
        A sentence for each actuator.
    """
    names, values = columns(model)["ctrl"], np.concatenate(controls)
    notes = []
    for u in np.flatnonzero(model.actuator_ctrllimited):
        low, high = model.actuator_ctrlrange[u]
        slack = 1e-6 * (high - low)
        beyond = int(((values[:, u] < low - slack) | (values[:, u] > high + slack)).sum())
        if beyond:
            most = np.abs(values[:, u]).max()
            notes.append(
                f"{names[u]} goes beyond its range, {low:g} to {high:g}, in {beyond:,} of {len(values):,} "
                f"samples (up to {most:g}): the simulation clamps it. Is its unit right?"
            )
    return notes
