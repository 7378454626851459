"""What keeps a robot whole: limits of commands, and watchdogs of time and numbers."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .contract import Contract, DeploymentError, Dimension

Floats = NDArray[np.float64]
Stop = Literal["zero", "hold", "default"]
STOP_SECONDS = 0.25
"""How long a safe stop commands before the robot is left alone, in s."""
_LEAST_SECONDS, _LEAST_STEPS = 0.1, 10
_MEASURED = {".target_angle": (".angle", ".position"), ".target_position": (".position", ".angle")}


@dataclass(frozen=True)
class Watchdog:
    """When a run is given up."""

    stale_after: float | None = None
    """Age in s of the newest sound observation that ends a run; 0.1, or ten control steps if longer."""
    pause_after: float | None = None
    """Seconds by which a step may come late, as after a process stood still; 0.1, or ten control steps."""
    first_within: float = 5.0
    """Seconds within which the first observation must come."""

    def check(self) -> None:
        """See that its times are sound.

        Raises:
            DeploymentError: One isn't.
        """
        for name in ("stale_after", "pause_after", "first_within"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise DeploymentError(f"--{name.replace('_', '-')}: expected seconds above 0, found {value}.")

    def seconds(self, name: Literal["stale_after", "pause_after"], period: float) -> float:
        """A time, its default for a control period in s where it is None."""
        value: float | None = getattr(self, name)
        return max(_LEAST_SECONDS, _LEAST_STEPS * period) if value is None else value


@dataclass(frozen=True)
class Limits:
    """Limits of commands as they are written; names may be patterns such as ``*.torque``, later ones win."""

    limit: tuple[str, ...] = ()
    """NAME=LOW:HIGH, a narrower range of an action in its unit; or NAME=x0.5, a share of its range around
    the middle."""
    relative_limit: tuple[str, ...] = ()
    """NAME=DISTANCE: how far a target angle or position may lie from the measured one, in rad or m."""
    rate_limit: tuple[str, ...] = ()
    """NAME=RATE: largest change of an action in units per second."""
    stop: Stop = "zero"
    """What a safe stop commands: zeros, the last command (hold), or the default joint positions."""


@dataclass
class ActionLimits:
    """Limits in numbers, one for each number of the action; infinite where there is none."""

    low: Floats
    high: Floats
    distance: Floats
    """From the measured position."""
    rate: Floats
    """Units per second."""
    rest: Floats
    """What a safe stop commands, unless it holds the last command, and what the first is compared with."""
    stop: Stop = "zero"
    places: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    """Signal and index of the measured position, for actions with a relative limit."""

    def apply(
        self, action: Floats, last: Floats | None, values: Mapping[str, NDArray[Any]], period: float
    ) -> Floats:
        """The nearest action that is allowed.

        Args:
            action: Finite. Shape: (n,).
            last: The last command; None before the first. Shape: (n,).
            values: The observation, by signal.
            period: Seconds since the last command.
        """
        wanted = action.copy()
        for i, (signal, k) in self.places.items():
            at = float(values[signal].flat[k])
            wanted[i] = min(max(wanted[i], at - self.distance[i]), at + self.distance[i])
        allowed = np.clip(wanted, self.low, self.high)  # last: no measured position leads beyond the range
        before, step = self.rest if last is None else last, self.rate * period
        return np.minimum(np.maximum(allowed, before - step), before + step)

    def stopping(self, last: Floats | None, period: float) -> Floats:
        """The next command of a safe stop; a limit of the rate holds there, too. Shape: (n,)."""
        if last is None:
            return self.rest.copy()
        target = last if self.stop == "hold" else self.rest
        step = self.rate * period
        return np.minimum(np.maximum(target, last - step), last + step)


def read_limits(limits: Limits, contract: Contract) -> ActionLimits:
    """Limits for a policy's actions.

    Raises:
        DeploymentError: A text can't be read, means no action, or doesn't suit the one it means.
    """
    dimensions = contract.action.dimensions
    n = max(1, math.prod(contract.action.shape))
    names = [each.name for each in dimensions] or [f"{contract.action.name}[{i}]" for i in range(n)]
    known = dimensions or tuple(Dimension(name) for name in names)
    low = np.array([-math.inf if each.low is None else each.low for each in known])
    high = np.array([math.inf if each.high is None else each.high for each in known])
    for i, text in _matched("--limit", limits.limit, names):
        low[i], high[i] = _range(text, names[i], known[i])
    distance, rate = np.full(n, math.inf), np.full(n, math.inf)
    places = {}
    for i, text in _matched("--relative-limit", limits.relative_limit, names):
        distance[i] = _number("--relative-limit", names[i], text)
        places[i] = _measured(names[i], contract)
    for i, text in _matched("--rate-limit", limits.rate_limit, names):
        rate[i] = _number("--rate-limit", names[i], text)
    rest = np.clip(_rest(limits.stop, names, contract), low, high)
    return ActionLimits(low, high, distance, rate, rest, limits.stop, places)


def bad_number(values: Mapping[str, NDArray[Any]], contract: Contract) -> str:
    """Name of the first number of an observation that isn't finite; empty where all are."""
    for signal in contract.observations:
        value = values[signal.name]
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            k = int(np.flatnonzero(~np.isfinite(value.ravel()))[0])
            return signal.dimensions[k].name if signal.dimensions else f"{signal.name}[{k}]"
    return ""


