"""What a robot is to the runner: what it observes, how it is commanded, and whether a contract fits it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .contract import Contract, DeploymentError, Signal


@dataclass(frozen=True)
class Reading:
    """One observation of a robot."""

    number: int
    """Counts the robot's observations; one that is not above the last is no news."""
    time: float
    """When it was measured by the robot's own clock, in s."""
    values: Mapping[str, NDArray[Any]]
    """Each signal of the robot, of its shape and dtype."""
    arrived: float = field(default_factory=monotonic)
    """`time.monotonic` when it came here."""
    episode: int = 0
    """Which episode it belongs to, where the robot has episodes."""
    reward: float | None = None
    """Of the step that led here, where the robot knows one, as a simulated one does."""
    ended: str = ""
    """``terminated`` or ``truncated`` in an episode's last observation."""
    measured: NDArray[np.float64] | None = None
    """The numbers named in `Robot.measured`."""
    earlier: "tuple[Reading, ...]" = ()
    """Observations that came since the last call and before this one; they are logged, not acted on."""
    answered: float | None = None
    """`time.monotonic` when the newest command that it knows of was sent, if it says so."""


class Robot(Protocol):
    """A robot, or what stands for one: a driver, a socket, a simulation.

    A class of this form is given as ``module:Class`` and made without arguments. It may have ``stop()``,
    which the runner calls last in a safe stop, and ``close()``.
    """

    rate: float
    """Control rate in Hz."""
    observations: tuple[Signal, ...]
    """What it observes, in order; names, units and shapes are compared with the contract's."""
    action: Signal
    """What it takes, in order, with its units and limits."""
    measured: tuple[str, ...]
    """Names of what is logged beside the observations, such as joints' positions for identification."""

    def observe(self) -> Reading | None:
        """The newest observation, without waiting; None before the first."""

    def act(self, action: NDArray[Any]) -> None:
        """Command the actuators, without waiting. Shape: that of `action`."""


def check_reading(reading: Reading, contract: Contract) -> None:
    """See that an observation has what a contract says: a robot's code may do otherwise than it says.

    Raises:
        DeploymentError: A signal is missing, is no array, or has another shape.
    """
    for each in (reading, *reading.earlier):
        for signal in contract.observations:
            found = each.values.get(signal.name)
            shape = getattr(found, "shape", None)
            if not isinstance(found, np.ndarray) or shape != signal.shape:
                said = f"an array of shape {shape}" if shape is not None else f"a {type(found).__name__}"
                raise DeploymentError(
                    f"The robot's observation {signal.name!r}: expected an array of shape {signal.shape}, "
                    f"found {said}."
                )


def check_fit(contract: Contract, robot: Robot) -> None:
    """See that a policy and a robot mean the same by every number.

    Raises:
        DeploymentError: They don't; every difference is listed.
    """
    found = differences(contract, robot)
    if found:
        listed = "\n".join(f"  {line}" for line in found)
        raise DeploymentError(f"The policy doesn't fit the robot, nothing was commanded:\n{listed}")


def differences(contract: Contract, robot: Robot) -> list[str]:
    """What differs between a contract and a robot, a line each: names, order, shapes, units, limits, rate."""
    wanted, there = ([signal.name for signal in side.observations] for side in (contract, robot))
    has = ", ".join(there) or "nothing"
    found = [f"observation {name!r}: the robot has {has}." for name in wanted if name not in there]
    theirs = {signal.name: signal for signal in robot.observations}
    for signal in contract.observations:
        if signal.name in theirs:
            found += _compare(f"observation {signal.name!r}", signal, theirs[signal.name], limits=False)
    found += _compare("action", contract.action, robot.action, limits=True)
    if not (math.isfinite(robot.rate) and robot.rate > 0):
        found.append(f"rate: the robot says {robot.rate!r} Hz, which is none.")
    elif contract.rate is not None and abs(robot.rate / contract.rate - 1) > 0.001:
        found.append(f"rate: the policy acts at {contract.rate:g} Hz, the robot at {robot.rate:g} Hz.")
    return found


def _compare(what: str, policy: Signal, robot: Signal, *, limits: bool) -> list[str]:
    found = []
    for key in ("shape", "dtype"):
        ours, theirs = getattr(policy, key), getattr(robot, key)
        if ours != theirs:
            found.append(f"{what}: {key} {ours} in the policy, {theirs} in the robot.")
    ours, theirs = ([each.name for each in side.dimensions] for side in (policy, robot))
    if len(ours) == len(theirs) and sorted(ours) == sorted(theirs) and ours != theirs:
        first = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
        found.append(
            f"{what}: the same names in another order, from number {first}: {ours[first]!r} in the policy, "
            f"{theirs[first]!r} in the robot."
        )
        return found
    for number, (mine, other) in enumerate(zip(policy.dimensions, robot.dimensions, strict=False)):
        place = f"{what} number {number}"
        if mine.name != other.name:
            found.append(f"{place}: {mine.name!r} in the policy, {other.name!r} in the robot.")
            continue
        if mine.unit != other.unit:
            found.append(f"{place}, {mine.name}: {mine.unit!r} in the policy, {other.unit!r} in the robot.")
        for key in ("low", "high") if limits else ():
            mine_at, other_at = getattr(mine, key), getattr(other, key)
            if not _same(mine_at, other_at):
                found.append(f"{place}, {mine.name}: {key} {mine_at} in the policy, {other_at} in the robot.")
    if len(ours) != len(theirs):
        found.append(f"{what}: {len(ours)} names in the policy, {len(theirs)} in the robot.")
    return found


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
