"""What a real robot's sensors, actuators and links do wrong, all together, as data.

Along the path of an action: repeat, packet loss, delay, noise, dead band, backlash, rate limit, lag, motor
strength, saturation. Along that of an observation: bias and drift, noise, quantisation, stuck sensors,
dropout, delay, packet loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from warmstart.core.bounds import Before, Count, SettingError, show
from warmstart.core.errors import unknown_name
from warmstart.core.plain import check, to_plain
from warmstart.sim2real.imperfections.settings import (
    ActionNoise,
    Backlash,
    Bias,
    DeadBand,
    Delay,
    Drift,
    Dropout,
    Lag,
    MotorStrength,
    Noise,
    Probability,
    Quantisation,
    RateLimit,
    Saturation,
    Setting,
    Stuck,
)

ON_TIME = Delay(0, 0)
"""No delay."""
OF_ACTIONS = (
    *("action_repeat", "action_loss", "action_delay", "action_noise", "dead_band", "backlash"),
    *("rate_limit", "action_lag", "motor_strength", "saturation"),
)


def _several(value: Any) -> Any:
    """One setting stands for a list of them."""
    many = isinstance(value, list | tuple) and all(isinstance(each, Mapping | Setting) for each in value)
    return value if many else [value]


_Several = Before(_several)


@dataclass(frozen=True, kw_only=True)
class Imperfections:
    """Everything that goes wrong between a simulation and its agent; nothing by default.

    Of several settings of a kind, the last that means a dimension holds for it. In YAML,
    ``{noise: 0.01, observation_delay: [0, 2], motor_strength: [0.8, 1.1]}``; a mapping says more,
    ``{std: 0.01, sensors: ["*.velocity"]}``; a list of mappings holds several settings of a kind;
    ``challenge`` names a challenge, which holds where nothing else is said, as does its name alone.

    Raises:
        SettingError: A setting is of another kind, or a number is out of range.
    """

    bias: Annotated[tuple[Bias, ...], _Several] = ()
    """Constant offsets of sensors."""
    drift: Annotated[tuple[Drift, ...], _Several] = ()
    """Growing offsets of sensors."""
    noise: Annotated[tuple[Noise, ...], _Several] = ()
    """Noise of sensors."""
    quantisation: Annotated[tuple[Quantisation, ...], _Several] = ()
    """Resolutions of sensors."""
    stuck: Annotated[tuple[Stuck, ...], _Several] = ()
    """Sensors that keep a value."""
    dropout: Annotated[tuple[Dropout, ...], _Several] = ()
    """Sensors that read 0."""
    observation_delay: Delay = ON_TIME
    """How late observations are."""
    observation_loss: Probability = 0.0
    """Probability that an observation doesn't arrive, so that the last one is seen again."""
    action_repeat: Count = 1
    """Steps for which an action is held before another is taken."""
    action_loss: Probability = 0.0
    """Probability that an action doesn't arrive, so that the last one is carried out again."""
    action_delay: Delay = ON_TIME
    """How late actions are."""
    action_noise: Annotated[tuple[ActionNoise, ...], _Several] = ()
    """Noise of actions."""
    dead_band: Annotated[tuple[DeadBand, ...], _Several] = ()
    """Actions too small to do anything."""
    backlash: Annotated[tuple[Backlash, ...], _Several] = ()
    """Play of gears."""
    rate_limit: Annotated[tuple[RateLimit, ...], _Several] = ()
    """How fast outputs may change."""
    action_lag: Annotated[tuple[Lag, ...], _Several] = ()
    """How slowly outputs follow."""
    motor_strength: Annotated[tuple[MotorStrength, ...], _Several] = ()
    """Factors on outputs."""
    saturation: Annotated[tuple[Saturation, ...], _Several] = ()
    """Largest outputs."""

    def __post_init__(self) -> None:
        check(self)
        for item in fields(self):
            value = getattr(self, item.name)
            if type(value) is not type(item.default) and not isinstance(value, int | float):
                raise SettingError((item.name,), f"expected a tuple of settings, found {show(value)}.")

    @classmethod
    def from_plain(cls, value: Any) -> Any:
        """Write out a challenge.

        Raises:
            WarmstartError: There is none of that name, or the value is something else.
        """
        if isinstance(value, str):
            return challenge(value)
        if not isinstance(value, Mapping):
            raise SettingError((), f"expected imperfections or a challenge's name, found {show(value)}.")
        if "challenge" not in value:
            return value
        own = {key: item for key, item in value.items() if key != "challenge"}
        return {**challenge(str(value["challenge"])).to_json(), **own}

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
        return all(map(self._off, OF_ACTIONS))

    def to_json(self) -> dict[str, Any]:
        """Plain values that are read back, without what is as by default."""
        written: dict[str, Any] = to_plain(self, defaults=False)
        return written

    def _off(self, name: str) -> bool:
        value = getattr(self, name)
        if isinstance(value, tuple):
            return all(each.is_off for each in value)
        return value.is_off if isinstance(value, Delay) else bool(value == getattr(Imperfections, name))


def _combined(delay: int, std: float, probability: float, steps: int, repeat: int) -> Imperfections:
    return Imperfections(
        action_delay=Delay(delay, delay),
        observation_delay=Delay(delay, delay),
        noise=(Noise(std),),
        action_noise=(ActionNoise(std),),
        dropout=(Dropout(probability, steps=steps),),
        stuck=(Stuck(probability, steps=steps),),
        action_repeat=repeat,
    )


CHALLENGES: Mapping[str, Imperfections] = {
    "easy": _combined(3, 0.1, 0.01, 1, 1),
    "medium": _combined(6, 0.3, 0.05, 5, 2),
    "hard": _combined(9, 1.0, 0.1, 10, 3),
}
"""The combined challenges of the Real-World RL suite (Dulac-Arnold et al. 2020, arXiv:2003.11881), with the
numbers of its code (google-research/realworldrl_suite, `get_combined_challenge`). Left out are its delayed
rewards (10/20/40 steps), its 10/20/50 observations of mere noise, and its perturbed parameters, which are a
matter of randomization. The suite repeats actions after their noise and drops sensors before others get
stuck; here both are the other way round."""


def challenge(name: str) -> Imperfections:
    """The imperfections of a challenge.

    Raises:
        WarmstartError: There is none of that name.
    """
    if name not in CHALLENGES:
        raise SettingError((), str(unknown_name("challenge", name, CHALLENGES)))
    return CHALLENGES[name]
