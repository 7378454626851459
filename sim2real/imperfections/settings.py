"""Each way in which a sensor, an actuator or a link can be imperfect, as a setting. May import envs."""

from dataclasses import dataclass, field, fields
from math import inf
from typing import Any, ClassVar

from warmstart.core.errors import WarmstartError

MOST_STEPS, MOST_SECONDS = 1_000, 100.0
"""Longest plausible delay and lag: more is a mistake in the unit."""


def check(sound: bool, expected: str, found: Any) -> None:
    """Raise unless a setting is sound, saying what was expected."""
    if not sound:
        raise WarmstartError(f"Expected {expected}, found {found!r}.")


def whole(value: Any) -> bool:
    """Whether a value is a whole number, and not true or false."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Setting:
    """How strong one kind of imperfection is, and which dimensions have it.

    Attributes:
        SHORT: Numbers that may stand for all of it in YAML: 1 for ``noise: 0.01``, 2 for
            ``motor_strength: [0.8, 1.1]``.
        OFF: Its first number where it changes nothing.
    """

    SHORT: ClassVar[int] = 1
    OFF: ClassVar[float] = 0.0

    @property
    def patterns(self) -> tuple[str, ...]:
        """Names of the dimensions that have it, or patterns; empty for all."""
        return ()

    @property
    def is_off(self) -> bool:
        """Whether it changes nothing."""
        first = next(item.name for item in fields(self) if not item.kw_only)
        return bool(getattr(self, first) == self.OFF)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without those that are as by default."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        changed = {item.name: values[item.name] for item in fields(self) if values[item.name] != item.default}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in changed.items()}


@dataclass(frozen=True)
class SensorSetting(Setting):
    """A setting of dimensions of the observation."""

    sensors: tuple[str, ...] = field(default=(), kw_only=True)
    """Names of dimensions of the observation, or patterns such as ``*.velocity``; empty for all."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """See `Setting.patterns`."""
        return self.sensors


@dataclass(frozen=True)
class ActuatorSetting(Setting):
    """A setting of dimensions of the action."""

    actuators: tuple[str, ...] = field(default=(), kw_only=True)
    """Names of dimensions of the action, or patterns such as ``*thigh.torque``; empty for all."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """See `Setting.patterns`."""
        return self.actuators


@dataclass(frozen=True)
class _Std:
    std: float

    def __post_init__(self) -> None:
        check(0 <= self.std < inf, "a std of at least 0", self.std)


@dataclass(frozen=True)
class _Failures:
    probability: float

    def __post_init__(self) -> None:
        check(0 <= self.probability <= 1, "a probability from 0 to 1", self.probability)


@dataclass(frozen=True)
class _Width:
    width: float

    def __post_init__(self) -> None:
        check(0 <= self.width < 1, "a width from 0 to below 1", self.width)


@dataclass(frozen=True)
class Noise(_Std, SensorSetting):
    """Gaussian noise of standard deviation ``std`` (the sensor's unit), drawn anew at every step."""


@dataclass(frozen=True)
class Bias(_Std, SensorSetting):
    """An offset drawn once per episode from a Gaussian of standard deviation ``std`` (the sensor's unit)."""


@dataclass(frozen=True)
class Drift(_Std, SensorSetting):
    """An offset that walks at random from 0: after t seconds its standard deviation is ``std * sqrt(t)``."""


@dataclass(frozen=True)
class Quantisation(SensorSetting):
    """A sensor that reads whole multiples of its resolution."""

    resolution: float
    """In the sensor's unit."""

    def __post_init__(self) -> None:
        check(0 <= self.resolution < inf, "a resolution of at least 0", self.resolution)


@dataclass(frozen=True)
class Dropout(_Failures, SensorSetting):
    """A sensor that fails with ``probability`` at a step and then reads 0."""

    steps: int = 1
    """For how long."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(whole(self.steps) and self.steps >= 1, "whole steps of at least 1", self.steps)


@dataclass(frozen=True)
class Stuck(_Failures, SensorSetting):
    """A sensor that keeps its last value."""

    steps: int = 0
    """For how long, with ``probability`` at a step; 0: with ``probability`` in an episode, to its end, from a
    step on that is any of the time limit's (of 1000 where there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(whole(self.steps) and self.steps >= 0, "whole steps of at least 0", self.steps)


@dataclass(frozen=True)
class Delay(Setting):
    """Steps by which what arrives is late; before there is enough history, the episode's first is repeated.

    Drawn uniformly between the bounds; as nothing arrives twice as fast as it is sent, a delay is at most 1
    more than that of the step before.
    """

    SHORT: ClassVar[int] = 2
    low: int = 0
    """Smallest delay."""
    high: int = 0
    """Largest delay."""
    hold: float = 0.0
    """Probability that it isn't drawn anew at a step; 1 keeps it for the whole episode."""

    def __post_init__(self) -> None:
        check(whole(self.low) and self.low >= 0, "a whole low of at least 0", self.low)
        check(whole(self.high) and self.low <= self.high, f"a whole high of at least {self.low}", self.high)
        check(self.high <= MOST_STEPS, f"a delay of at most {MOST_STEPS:,} steps", self.high)
        check(0 <= self.hold <= 1, "a probability from 0 to 1 as hold", self.hold)

    @property
    def is_off(self) -> bool:
        """See `Setting.is_off`."""
        return self.high == 0

    def to_json(self) -> dict[str, Any]:
        """See `Setting.to_json`; both bounds are always written."""
        return {"low": self.low, "high": self.high} | super().to_json()


@dataclass(frozen=True)
class ActionNoise(_Std, ActuatorSetting):
    """Gaussian noise on actions, drawn anew at every step; the sum is clipped to the control range.

    ``std`` is in halves of the control range: 0.1 is 0.1 for motors from -1 to 1, 0.3 for ones from -3 to 3.
    """


@dataclass(frozen=True)
class DeadBand(_Width, ActuatorSetting):
    """Actions near 0 do nothing: those in a band around it of a ``width`` that is a share of the range."""


@dataclass(frozen=True)
class Backlash(_Width, ActuatorSetting):
    """Play between motor and joint: the output moves once the input has crossed a gap.

    Its ``width`` is a share of the control range. An episode begins with both at 0, in the middle of the gap.
    """


@dataclass(frozen=True)
class RateLimit(ActuatorSetting):
    """The output changes only so fast, from 0 at the start of an episode."""

    OFF: ClassVar[float] = inf
    rate: float
    """Control ranges per second."""

    def __post_init__(self) -> None:
        check(self.rate > 0, "a rate above 0", self.rate)


@dataclass(frozen=True)
class Lag(ActuatorSetting):
    """A motor of first order: the output nears the input exponentially, from 0 at the start of an episode.

    At every step by ``1 - exp(-dt / time_constant)`` of what is missing, dt being the control period: exact
    for actions that are held in between.
    """

    time_constant: float
    """Seconds."""

    def __post_init__(self) -> None:
        check(
            0 <= self.time_constant <= MOST_SECONDS,
            f"a time_constant from 0 to {MOST_SECONDS:g} s",
            self.time_constant,
        )


@dataclass(frozen=True)
class MotorStrength(ActuatorSetting):
    """A factor on the output, drawn uniformly for every actuator and episode.

    MuJoCo clips the product to the control range, so a factor above 1 adds nothing to a full action;
    randomize ``actuator.*.gear`` where it should.
    """

    SHORT: ClassVar[int] = 2
    low: float
    """Smallest factor."""
    high: float
    """Largest factor."""

    def __post_init__(self) -> None:
        check(self.low > 0, "a low factor above 0", self.low)
        check(self.low <= self.high < inf, f"a high factor of at least {self.low:g}", self.high)

    @property
    def is_off(self) -> bool:
        """See `Setting.is_off`."""
        return self.low == self.high == 1


@dataclass(frozen=True)
class Saturation(ActuatorSetting):
    """The output reaches only a share of the control range on either side of 0."""

    OFF: ClassVar[float] = 1.0
    limit: float
    """The share."""

    def __post_init__(self) -> None:
        check(0 < self.limit <= 1, "a limit above 0 and at most 1", self.limit)
