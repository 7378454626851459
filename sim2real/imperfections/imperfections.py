"""What a real robot's sensors, actuators and links do wrong, all together, as data.

Along the path of an action: repeat, packet loss, delay, noise, dead band, backlash, rate limit, lag, motor
strength, saturation. Along that of an observation: bias and drift, noise, quantisation, stuck sensors,
dropout, delay, packet loss. May import envs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from warmstart.sim2real.imperfections.settings import (
    ActionNoise,
    ActuatorSetting,
    Backlash,
    Bias,
    DeadBand,
    Delay,
    Drift,
    Dropout,
    Lag,
    MotorStrength,
    Noise,
    Quantisation,
    RateLimit,
    Saturation,
    Setting,
    Stuck,
    check,
    whole,
)

ON_TIME = Delay()
"""No delay."""


@dataclass(frozen=True, kw_only=True)
class Imperfections:
    """Everything that goes wrong between a simulation and its agent; nothing by default.

    Of several settings of a kind, the last that means a dimension holds for it.

    Raises:
        WarmstartError: A setting is of another kind, or a number is out of range.
    """

    bias: tuple[Bias, ...] = ()
    """Constant offsets of sensors."""
    drift: tuple[Drift, ...] = ()
    """Growing offsets of sensors."""
    noise: tuple[Noise, ...] = ()
    """Noise of sensors."""
    quantisation: tuple[Quantisation, ...] = ()
    """Resolutions of sensors."""
    stuck: tuple[Stuck, ...] = ()
    """Sensors that keep a value."""
    dropout: tuple[Dropout, ...] = ()
    """Sensors that read 0."""
    observation_delay: Delay = ON_TIME
    """How late observations are."""
    observation_loss: float = 0.0
    """Probability that an observation doesn't arrive, so that the last one is seen again."""
    action_repeat: int = 1
    """Steps for which an action is held before another is taken."""
    action_loss: float = 0.0
    """Probability that an action doesn't arrive, so that the last one is carried out again."""
    action_delay: Delay = ON_TIME
    """How late actions are."""
    action_noise: tuple[ActionNoise, ...] = ()
    """Noise of actions."""
    dead_band: tuple[DeadBand, ...] = ()
    """Actions too small to do anything."""
    backlash: tuple[Backlash, ...] = ()
    """Play of gears."""
    rate_limit: tuple[RateLimit, ...] = ()
    """How fast outputs may change."""
    action_lag: tuple[Lag, ...] = ()
    """How slowly outputs follow."""
    motor_strength: tuple[MotorStrength, ...] = ()
    """Factors on outputs."""
    saturation: tuple[Saturation, ...] = ()
    """Largest outputs."""

    def __post_init__(self) -> None:
        for item in fields(self):
            key, value = item.name, getattr(self, item.name)
            if key in KINDS:
                kind = KINDS[key]
                right = isinstance(value, tuple) and all(isinstance(each, kind) for each in value)
                check(right, f"a tuple of {kind.__name__} as {key}", value)
            elif key in DELAYS:
                check(isinstance(value, Delay), f"a Delay as {key}", value)
            elif key in LOSSES:
                check(0 <= value <= 1, f"a probability from 0 to 1 as {key}", value)
            else:
                check(whole(value) and value >= 1, f"whole steps of at least 1 as {key}", value)

    @property
    def is_off(self) -> bool:
        """Whether nothing goes wrong."""
        return self.observations_are_true and self.actions_are_true

    @property
    def observations_are_true(self) -> bool:
        """Whether observations arrive as they are."""
        return all(self._off(item.name) for item in fields(self) if item.name not in OF_ACTIONS)

    @property
    def actions_are_true(self) -> bool:
        """Whether actions are carried out as they are."""
        return all(self._off(key) for key in OF_ACTIONS)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `read_imperfections` reads back, without what is as by default."""
        written: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                plain = [each.to_json() for each in value] if isinstance(value, tuple) else value
                written[item.name] = value.to_json() if isinstance(value, Delay) else plain
        return written

    def _off(self, key: str) -> bool:
        value = getattr(self, key)
        if isinstance(value, tuple):
            return all(each.is_off for each in value)
        return value.is_off if isinstance(value, Delay) else bool(value == (key == "action_repeat"))


KINDS: Mapping[str, type[Setting]] = {
    "bias": Bias,
    "drift": Drift,
    "noise": Noise,
    "quantisation": Quantisation,
    "stuck": Stuck,
    "dropout": Dropout,
    "action_noise": ActionNoise,
    "dead_band": DeadBand,
    "backlash": Backlash,
    "rate_limit": RateLimit,
    "action_lag": Lag,
    "motor_strength": MotorStrength,
    "saturation": Saturation,
}
"""Imperfections of which there may be several, each for some dimensions."""
DELAYS = ("observation_delay", "action_delay")
LOSSES = ("observation_loss", "action_loss")
OF_ACTIONS = (
    *("action_repeat", "action_loss", "action_delay"),
    *(key for key, kind in KINDS.items() if issubclass(kind, ActuatorSetting)),
)
