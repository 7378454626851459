"""The path that observations and actions take: a chain of stages, each the arithmetic of one imperfection.

All environments pass a stage together. May import envs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.envs.batched import BatchedEnv
from warmstart.envs.errors import WarmstartError, unknown_name
from warmstart.envs.hooks import Ids, Perturbation
from warmstart.sim2real.flaws import Delay, Setting
from warmstart.sim2real.imperfections import Imperfections
from warmstart.sim2real.keyed import Keys, hashes, keys_of, normal, uniform, uniforms

Array = NDArray[Any]
Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
AHEAD = 16
"""Steps whose random numbers are looked up together: numpy's overhead is that of one."""
ENDLESS = 2**62
"""Steps until something that never ends does."""


@dataclass(slots=True)
class Moment:
    """Where values that pass along a path belong."""

    ids: Ids
    """Their environments. Shape: (m,)."""
    rows: slice | Ids
    """The same as an index."""
    elapsed: Steps
    """Steps since their resets. Shape: (m,)."""
    dt: Floats
    """Control periods in seconds. Shape: (m, 1)."""
    numbers: Floats
    """Random numbers of the step. Shape: (m, all that were asked for)."""


class Numbers:
    """Random numbers of a path, by seed, name, environment, episode and step.

    Those of steps are looked up `AHEAD` steps at a time for all environments, and for the rest of these steps
    where an episode begins: a cache, so nothing of it needs saving.

    Attributes:
        env: The environment.
    """

    def __init__(self, seed: int, env: BatchedEnv) -> None:
        self.env, self._seed = env, seed
        self._everyone: Ids = np.arange(env.num_envs, dtype=np.int32)
        self._names: list[str] = []
        self._normal: list[slice] = []
        self._keys = keys_of(())
        self._ahead: Floats = np.zeros((AHEAD, env.num_envs, 0))
        self._now = AHEAD

    def ask(self, kind: str, names: Sequence[str], normal: bool = False) -> slice:
        """Have numbers at every step from now on: uniform from 0 to 1, or standard normal.

        Returns:
            Where `Moment.numbers` holds them.
        """
        where = slice(len(self._names), len(self._names) + len(names))
        self._names += [f"{kind}|{name}" for name in names]
        self._keys = keys_of(self._names)
        self._normal += [where] if normal else []
        return where

    def of_episode(self, keys: Keys, ids: Ids, episodes: Steps) -> Floats:
        """Uniform numbers of episodes. Shape: (ids, keys)."""
        return uniforms(self._seed, keys, ids, episodes)

    def look(self, begun: Ids, *, next_step: bool) -> Floats:
        """Numbers of the current steps. Shape: (n, all that were asked for).

        Args:
            begun: Where an episode has begun since the last look.
            next_step: Whether all environments have gone on by a step.
        """
        self._now += next_step
        if self._now >= AHEAD:
            self._now = 0
            begun = self._everyone
        if self._names and len(begun):
            steps = self.env.elapsed[begun] + np.arange(AHEAD - self._now)[:, None]
            times = len(steps)
            envs, episodes = np.tile(begun, times), np.tile(self.env.episode_ids[begun], times)
            bits = hashes(self._seed, self._keys, envs, episodes, steps.ravel())
            found = uniform(bits)
            for where in self._normal:
                found[:, where] = normal(bits[:, where])
            found = found.reshape(times, len(begun), -1)
            if len(begun) == len(self._everyone) and not self._now:
                self._ahead = found
            else:
                self._ahead[self._now :, begun] = found
        now: Floats = self._ahead[self._now]
        return now


@dataclass(frozen=True)
class Part:
    """The dimensions of a path's values that have an imperfection."""

    kind: str
    """What it is called."""
    where: slice | Array
    """An index of the dimensions."""
    names: tuple[str, ...]
    """Their names."""
    settings: tuple[Setting, ...]
    """The setting that holds for each."""
    numbers: Numbers
    """Where random numbers come from."""

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def whole(cls, kind: str, names: Sequence[str], numbers: Numbers) -> "Part":
        """All dimensions, of what has no settings for each."""
        return cls(kind, slice(None), tuple(names), (), numbers)

    def get(self, name: str) -> Floats:
        """A number of the settings. Shape: (len(self),)."""
        return np.array([getattr(setting, name) for setting in self.settings], dtype=np.float64)

    def keys(self, what: str) -> Keys:
        """Keys of the numbers of an episode. Shape: (len(self),)."""
        return keys_of([f"{self.kind}|{what}|{name}" for name in self.names])

    def zeros(self, dtype: Any = np.float64) -> Array:
        """An array for a stage's state. Shape: (n, len(self))."""
        return np.zeros((self.numbers.env.num_envs, len(self)), dtype=dtype)


class Stage:
    """One imperfection along a path.

    Attributes:
        arrays: Its state.
    """

    def __init__(self, part: Part) -> None:
        self.part, self.where = part, part.where
        self.arrays: dict[str, Array] = {}

    def begin(self, ids: Ids, episodes: Steps) -> None:
        """Forget the last episode of environments."""

    def apply(self, values: Floats, now: Moment) -> Floats:
        """Return what comes out, maybe in the same array. Shapes: (m, k)."""
        raise NotImplementedError(f"{type(self).__name__} has no apply(values, now).")


