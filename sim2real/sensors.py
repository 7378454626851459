"""What sensors and their links do to observations. May import envs."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from warmstart.envs.hooks import Ids
from warmstart.sim2real.imperfections import Imperfections
from warmstart.sim2real.signals import (
    ENDLESS,
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


class Biased(Stage):
    """Adds what is drawn at the start of an episode."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._std, self._keys = part.get("std"), part.keys("offset")
        self.arrays = {"offset": part.zeros()}

    def begin(self, ids: Ids, episodes: Steps) -> None:
        """See `Stage.begin`."""
        drawn = self.part.numbers.of_episode(self._keys, ids, episodes)
        self.arrays["offset"][ids] = self._std * ndtri(drawn)

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        read = self.part.of(values)
        read += self.arrays["offset"][now.rows]
        return self.part.put(values, read)


class Drifting(Stage):
    """Adds a random walk."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._std = part.get("std")
        self._drawn = part.numbers.ask(part.kind, part.names, normal=True)
        self.arrays = {"offset": part.zeros()}

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`; an episode begins at 0."""
        going = now.elapsed[:, None] > 0
        steps = self._std * np.sqrt(now.dt) * now.numbers[:, self._drawn]
        offset = np.where(going, self.arrays["offset"][now.rows] + steps, 0)
        self.arrays["offset"][now.rows] = offset
        read = self.part.of(values)
        read += offset
        return self.part.put(values, read)


class Quantised(Stage):
    """Rounds to multiples of a resolution."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._resolution = part.get("resolution")

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        del now
        read = self.part.of(values)
        return self.part.put(values, np.rint(read / self._resolution) * self._resolution)


class Failing(Stage):
    """Knows when sensors fail: by chance at a step, for some steps, or once and for all."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        steps = part.get("steps").astype(np.int64)
        by_chance, probability = steps > 0, part.get("probability")
        self._steps = part.spread(steps.astype(np.int32))
        self._at_steps = part.spread(np.where(by_chance, probability, 0).astype(np.float32))
        self._in_episodes = np.where(by_chance, 0, probability)
        self._some_by_chance, self._some_for_good = by_chance.any(), not by_chance.all()
        self.arrays = {"left": part.zeros(np.int32)}
        if self._some_by_chance:
            self._drawn = part.numbers.ask(part.kind, part.names)
        if self._some_for_good:
            self._happens, self._when = part.keys("happens"), part.keys("when")
            self.arrays["onset"] = part.zeros(np.int64)

    def begin(self, ids: Ids, episodes: Steps) -> None:
        """See `Stage.begin`."""
        self.arrays["left"][ids] = 0
        if self._some_for_good:
            numbers = self.part.numbers
            happens, when = (numbers.of_episode(k, ids, episodes) for k in (self._happens, self._when))
            last = max((numbers.env.robot.time_limit or 1000) - 1, 1)
            onset = 1 + (when * last).astype(np.int64)
            self.arrays["onset"][ids] = np.where(happens < self._in_episodes, onset, ENDLESS)

    def failing(self, now: Moment) -> NDArray[np.bool_]:
        """Which sensors fail at this step. Shape: (m, len(part))."""
        rows, left = now.rows, self.arrays["left"][now.rows]
        found: NDArray[np.bool_] = left > 0
        if self._some_by_chance:
            begins = now.numbers[:, self._drawn] < self._at_steps[rows]
            np.greater(begins, found, out=begins)  # of those that don't fail
            np.copyto(left, self._steps[rows], where=begins)
            found |= begins
        if self._some_for_good:
            begins = self.arrays["onset"][rows] == now.elapsed[:, None]
            np.copyto(left, ENDLESS, where=begins)
            found |= begins
        left -= found
        if not isinstance(rows, slice):
            self.arrays["left"][rows] = left
        return found


class Sticking(Failing):
    """Keeps the last value where a sensor fails; there is none at the start of an episode."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.arrays["last"] = part.zeros()

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        read = self.part.of(values)
        if now.elapsed[0] > 0:
            np.copyto(read, self.arrays["last"][now.rows], where=self.failing(now))
        self.arrays["last"][now.rows] = read
        return self.part.put(values, read)


class Dropping(Failing):
    """Reads 0 where a sensor fails."""

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        read = self.part.of(values)
        np.copyto(read, 0, where=self.failing(now))
        return self.part.put(values, read)


def observation_stages(flaws: Imperfections, numbers: Numbers) -> list[Stage]:
    """What observations pass, in this order: bias, drift, noise, …; see `Imperfections`.

    Raises:
        WarmstartError: A pattern means no dimension.
    """
    names = numbers.env.observation_layout.names
    made: list[Stage] = []
    for kind, stage in _SENSING.items():
        part = chosen(kind, flaws, names, numbers)
        made += [stage(part)] if len(part) else []
    if not flaws.observation_delay.is_off:
        made.append(Late(Part.whole("observation_delay", names, numbers), flaws.observation_delay))
    if flaws.observation_loss:
        made.append(Losing(Part.whole("observation_loss", names, numbers), flaws.observation_loss))
    return made


_SENSING: dict[str, type[Stage]] = {
    "bias": Biased,
    "drift": Drifting,
    "noise": Noisy,
    "quantisation": Quantised,
    "stuck": Sticking,
    "dropout": Dropping,
}
