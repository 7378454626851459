"""What sensors and their links do to observations."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from typing_extensions import override

from warmstart.envs.tasks.hooks import Ids
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.numbers import Numbers
from warmstart.sim2real.imperfections.stages import (
    ENDLESS,
    DelayStage,
    Floats,
    LossStage,
    Moment,
    NoiseStage,
    Part,
    Stage,
    Steps,
)


class BiasStage(Stage):
    """Adds what is drawn at the start of an episode."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._std, self._keys = part.get("std"), part.keys("offset")
        self.arrays = {"offset": part.zeros()}

    @override
    def begin(self, ids: Ids, episodes: Steps) -> None:
        drawn = self.part.numbers.of_episode(self._keys, ids, episodes)
        self.arrays["offset"][ids] = self._std * ndtri(drawn)

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        values += self.arrays["offset"][now.rows]
        return values


class DriftStage(Stage):
    """Adds a random walk, from 0 at the start of an episode."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._std = part.get("std")
        self._drawn = part.numbers.ask(part.kind, part.names, normal=True)
        self.arrays = {"offset": part.zeros()}

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        going = now.elapsed[:, None] > 0
        steps = self._std * np.sqrt(now.dt) * now.numbers[:, self._drawn]
        offset = np.where(going, self.arrays["offset"][now.rows] + steps, 0)
        self.arrays["offset"][now.rows] = offset
        values += offset
        return values


class QuantisationStage(Stage):
    """Rounds to multiples of a resolution."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._resolution = part.get("resolution")

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        return np.rint(values / self._resolution) * self._resolution


class FailureStage(Stage):
    """Sensors that get stuck or drop out: by chance at a step, for some steps, or once and for all.

    Both in one stage, as what decides when they fail is most of the work. There is nothing to get stuck at
    when an episode begins.
    """

    def __init__(self, stuck: Part, dropped: Part) -> None:
        super().__init__(stuck)
        self._dropped, self._stuck = dropped, stuck
        numbers, names = stuck.numbers, (*stuck.names, *dropped.names)
        low, high = (np.zeros(len(names)) for _ in range(2))  # which nothing here asks for
        both = Part("failing", slice(None), names, low, high, numbers, (*stuck.settings, *dropped.settings))
        steps, probability = both.get("steps").astype(np.int32), both.get("probability")
        by_chance = steps > 0
        self._steps = both.spread(steps)
        self._at_steps = both.spread(np.where(by_chance, probability, 0).astype(np.float32))
        self._in_episodes = np.where(by_chance, 0, probability)
        self._some_for_good = not by_chance.all()
        asked = [numbers.ask(part.kind, part.names) for part in (stuck, dropped)]
        self._drawn = slice(asked[0].start, asked[1].stop)
        self.arrays = {"left": both.zeros(np.int32), "last": stuck.zeros()}
        if self._some_for_good:
            self._happens, self._when = both.keys("happens"), both.keys("when")
            self.arrays["onset"] = both.zeros(np.int64)

    @override
    def begin(self, ids: Ids, episodes: Steps) -> None:
        self.arrays["left"][ids] = 0
        if self._some_for_good:
            numbers = self.part.numbers
            happens, when = (numbers.of_episode(k, ids, episodes) for k in (self._happens, self._when))
            last = max((numbers.env.robot.time_limit or 1000) - 1, 1)
            onset = 1 + (when * last).astype(np.int64)
            self.arrays["onset"][ids] = np.where(happens < self._in_episodes, onset, ENDLESS)

    @override
    def apply(self, values: Floats, now: Moment) -> Floats:
        failing, sticking = self._failing(now), len(self._stuck)
        if sticking:
            read, last = self._stuck.of(values), self.arrays["last"]
            if not len(now.begun):
                np.copyto(read, last[now.rows], where=failing[:, :sticking])
            last[now.rows] = read
            values = self._stuck.put(values, read)
        if len(self._dropped):
            read = self._dropped.of(values)
            np.copyto(read, 0, where=failing[:, sticking:])
            values = self._dropped.put(values, read)
        return values

    def _failing(self, now: Moment) -> NDArray[np.bool_]:
        """Which sensors fail at this step, those that get stuck before those that drop out. Shape: (m, k)."""
        rows, left = now.rows, self.arrays["left"][now.rows]
        found: NDArray[np.bool_] = left > 0
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


def observation_stages(imperfections: Imperfections, numbers: Numbers) -> list[Stage]:
    """What observations pass, in this order: bias, drift, noise, …; see `Imperfections`.

    Raises:
        WarmstartError: A pattern means no dimension.
    """
    layout = numbers.env.observation_layout
    delayed, lost = (Part.whole(f"observation_{kind}", layout, numbers) for kind in ("delay", "loss"))
    made: list[Stage] = []
    for kind, stage in _SENSING.items():
        part = delayed.chosen(kind, getattr(imperfections, kind))
        made += [stage(part)] if len(part) else []
    failing = [delayed.chosen(kind, getattr(imperfections, kind)) for kind in ("stuck", "dropout")]
    made += [FailureStage(*failing)] if any(map(len, failing)) else []
    if not imperfections.observation_delay.is_off:
        made.append(DelayStage(delayed, imperfections.observation_delay))
    if imperfections.observation_loss:
        made.append(LossStage(lost, imperfections.observation_loss))
    return made


_SENSING: dict[str, type[Stage]] = {
    "bias": BiasStage,
    "drift": DriftStage,
    "noise": NoiseStage,
    "quantisation": QuantisationStage,
}
