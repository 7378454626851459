"""Random numbers that imperfections take at every step, looked up many steps at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from warmstart.core.keyed import (
    Coarse,
    Keys,
    coarse_normal,
    coarse_uniform,
    count,
    finish,
    keys_of,
    mixed,
    start,
    uniforms,
)
from warmstart.envs.tasks.hooks import Ids, PerturbedEnv

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
AHEAD = 16
"""Steps whose random numbers are looked up together: numpy's overhead is that of one."""


class Numbers:
    """Random numbers of a path, by seed, name, environment, episode and step.

    Those of steps are looked up `AHEAD` steps at a time for all environments, and for the rest of these steps
    where an episode begins: caches, so nothing of it needs saving.

    Attributes:
        env: The environment.
    """

    def __init__(self, seed: int, env: PerturbedEnv) -> None:
        self.env, self._seed = env, seed
        self._uniform: list[str] = []
        self._normal: list[str] = []
        self._now, self._first = AHEAD, mixed(np.arange(AHEAD)[:, None])
        self._environments = count(start(seed), mixed(np.arange(env.num_envs)))
        self._make_room()

    def ask(self, kind: str, names: Sequence[str], normal: bool = False) -> slice:
        """Have numbers at every step from now on: uniform from 0 to 1, or standard normal.

        Returns:
            Where `Moment.numbers` holds them.
        """
        given = [f"{kind}|{name}" for name in names]
        if normal:  # from the end on: all normal numbers are made together
            where = slice(-len(self._normal) - len(given), -len(self._normal) or None)
            self._normal = given + self._normal
        else:
            where = slice(len(self._uniform), len(self._uniform) + len(given))
            self._uniform += given
        self._make_room()
        return where

    def of_episode(self, keys: Keys, ids: Ids, episodes: Steps) -> Floats:
        """Uniform numbers of episodes. Shapes: keys (k,), ids and episodes (n,), to (n, k)."""
        return uniforms(self._seed, keys, ids, episodes)

    def go_on(self, begun: Ids, *, next_step: bool) -> None:
        """Take note that environments have gone on.

        Args:
            begun: Where an episode has begun. Shape: (m,).
            next_step: Whether all environments have gone on by a step.
        """
        self._now += next_step
        if self._now >= AHEAD or not len(begun) or not len(self._keys):
            return
        if len(begun) == self.env.num_envs:
            self._now = AHEAD
            return
        found = np.empty((AHEAD - self._now, len(begun), len(self._keys)), dtype=np.float32)
        self._look_up(found, begun, self._first)
        self._ahead[self._now :, begun] = found

    def now(self) -> Coarse:
        """Numbers of the current steps. Shape: (n, all that were asked for)."""
        if self._now >= AHEAD:
            self._now = 0
            self._look_up(self._ahead, slice(None), mixed(self.env.elapsed + np.arange(AHEAD)[:, None]))
        now: Coarse = self._ahead[self._now]
        return now

    def _look_up(self, out: Coarse, rows: slice | Ids, steps: Keys) -> None:
        """Write numbers of some steps, counted from the reset. Shape: (steps, rows, names), contiguous."""
        episodes = count(self._environments[rows], mixed(self.env.episode_ids[rows]))
        states = count(episodes, steps[: len(out)]).ravel()
        bits, spare = (room[: len(states)] for room in self._room)
        finish(states, self._keys, bits, spare)
        numbers = out.reshape(len(states), -1)
        coarse_uniform(bits, numbers)
        if self._normal:
            coarse_normal(bits[:, len(self._uniform) :], numbers[:, len(self._uniform) :])

    def _make_room(self) -> None:
        self._keys = keys_of(self._uniform + self._normal)
        n, k = self.env.num_envs, len(self._keys)
        self._ahead = np.zeros((AHEAD, n, k), dtype=np.float32)
        self._room = np.empty((2, AHEAD * n, k), dtype=np.uint64)
