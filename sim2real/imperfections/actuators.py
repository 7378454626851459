"""What actuators and their links do to actions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from typing_extensions import override

from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.hooks import Ids
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.numbers import Numbers
from warmstart.sim2real.imperfections.stages import (
    DelayStage,
    Floats,
    LossStage,
    Moment,
    NoiseStage,
    Part,
    RepeatStage,
    Stage,
    Steps,
)


def action_stages(imperfections: Imperfections, numbers: Numbers) -> list[Stage]:
    """What actions pass, in this order: repeat, packet loss, delay, noise, …; see `Imperfections`.

    Actions are clipped to the control range before they reach the actuators, as MuJoCo would.

    Raises:
        WarmstartError: A pattern means no actuator, or one has no control range and needs it.
    """
    repeated, lost, delayed = (
        Part.whole(f"action_{kind}", numbers.env.action_layout, numbers)
        for kind in ("repeat", "loss", "delay")
    )
    made: list[Stage] = []
    if imperfections.action_repeat > 1:
        made.append(RepeatStage(repeated, imperfections.action_repeat))
    if imperfections.action_loss:
        made.append(LossStage(lost, imperfections.action_loss))
    if not imperfections.action_delay.is_off:
        made.append(DelayStage(delayed, imperfections.action_delay))
    chosen = [delayed.chosen(kind, getattr(imperfections, kind)) for kind in _ACTING]
    acting = [part for part in chosen if len(part)]
    made += [ClippingStage(delayed)] if acting else []
    for part in acting:
        for name, width in zip(part.names, part.high - part.low, strict=True):
            if not np.isfinite(width):
                raise WarmstartError(
                    f"Expected actuators with a control range for {part.kind}, found {name} without one: "
                    "name the others as its actuators, or give the model a ctrlrange."
                )
        made += [stage(part) for stage in _ACTING[part.kind]]
    return made


def _clip(values: Floats, low: Floats, high: Floats) -> Floats:
    """What `numpy.clip` does, in half the time for small arrays."""
    found: Floats = np.minimum(np.maximum(values, low), high)
    return found


class ClippingStage(Stage):
    """Keeps values within the part's range."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._low, self._high = part.spread(part.low), part.spread(part.high)

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        np.maximum(values, self._low, out=values)
        return np.minimum(values, self._high, out=values)


class DeadBandStage(Stage):
    """Takes small actions for 0."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._half = part.get_share("width") / 2

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        return np.where(np.abs(values) <= self._half, 0, values)


class FollowingStage(Stage):
    """An output that depends on where it was; it begins an episode at the controls nearest to 0."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.arrays = {"output": part.zeros()}
        self._rest = np.clip(0.0, part.low, part.high)

    @override
    def begin(self, ids: Ids, episodes: Steps) -> None:
        self.arrays["output"][ids] = self._rest

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        output = self.arrays["output"]
        output[...] = self.follow(output, values, now.dt)
        return output.copy()

    def follow(self, output: Floats, given: Floats, dt: Floats) -> Floats:
        """Return the next output. Shapes: (n, len(part)), dt (n, 1) in seconds."""
        raise NotImplementedError(f"{type(self).__name__} has no follow(output, given, dt).")


class BacklashStage(FollowingStage):
    """Moves its output once the input has crossed a gap: the play operator."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._half = part.get_share("width") / 2

    @override
    def follow(self, output: Floats, given: Floats, dt: Floats) -> Floats:
        return _clip(output, given - self._half, given + self._half)


class RateLimitStage(FollowingStage):
    """Moves its output only so fast."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._rate = part.get_share("rate")

    @override
    def follow(self, output: Floats, given: Floats, dt: Floats) -> Floats:
        most = self._rate * dt
        return output + _clip(given - output, -most, most)


class LagStage(FollowingStage):
    """Moves its output by a share of what is missing."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._time_constant = part.get("time_constant")

    @override
    def follow(self, output: Floats, given: Floats, dt: Floats) -> Floats:
        return output - np.expm1(-dt / self._time_constant) * (given - output)


class StrengthStage(Stage):
    """Multiplies by a factor that is drawn at the start of an episode."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._low, self._high, self._keys = part.get("low"), part.get("high"), part.keys("factor")
        self.arrays = {"factor": part.zeros()}

    @override
    def begin(self, ids: Ids, episodes: Steps) -> None:
        drawn = self.part.numbers.of_episode(self._keys, ids, episodes)
        self.arrays["factor"][ids] = self._low + drawn * (self._high - self._low)

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        values *= self.arrays["factor"]
        return values


def _noise(part: Part) -> Stage:
    """Noise in halves of the control range."""
    return NoiseStage(part, (part.high - part.low) / 2)


def _saturation(part: Part) -> Stage:
    """Keeps values in a share of the control range on either side of 0."""
    rest, limit = np.clip(0.0, part.low, part.high), part.get("limit")
    low, high = (rest + limit * (end - rest) for end in (part.low, part.high))
    return ClippingStage(replace(part, low=low, high=high))


_ACTING: dict[str, tuple[Callable[[Part], Stage], ...]] = {
    "action_noise": (_noise, ClippingStage),
    "dead_band": (DeadBandStage,),
    "backlash": (BacklashStage,),
    "rate_limit": (RateLimitStage,),
    "action_lag": (LagStage,),
    "motor_strength": (StrengthStage,),
    "saturation": (_saturation,),
}