class SignalPath(Perturbation):
    """Stages that the observations or actions of one batched environment pass.

    Args:
        imperfections: What goes wrong.
        seed: Of all random numbers.
    """

    def __init__(self, imperfections: Imperfections, seed: int) -> None:
        self.imperfections, self.seed = imperfections, seed
        self._env: BatchedEnv | None = None
        self._saved: list[dict[str, Array]] | None = None

    def stages(self, numbers: Numbers) -> list[Stage]:
        """Make what is on, in order."""
        raise NotImplementedError(f"{type(self).__name__} has no stages(numbers).")

    def state_dict(self) -> dict[str, Any]:
        """See `Perturbation.state_dict`."""
        if self._env is None:
            arrays = self._saved
        else:
            arrays = [{key: a.copy() for key, a in stage.arrays.items()} for stage in self._stages]
        return {"seed": self.seed, "imperfections": self.imperfections.to_json(), "arrays": arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Perturbation.load_state_dict`.

        Raises:
            WarmstartError: The state is of other imperfections.
        """
        if state["imperfections"] != self.imperfections.to_json():
            raise WarmstartError(
                f"Expected the state of the imperfections {self.imperfections.to_json()}, found that of "
                f"{state['imperfections']}."
            )
        self.seed, self._saved = int(state["seed"]), state["arrays"]
        if self._env is not None:
            self._join(self._env)

    def pass_on(self, env: BatchedEnv, values: Array, ids: Ids, begun: Ids, *, next_step: bool) -> Floats:
        """Let values pass the stages.

        Args:
            env: The environment.
            values: Shape: (m, k).
            ids: Their environments. Shape: (m,).
            begun: Those of them whose episode begins.
            next_step: Whether all environments have gone on by a step since the last call.
        """
        if self._env is not env:
            if self._env is not None:
                raise WarmstartError(
                    f"Expected one environment for each {type(self).__name__}, found a second one: make "
                    "perturbations for each environment."
                )
            self._join(env)
        numbers = self._numbers.look(begun, next_step=next_step)
        if len(begun):
            for stage in self._stages:
                stage.begin(begun, env.episode_ids[begun])
        if len(ids) == env.num_envs:
            now = Moment(ids, slice(None), env.elapsed, env.sim.dt[:, None], numbers)
        else:
            now = Moment(ids, ids, env.elapsed[ids], env.sim.dt[ids, None], numbers[ids])
        values = np.array(values, dtype=np.float64)
        for stage in self._stages:
            values = stage.apply(values, now)
        return values

    def _join(self, env: BatchedEnv) -> None:
        self._numbers = Numbers(self.seed, env)
        self._stages = self.stages(self._numbers)
        for stage, saved in zip(self._stages, self._saved or [], strict=self._saved is not None):
            stage.arrays = {key: array.copy() for key, array in saved.items()}
        self._env, self._saved = env, None


def chosen(kind: str, flaws: Imperfections, names: Sequence[str], numbers: Numbers) -> Part:
    """Find the dimensions that have an imperfection; of several settings the last holds.

    Raises:
        WarmstartError: A pattern means no dimension; the nearest names are listed.
    """
    found: dict[int, Setting] = {}
    for setting in getattr(flaws, kind):
        for pattern in setting.patterns or ("*",):
            meant = [i for i, name in enumerate(names) if name == pattern or fnmatchcase(name, pattern)]
            if not meant:
                raise unknown_name(f"dimension of {kind}", pattern, names)
            found |= dict.fromkeys(meant, setting)
    on = sorted(i for i, setting in found.items() if not setting.is_off)
    where = slice(None) if len(on) == len(names) else np.array(on, dtype=np.intp)
    return Part(kind, where, tuple(names[i] for i in on), tuple(found[i] for i in on), numbers)


class Late(Stage):
    """Hands on what came in some steps ago."""

    def __init__(self, part: Part, delay: Delay) -> None:
        super().__init__(part)
        self._delay, self._size = delay, delay.high + 1
        self._varies = delay.low < delay.high
        self._n = part.numbers.env.num_envs
        self.arrays = {"history": np.zeros((self._size * self._n, len(part)))}
        if self._varies:
            self._drawn = part.numbers.ask(part.kind, ("changes", "to"))
            self.arrays["delay"] = np.zeros(self._n, dtype=np.int64)

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        history = self.arrays["history"]
        history[now.elapsed % self._size * self._n + now.ids] = values
        sent = np.maximum(now.elapsed - (self._varying(now) if self._varies else self._delay.high), 0)
        found: Floats = history.take(sent % self._size * self._n + now.ids, axis=0)
        return found

    def _varying(self, now: Moment) -> Steps:
        low, high, before = self._delay.low, self._delay.high, self.arrays["delay"][now.rows]
        changes, to = now.numbers[:, self._drawn].T
        drawn = low + (to * (high - low + 1)).astype(np.int64)
        going = now.elapsed > 0
        delay = np.where(going & (changes < self._delay.hold), before, drawn)
        delay = np.where(going, np.minimum(delay, before + 1), delay)
        self.arrays["delay"][now.rows] = delay
        return delay


class Losing(Stage):
    """Repeats what came last where something gets lost; the first of an episode never does."""

    def __init__(self, part: Part, probability: float) -> None:
        super().__init__(part)
        self._probability = probability
        self._drawn = part.numbers.ask(part.kind, ("lost",))
        self.arrays = {"last": part.zeros()}

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        lost = (now.numbers[:, self._drawn] < self._probability) & (now.elapsed > 0)[:, None]
        values = np.where(lost, self.arrays["last"][now.rows], values)
        self.arrays["last"][now.rows] = values
        return values


class Noisy(Stage):
    """Adds noise; its standard deviation is in a unit, of each dimension or of all."""

    def __init__(self, part: Part, unit: Floats | float = 1.0) -> None:
        super().__init__(part)
        self._std = part.get("std") * unit
        self._drawn = part.numbers.ask(part.kind, part.names, normal=True)

    def apply(self, values: Floats, now: Moment) -> Floats:
        """See `Stage.apply`."""
        values[:, self.where] += self._std * now.numbers[:, self._drawn]
        return values