def _matched(kind: str, words: Sequence[str], names: Sequence[str]) -> list[tuple[int, str]]:
    """Which action each text is for."""
    found = []
    for word in words:
        pattern, equals, value = word.partition("=")
        places = [i for i, name in enumerate(names) if fnmatchcase(name, pattern)]
        if not equals or not places:
            why = f"no action is called so; they are {', '.join(names)}" if equals else "expected NAME=VALUE"
            raise DeploymentError(f"{kind} {word}: {why}.")
        found += [(i, value) for i in places]
    return found


def _range(text: str, name: str, known: Dimension) -> tuple[float, float]:
    """An action's range: one in its unit, or a share of its own around the middle."""
    own_low = -math.inf if known.low is None else known.low
    own_high = math.inf if known.high is None else known.high
    if text.startswith("x"):
        share = _number("--limit", name, text[1:])
        if not (math.isfinite(own_high - own_low) and 0 < share <= 1):
            raise DeploymentError(
                f"--limit {name}={text}: expected a share up to x1 of a range, which is "
                f"{own_low:g} to {own_high:g}."
            )
        middle, half = (own_low + own_high) / 2, (own_high - own_low) / 2
        return middle - share * half, middle + share * half
    found = re.fullmatch(r"([^:]+):([^:]+)", text)
    low, high = (_number("--limit", name, found[k], least=-math.inf) for k in (1, 2)) if found else (1.0, 0.0)
    if not (own_low <= low < high <= own_high):
        raise DeploymentError(
            f"--limit {name}={text}: expected LOW:HIGH within {own_low:g}:{own_high:g}, or x0.5."
        )
    return low, high


def _number(kind: str, name: str, text: str, least: float = 0.0) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= least):
        raise DeploymentError(f"{kind} {name}={text}: expected a number of 0 or more, found {text!r}.")
    return value


def _measured(action: str, contract: Contract) -> tuple[str, int]:
    """Where the measured position of a target stands among the observations."""
    stem, dot, last = action.rpartition(".")
    wanted = [f"{stem}{ending}" for ending in _MEASURED.get(f"{dot}{last}", ())]
    for signal in contract.observations:
        for k, each in enumerate(signal.dimensions):
            if each.name in wanted:
                return signal.name, k
    looked = f"{' or '.join(wanted)} isn't observed" if wanted else "it is no target angle or position"
    raise DeploymentError(f"--relative-limit of {action} needs its measured position: {looked}.")


def _rest(stop: Stop, names: Sequence[str], contract: Contract) -> Floats:
    """The command of a safe stop."""
    if stop not in get_args(Stop):
        raise DeploymentError(f"Expected to stop by {', '.join(get_args(Stop))}, found {stop!r}.")
    if stop != "default":
        return np.zeros(len(names))
    joints = [name.rpartition(".")[0] for name in names]
    odd = [
        name
        for name, joint in zip(names, joints, strict=True)
        if joint not in contract.joints or not name.endswith(tuple(_MEASURED))
    ]
    if odd:
        raise DeploymentError(f"No default position to stop at is known of {', '.join(odd)}.")
    return np.array([contract.joints[joint] for joint in joints])
