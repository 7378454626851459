"""The path that observations and actions take: a chain of stages, each the arithmetic of one imperfection.

All environments pass a stage together. Here are what stages share and what links do; see `sensors` and
`actuators` for the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.errors import unknown_name
from warmstart.core.keyed import Coarse, Keys, keys_of
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.tasks.hooks import Ids
from warmstart.sim2real.imperfections.numbers import Numbers
from warmstart.sim2real.imperfections.settings import Delay, Setting

Array = NDArray[Any]
Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
ENDLESS = 2**30
"""Steps until something that never ends does."""


@dataclass(slots=True)
class Moment:
    """Where values that pass along a path belong."""

    ids: Ids
    """Their environments. Shape: (m,)."""
    rows: slice | Ids
    """The same as an index; if an array, of shape (m,)."""
    begun: Ids
    """Those of them whose episode begins. Shape: (b,)."""
    goes_on: bool
    """Whether all environments have gone on by a step."""
    elapsed: Steps
    """Steps since their resets. Shape: (m,)."""
    dt: Floats
    """Control periods in seconds. Shape: (m, 1)."""
    numbers: Coarse
    """Random numbers of the step. Shape: (m, all that were asked for)."""


@dataclass(frozen=True)
class Part:
    """The dimensions of a path's values that have an imperfection."""

    kind: str
    """What it is called."""
    where: slice | Array
    """An index of the dimensions; if an array, of shape (len(self),)."""
    names: tuple[str, ...]
    """Their names."""
    low: Floats
    """Their smallest values; -inf for no bound. Shape: (len(self),)."""
    high: Floats
    """Their largest values; inf for no bound. Shape: (len(self),)."""
    numbers: Numbers
    """Where random numbers come from."""
    settings: tuple[Setting, ...] = ()
    """The setting that holds for each; none where one holds for all."""

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def whole(cls, kind: str, layout: Layout, numbers: Numbers) -> "Part":
        """All dimensions."""
        low, high = np.array([(each.low, each.high) for each in layout.dimensions]).T
        return cls(kind, slice(None), layout.names, low, high, numbers)

    def chosen(self, kind: str, settings: Sequence[Setting]) -> "Part":
        """Find the dimensions that have an imperfection; of several settings the last holds.

        Raises:
            WarmstartError: A pattern means no dimension; the nearest names are listed.
        """
        found: dict[int, Setting] = {}
        for setting in settings:
            for pattern in setting.patterns or ("*",):
                meant = [i for i, n in enumerate(self.names) if n == pattern or fnmatchcase(n, pattern)]
                if not meant:
                    raise unknown_name(f"dimension of {kind}", pattern, self.names)
                found |= dict.fromkeys(meant, setting)
        on = sorted(i for i, setting in found.items() if not setting.is_off)
        return Part(
            kind,
            slice(None) if len(on) == len(self) else np.array(on, dtype=np.intp),
            tuple(self.names[i] for i in on),
            self.low[on],
            self.high[on],
            self.numbers,
            tuple(found[i] for i in on),
        )

    def get(self, name: str) -> Floats:
        """A number of the settings. Shape: (len(self),)."""
        return np.array([getattr(setting, name) for setting in self.settings], dtype=np.float64)

    def get_share(self, name: str) -> Floats:
        """A number of the settings that is a share of the range, in its unit. Shape: (n, len(self))."""
        return self.spread(self.get(name) * (self.high - self.low))

    def keys(self, what: str) -> Keys:
        """Keys of the numbers of an episode. Shape: (len(self),)."""
        return keys_of([f"{self.kind}|{what}|{name}" for name in self.names])

    def zeros(self, dtype: Any = np.float64) -> Array:
        """An array for a stage's state. Shape: (n, len(self))."""
        return np.zeros((self.numbers.env.num_envs, len(self)), dtype=dtype)

    def spread(self, numbers: Array) -> Array:
        """The same for every environment, written out, which is faster to reckon with.

        Args:
            numbers: Shape: (len(self),).

        Returns:
            Shape: (n, len(self)), as `zeros`.
        """
        return self.zeros(numbers.dtype) + numbers

    def of(self, values: Floats) -> Floats:
        """The part of a path's values: the array itself where it is all of it, else a copy.

        Args:
            values: Shape: (m, k).

        Returns:
            Shape: (m, len(self)).
        """
        return values if isinstance(self.where, slice) else values[:, self.where]

    def put(self, values: Floats, part: Floats) -> Floats:
        """The path's values with a part that was changed.

        Args:
            values: Shape: (m, k); written in place.
            part: Shape: (m, len(self)).

        Returns:
            Shape: (m, k).
        """
        if isinstance(self.where, slice):
            return part
        values[:, self.where] = part
        return values


