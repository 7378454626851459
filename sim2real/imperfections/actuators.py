"""What actuators and their links do to actions. May import envs."""

from collections.abc import Callable

import numpy as np

from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.hooks import Ids
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.stages import (
    Floats,
    Late,
    Losing,
    Moment,
    Noisy,
    Numbers,
    Part,
    Stage,
    Steps,
    chosen,
)


def action_stages(flaws: Imperfections, numbers: Numbers) -> list[Stage]:
    """What actions pass, in this order: repeat, packet loss, delay, noise, …; see `Imperfections`.

    Actions are clipped to the control range before they reach the actuators, as MuJoCo would.

    Raises:
        WarmstartError: A pattern means no actuator, or one has no control range and needs it.
    """
    layout = numbers.env.action_layout
    names = layout.names
    low, high = np.array([(d.low, d.high) for d in layout.dimensions]).T
    made: list[Stage] = []
    if flaws.action_repeat > 1:
        made.append(Repeating(Part.whole("action_repeat", names, numbers), flaws.action_repeat))
    if flaws.action_loss:
        made.append(Losing(Part.whole("action_loss", names, numbers), flaws.action_loss))
    if not flaws.action_delay.is_off:
        made.append(Late(Part.whole("action_delay", names, numbers), flaws.action_delay))
    acting = [part for kind in _ACTING if len(part := chosen(kind, flaws, names, numbers))]
    if acting:
        made.append(Clipping(Part.whole("control range", names, numbers), low, high))
    for part in acting:
        bounds = _ranges(part, low, high)
        made += [stage(part, *bounds) for stage in _ACTING[part.kind]]
    return made


def _ranges(part: Part, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Control ranges of a part's actuators, which must have some."""
    low, high = low[part.where], high[part.where]
    for name, width in zip(part.names, high - low, strict=True):
        if not np.isfinite(width):
            raise WarmstartError(
                f"Expected actuators with a control range for {part.kind}, found {name} without one: name "
                "the others as its actuators, or give the model a ctrlrange."
            )
    return low, high


def _clip(values: Floats, low: Floats, high: Floats) -> Floats:
    """What `numpy.clip` does, in half the time for small arrays."""
    found: Floats = np.minimum(np.maximum(values, low), high)
    return found


class Repeating(Stage):
    """Takes an action every so many steps and holds it in between."""

    def __init__(self, part: Part, steps: int) -> None:
        super().__init__(part)
        self._steps = steps
        self.arrays = {"last": part.zeros()}

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        last = self.arrays["last"]
        np.copyto(last, values, where=(now.elapsed % self._steps == 0)[:, None])
        return last.copy()


class Acting(Stage):
    """What happens at actuators with a control range.

    Attributes:
        low: Smallest controls. Shape: (n, len(part)).
        high: Largest controls. Shape: (n, len(part)).
    """

    def __init__(self, part: Part, low: Floats, high: Floats) -> None:
        super().__init__(part)
        self.low, self.high = part.spread(low), part.spread(high)

    @property
    def rest(self) -> Floats:
        """The controls nearest to 0. Shape: (n, len(part))."""
        found: Floats = np.clip(0.0, self.low, self.high)
        return found

    def share(self, name: str) -> Floats:
        """A setting that is a share of the control range, in controls. Shape: (n, len(part))."""
        found: Floats = self.part.get(name) * (self.high - self.low)
        return found


class Clipping(Acting):
    """Keeps values between bounds."""

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        del now
        given = self.part.of(values)
        np.maximum(given, self.low, out=given)
        return self.part.put(values, np.minimum(given, self.high, out=given))


def noisy(part: Part, low: Floats, high: Floats) -> Noisy:
    """Noise in halves of the control range."""
    return Noisy(part, (high - low) / 2)


class DeadBanded(Acting):
    """Takes small actions for 0."""

    def __init__(self, part: Part, low: Floats, high: Floats) -> None:
        super().__init__(part, low, high)
        self._half = self.share("width") / 2

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        del now
        given = self.part.of(values)
        return self.part.put(values, np.where(np.abs(given) <= self._half, 0, given))


class Following(Acting):
    """An output that depends on where it was; it begins an episode at rest."""

    def __init__(self, part: Part, low: Floats, high: Floats) -> None:
        super().__init__(part, low, high)
        self.arrays = {"output": part.zeros()}

    def begin(self, ids: Ids, episodes: Steps) -> None:
        """See `Stage.begin`."""
        del episodes
        self.arrays["output"][ids] = self.rest[ids]

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        output = self.arrays["output"]
        output[...] = self.follow(output, self.part.of(values), now.dt)
        return self.part.put(values, output.copy())

    def follow(self, output: Floats, given: Floats, dt: Floats) -> Floats:
        """Return the next output. Shapes: (n, len(part)), dt (n, 1) in seconds."""
        raise NotImplementedError(f"{type(self).__name__} has no follow(output, given, dt).")


class Loose(Following):
    """Moves its output once the input has crossed a gap."""

    def __init__(self, part: Part, low: Floats, high: Floats) -> None:
        super().__init__(part, low, high)
        self._half = self.share("width") / 2

    def follow(self, output: Floats, given: Floats, dt: Floats) -> Floats:
        """See `Following.follow`: the play operator."""
        del dt
        return _clip(output, given - self._half, given + self._half)


class RateLimited(Following):
    """Moves its output only so fast."""

    def __init__(self, part: Part, low: Floats, high: Floats) -> None:
        super().__init__(part, low, high)
        self._rate = self.share("rate")

    def follow(self, output: Floats, given: Floats, dt: Floats) -> Floats:
        """See `Following.follow`."""
        most = self._rate * dt
        return output + _clip(given - output, -most, most)


class Lagging(Following):
    """Moves its output by a share of what is missing."""

    def __init__(self, part: Part, low: Floats, high: Floats) -> None:
        super().__init__(part, low, high)
        self._time_constant = part.get("time_constant")

    def follow(self, output: Floats, given: Floats, dt: Floats) -> Floats:
        """See `Following.follow`."""
        return output - np.expm1(-dt / self._time_constant) * (given - output)


class Scaled(Acting):
    """Multiplies by a factor that is drawn at the start of an episode."""

    def __init__(self, part: Part, low: Floats, high: Floats) -> None:
        super().__init__(part, low, high)
        self._low, self._high, self._keys = part.get("low"), part.get("high"), part.keys("factor")
        self.arrays = {"factor": part.zeros()}

    def begin(self, ids: Ids, episodes: Steps) -> None:
        """See `Stage.begin`."""
        drawn = self.part.numbers.of_episode(self._keys, ids, episodes)
        self.arrays["factor"][ids] = self._low + drawn * (self._high - self._low)

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        del now
        given = self.part.of(values)
        given *= self.arrays["factor"]
        return self.part.put(values, given)


def saturated(part: Part, low: Floats, high: Floats) -> Clipping:
    """Keeps values in a share of the control range on either side of 0."""
    rest, limit = np.clip(0.0, low, high), part.get("limit")
    return Clipping(part, rest + limit * (low - rest), rest + limit * (high - rest))


_ACTING: dict[str, tuple[Callable[[Part, Floats, Floats], Stage], ...]] = {
    "action_noise": (noisy, Clipping),
    "dead_band": (DeadBanded,),
    "backlash": (Loose,),
    "rate_limit": (RateLimited,),
    "action_lag": (Lagging,),
    "motor_strength": (Scaled,),
    "saturation": (saturated,),
}
