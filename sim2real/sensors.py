"""What sensors and their links do to observations. May import envs."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from warmstart.envs.batched import BatchedEnv
from warmstart.envs.hooks import Ids
from warmstart.sim2real.signals import (
    ENDLESS,
    Array,
    Floats,
    Late,
    Losing,
    Moment,
    Noisy,
    Numbers,
    Part,
    SignalPath,
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
        values[:, self.where] += self.arrays["offset"][now.rows]
        return values


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
        values[:, self.where] += offset
        return values


class Quantised(Stage):
    """Rounds to multiples of a resolution."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._resolution = part.get("resolution")

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        del now
        values[:, self.where] = np.rint(values[:, self.where] / self._resolution) * self._resolution
        return values


class Failing(Stage):
    """Knows when sensors fail: by chance at a step, for some steps, or once and for all."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        steps = part.get("steps").astype(np.int64)
        by_chance, probability = steps > 0, part.get("probability")
        self._steps = steps
        self._at_steps = np.where(by_chance, probability, 0)
        self._in_episodes = np.where(by_chance, 0, probability)
        self._some_by_chance, self._some_for_good = by_chance.any(), not by_chance.all()
        self.arrays = {"until": part.zeros(np.int64)}
        if self._some_by_chance:
            self._drawn = part.numbers.ask(part.kind, part.names)
        if self._some_for_good:
            self._happens, self._when = part.keys("happens"), part.keys("when")
            self.arrays["onset"] = part.zeros(np.int64)

    def begin(self, ids: Ids, episodes: Steps) -> None:
        """See `Stage.begin`."""
        self.arrays["until"][ids] = 0
        if self._some_for_good:
            numbers = self.part.numbers
            happens, when = (numbers.of_episode(k, ids, episodes) for k in (self._happens, self._when))
            last = max((numbers.env.robot.time_limit or 1000) - 1, 1)
            onset = 1 + (when * last).astype(np.int64)
            self.arrays["onset"][ids] = np.where(happens < self._in_episodes, onset, ENDLESS)

    def failing(self, now: Moment) -> NDArray[np.bool_]:
        """Which sensors fail at this step. Shape: (m, len(part))."""
        until, elapsed = self.arrays["until"][now.rows], now.elapsed[:, None]
        found: NDArray[np.bool_] = until > elapsed
        if self._some_by_chance:
            begins = now.numbers[:, self._drawn] < self._at_steps
            begins &= ~found
            np.copyto(until, elapsed + self._steps, where=begins)
            found |= begins
        if self._some_for_good:
            begins = self.arrays["onset"][now.rows] == elapsed
            np.copyto(until, ENDLESS, where=begins)
            found |= begins
        self.arrays["until"][now.rows] = until
        return found


class Sticking(Failing):
    """Keeps the last value where a sensor fails; there is none at the start of an episode."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.arrays["last"] = part.zeros()

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        read = values[:, self.where]
        if now.elapsed[0] > 0:
            np.copyto(read, self.arrays["last"][now.rows], where=self.failing(now))
            values[:, self.where] = read
        self.arrays["last"][now.rows] = read
        return values


class Dropping(Failing):
    """Reads 0 where a sensor fails."""

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        read = values[:, self.where]
        np.copyto(read, 0, where=self.failing(now))
        values[:, self.where] = read
        return values


class ObservationImperfections(SignalPath):
    """What sensors and their link do wrong, in this order: bias, drift, noise, …; see `Imperfections`."""

    def on_observations(self, env: BatchedEnv, observations: Array, ids: Ids) -> Floats:
        """See `Perturbation.on_observations`."""
        begins = not env.elapsed[ids[0]]
        return self.pass_on(env, observations, ids, ids if begins else ids[:0], next_step=not begins)

    def stages(self, numbers: Numbers) -> list[Stage]:
        """See `SignalPath.stages`."""
        flaws, names = self.imperfections, numbers.env.observation_layout.names
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
