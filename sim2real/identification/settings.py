"""What an identification and the recording for it are told; quick to import, for the command line."""

from dataclasses import dataclass
from typing import Annotated

from warmstart.core.bounds import Bounds, Natural, NonNegative, Positive, SettingError, Settings
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import check

SECONDS = 60.0
"""Seconds of motion to record."""
WINDOW = 0.2
"""Seconds of motion that are predicted in one go."""
DELAY = (0, 3)
"""Fewest and most control steps after which a command may act."""
EXCITATIONS = ("held", "chirp", "multisine")
"""Names of the signals that move a robot."""


@dataclass(frozen=True, kw_only=True)
class RecordingSettings:
    """How motion is recorded.

    Raises:
        WarmstartError: A setting isn't sound.
    """

    seconds: Positive = SECONDS
    """How long."""
    signal: str = "held"
    """What moves the robot, one of `EXCITATIONS`."""
    noise_std: NonNegative | None = None
    """Standard deviation of the measurement noise, as a share of each position's and velocity's range of
    motion; None for the sensors' own."""
    amplitude: Annotated[float, Bounds(0, 1, above=True)] = 1.0
    """Share of the controls' ranges that the excitation uses."""

    def __post_init__(self) -> None:
        check(self)
        if self.signal not in EXCITATIONS:
            raise unknown_name("excitation", self.signal, EXCITATIONS)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What is fitted beside physical parameters, and to what.

    Raises:
        WarmstartError: A setting isn't sound.
    """

    delay: tuple[Natural, Natural] | None = DELAY
    """Fewest and most control steps after which a command may act; None fits no delay."""
    lag: NonNegative = 0.0
    """Largest time constant, s, of the lag with which all drives follow their commands; 0 fits none. A lag
    that isn't fitted ends up in damping and masses."""
    window: Positive = WINDOW
    """Seconds of a window, which has at least 4 samples. Longer ones say more about what acts slowly (0.4 s
    suits robots that touch nothing), but contacts make them hard to fit."""

    def __post_init__(self) -> None:
        check(self)
        if self.delay is not None and self.delay[0] > self.delay[1]:
            message = f"expected a delay from fewest to most control steps, found {list(self.delay)}."
            raise SettingError(("delay",), message)


@dataclass(frozen=True, kw_only=True)
class IdentifySettings(FitSettings, RecordingSettings):
    """What is identified in a reality before training."""

    parameters: Settings
    """Ranges by parameter or pattern, ``{torso.mass: x0.5:x2}``."""

    def __post_init__(self) -> None:
        FitSettings.__post_init__(self)
        RecordingSettings.__post_init__(self)
        if not self.parameters:
            raise WarmstartError("expected parameters with their ranges, {torso.mass: x0.5:x2}.")
