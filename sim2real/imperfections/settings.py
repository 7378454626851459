"""Each way in which a sensor, an actuator or a link can be imperfect, as a setting."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf
from typing import Annotated, Any, ClassVar

from warmstart.core.bounds import (
    Before,
    Bounds,
    Count,
    Fraction,
    Names,
    Natural,
    NonNegative,
    Positive,
    SettingError,
    show,
    unquoted,
)
from warmstart.core.plain import check

MOST_STEPS, MOST_SECONDS = 1_000, 100.0
"""Longest plausible delay and lag: more is a mistake in the unit."""
Std = Annotated[NonNegative, Before(unquoted)]
Probability = Annotated[Fraction, Before(unquoted)]
Factor = Annotated[Positive, Before(unquoted)]
Width = Annotated[float, Before(unquoted), Bounds(0, 1, below=True)]


@dataclass(frozen=True)
class Setting:
    """How strong one kind of imperfection is, and which dimensions have it.

    Attributes:
        SHORT: Numbers that may stand for all of it in YAML: 1 for ``noise: 0.01``, 2 for
            ``motor_strength: [0.8, 1.1]``.
        OFF: These numbers where it changes nothing.
    """

    SHORT: ClassVar[int] = 1
    OFF: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check(self)
        low, high = (getattr(self, name, 0) for name in ("low", "high"))
        if low > high:
            raise SettingError(("high",), f"expected a number of at least {low:g}, found {high:g}.")

    @classmethod
    def from_plain(cls, value: Any) -> Any:
        """Let a number, or two of them, stand for a mapping.

        Raises:
            SettingError: It is something else.
        """
        if isinstance(value, Mapping):
            return value
        numbers = [value] * cls.SHORT if isinstance(value, int | float | str) else value
        if not isinstance(numbers, list | tuple) or len(numbers) != cls.SHORT:
            wanted = "a number" if cls.SHORT == 1 else "a number, two numbers"
            message = f"expected {wanted}, a mapping or a list of mappings, found {show(value)}."
            raise SettingError((), message)
        return dict(zip(cls._short(), numbers, strict=True))

    @classmethod
    def _short(cls) -> list[str]:
        """Fields for which numbers may stand."""
        return [item.name for item in fields(cls) if not item.kw_only][: cls.SHORT]

    @property
    def patterns(self) -> tuple[str, ...]:
        """Names of the dimensions that have it, or patterns; empty for all."""
        found: tuple[str, ...] = getattr(self, "sensors", getattr(self, "actuators", ()))
        return found

    @property
    def is_off(self) -> bool:
        """Whether it changes nothing."""
        return all(getattr(self, name) == self.OFF for name in self._short())


@dataclass(frozen=True)
class SensorSetting(Setting):
    """A setting of dimensions of the observation."""

    sensors: Names = field(default=(), kw_only=True)
    """Names of dimensions of the observation, or patterns such as ``*.velocity``; empty for all."""


@dataclass(frozen=True)
class ActuatorSetting(Setting):
    """A setting of dimensions of the action."""

    actuators: Names = field(default=(), kw_only=True)
    """Names of dimensions of the action, or patterns such as ``*thigh.torque``; empty for all."""


@dataclass(frozen=True)
class Noise(SensorSetting):
    """Gaussian noise, drawn anew at every step."""

    std: Std
    """Standard deviation in the sensor's unit."""


@dataclass(frozen=True)
class Bias(SensorSetting):
    """An offset drawn once per episode from a Gaussian."""

    std: Std
    """Standard deviation in the sensor's unit."""


@dataclass(frozen=True)
class Drift(SensorSetting):
    """An offset that walks at random from 0."""

    std: Std
    """After t seconds, its standard deviation is ``std * sqrt(t)`` in the sensor's unit."""


@dataclass(frozen=True)
class Quantisation(SensorSetting):
    """A sensor that reads whole multiples of its resolution."""

    resolution: Std
    """In the sensor's unit."""


@dataclass(frozen=True)
class Dropout(SensorSetting):
    """A sensor that fails with ``probability`` at a step and then reads 0."""

    probability: Probability
    steps: Count = 1
    """For how long."""


@dataclass(frozen=True)
class Stuck(SensorSetting):
    """A sensor that keeps its last value."""

    probability: Probability
    steps: Natural = 0
    """For how long, with ``probability`` at a step; 0: with ``probability`` in an episode, to its end, from a
    step on that is any of the time limit's (of 1000 where there is none)."""


@dataclass(frozen=True)
class Delay(Setting):
    """Steps by which what arrives is late; before there is enough history, the episode's first is repeated.

    Drawn uniformly between the bounds; as nothing arrives twice as fast as it is sent, a delay is at most 1
    more than that of the step before.
    """

    SHORT: ClassVar[int] = 2
    low: Natural
    """Smallest delay."""
    high: Annotated[int, Bounds(0, MOST_STEPS)]
    """Largest delay."""
    hold: Probability = 0.0
    """Probability that it isn't drawn anew at a step; 1 keeps it for the whole episode."""


@dataclass(frozen=True)
class ActionNoise(ActuatorSetting):
    """Gaussian noise on actions, drawn anew at every step; the sum is clipped to the control range."""

    std: Std
    """In halves of the control range: 0.1 is 0.1 for motors from -1 to 1, 0.3 for ones from -3 to 3."""


@dataclass(frozen=True)
class DeadBand(ActuatorSetting):
    """Actions near 0 do nothing."""

    width: Width
    """Of the band around 0, as a share of the control range."""


@dataclass(frozen=True)
class Backlash(ActuatorSetting):
    """Play between motor and joint: the output moves once the input has crossed a gap.

    An episode begins with both at 0, in the middle of the gap.
    """

    width: Width
    """Of the gap, as a share of the control range."""


@dataclass(frozen=True)
class RateLimit(ActuatorSetting):
    """The output changes only so fast, from 0 at the start of an episode."""

    OFF: ClassVar[float] = inf
    rate: Annotated[float, Before(unquoted), Bounds(0, above=True)]
    """Control ranges per second."""


@dataclass(frozen=True)
class Lag(ActuatorSetting):
    """A motor of first order: the output nears the input exponentially, from 0 at the start of an episode.

    At every step by ``1 - exp(-dt / time_constant)`` of what is missing, dt being the control period: exact
    for actions that are held in between.
    """

    time_constant: Annotated[float, Before(unquoted), Bounds(0, MOST_SECONDS)]
    """Seconds."""


@dataclass(frozen=True)
class MotorStrength(ActuatorSetting):
    """A factor on the output, drawn uniformly for every actuator and episode.

    MuJoCo clips the product to the control range, so a factor above 1 adds nothing to a full action;
    randomize ``actuator.*.gear`` where it should.
    """

    SHORT: ClassVar[int] = 2
    OFF: ClassVar[float] = 1.0
    low: Factor
    """Smallest factor."""
    high: Factor
    """Largest factor."""


@dataclass(frozen=True)
class Saturation(ActuatorSetting):
    """The output reaches only a share of the control range on either side of 0."""

    OFF: ClassVar[float] = 1.0
    limit: Annotated[float, Before(unquoted), Bounds(0, 1, above=True)]
    """The share."""