class Stage:
    """One imperfection along a path.

    Attributes:
        part: The dimensions that have it.
        arrays: Its state.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.arrays: dict[str, Array] = {}

    def begin(self, ids: Ids, episodes: Steps) -> None:
        """Forget the last episode of environments. Shapes: (ids,)."""

    def apply(self, values: Floats, now: Moment) -> Floats:
        """Let a path's values pass; what comes out may be in the same array. Shapes: (m, k)."""
        return self.part.put(values, self.act(self.part.of(values), now))

    def act(self, values: Floats, now: Moment) -> Floats:
        """Return what the part's values become, maybe in the same array. Shapes: (m, len(part))."""
        raise NotImplementedError(f"{type(self).__name__} has no act(values, now).")


class NoiseStage(Stage):
    """Adds noise; its standard deviation is in a unit, of each dimension, shape (len(part),), or of all."""

    def __init__(self, part: Part, unit: Floats | float = 1.0) -> None:
        super().__init__(part)
        self._std = part.spread((part.get("std") * unit).astype(np.float32))
        self._drawn = part.numbers.ask(part.kind, part.names, normal=True)

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        values += self._std[now.rows] * now.numbers[:, self._drawn]
        return values


class RepeatStage(Stage):
    """Takes a value every so many steps and holds it in between."""

    def __init__(self, part: Part, steps: int) -> None:
        super().__init__(part)
        self._steps = steps
        self.arrays = {"last": part.zeros()}

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        last = self.arrays["last"]
        np.copyto(last, values, where=(now.elapsed % self._steps == 0)[:, None])
        return last.copy()


class DelayStage(Stage):
    """Hands on what came in some steps ago; at first, the first of the episode."""

    def __init__(self, part: Part, delay: Delay) -> None:
        super().__init__(part)
        self._delay, self._size = delay, delay.high + 1
        self._varies = delay.low < delay.high
        self.arrays = {
            "history": np.zeros((self._size, *part.zeros().shape)),
            "clock": np.zeros(1, dtype=np.int64),
        }
        if self._varies:
            self._drawn = part.numbers.ask(part.kind, ("changes", "to"))
            self.arrays["delay"] = np.zeros(part.numbers.env.num_envs, dtype=np.int64)

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        history = self.arrays["history"]
        self.arrays["clock"] += now.goes_on
        clock = int(self.arrays["clock"][0])
        if now.goes_on:
            history[clock % self._size] = values
        if len(now.begun):
            history[:, now.begun] = values if len(now.begun) == len(now.ids) else values[now.begun]
        if self._varies:
            delayed: Floats = history[(clock - self._varying(now)) % self._size, now.ids]
            return delayed
        return np.array(history[(clock - self._delay.high) % self._size][now.rows])

    def _varying(self, now: Moment) -> Steps:
        """Draw delays anew. Shape: (m,)."""
        low, high, before = self._delay.low, self._delay.high, self.arrays["delay"][now.rows]
        changes, to = now.numbers[:, self._drawn].T
        drawn = low + (to * (high - low + 1)).astype(np.int64)
        going = now.elapsed > 0
        delay = np.where(going & (changes < self._delay.hold), before, drawn)
        delay = np.where(going, np.minimum(delay, before + 1), delay)
        self.arrays["delay"][now.rows] = delay
        return delay


class LossStage(Stage):
    """Repeats what came last where something gets lost; the first of an episode never does."""

    def __init__(self, part: Part, probability: float) -> None:
        super().__init__(part)
        self._probability = probability
        self._drawn = part.numbers.ask(part.kind, ("lost",))
        self.arrays = {"last": part.zeros()}

    @override
    def act(self, values: Floats, now: Moment) -> Floats:
        lost = (now.numbers[:, self._drawn] < self._probability) & (now.elapsed > 0)[:, None]
        values = np.where(lost, self.arrays["last"][now.rows], values)
        self.arrays["last"][now.rows] = values
        return values
