"""What may be wrong with a simulated robot's link and sensors."""

from dataclasses import dataclass
from typing import Annotated

from warmstart.core.bounds import Bounds, NonNegative, Positive


@dataclass(frozen=True)
class Flaws:
    """What is wrong with the link to a robot, and with its sensors."""

    delay_ms: NonNegative = 0.0
    """Milliseconds that every packet takes, either way."""
    jitter_ms: NonNegative = 0.0
    """Milliseconds that it takes longer, at most; drawn uniformly, so that packets overtake each other."""
    loss: Annotated[float, Bounds(0.0, 1.0)] = 0.0
    """Share of the packets that get lost, either way."""
    command_timeout_ms: Positive = 200.0
    """Milliseconds after which a command no longer holds and the actuators get zeros."""
    silent_after: Positive | None = None
    """Seconds of motion after which no observation is sent any more."""
    nan_after: Positive | None = None
    """Seconds of motion after which the first number of every observation is NaN."""
