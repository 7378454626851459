"""Wrappers of vector environments: pass on whatever isn't changed, and change observations in one place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from warmstart.core.bounds import State
from warmstart.envs.simulation.infos import Infos
from warmstart.envs.simulation.seeding import masked_ids

Array = NDArray[Any]
Ids = NDArray[np.integer[Any]]


class PassingWrapper(VectorWrapper[Any, Any, Any, Any, Any]):
    """Gymnasium's `VectorWrapper`, with every public attribute of the environment inside.

    Contexts, layouts, privileged values and counters of `BatchedEnv` stay reachable, through any number of
    wrappers.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.env, name)


class ObservationWrapper(PassingWrapper):
    """Changes the observations of a vector environment, those that episodes end with included.

    A subclass writes `observed`; `begin` and `proceed` where it remembers something; `final` where the last
    observation of an episode is made in another way. Observations of several environments are arrays, or
    dicts of arrays, whose first axis is the environment.

    Args:
        env: Resets in the same step.
        space: Space of one new observation; None leaves it to `observe_as`.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], space: spaces.Space[Any] | None = None) -> None:
        super().__init__(env)
        self._everyone: Ids = np.arange(env.num_envs)
        if space is not None:
            self.observe_as(space)

    def observe_as(self, space: spaces.Space[Any]) -> None:
        """Declare the space of one new observation."""
        self.single_observation_space = space
        self.observation_space = batch_space(space, self.num_envs)

    def observed(self, observations: Any, ids: Ids) -> Any:
        """Make the new observations of some environments.

        Args:
            observations: Those of the environment inside. Shape: (len(ids), ...).
            ids: The environments.
        """
        raise NotImplementedError(f"{type(self).__name__} has no observed(observations, ids).")

    def begin(self, observations: Any, ids: Ids) -> None:
        """Note the first observations of episodes that begin. Shape: (len(ids), ...)."""

    def proceed(self, observations: Any, actions: Array) -> None:
        """Note what a step led to: of ended episodes the last observations. Shape: (num_envs, ...)."""

    def final(self, observations: Any, ids: Ids, infos: Infos) -> Any:
        """Make the last observations of ended episodes; after `proceed`, before `begin`.

        Args:
            observations: The last ones of the environment inside. Shape: (len(ids), ...).
            ids: The environments whose episodes ended.
            infos: The step's infos.
        """
        del infos
        return self.observed(observations, ids)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Infos]:
        """Begin new episodes; see `gymnasium.vector.VectorEnv.reset`."""
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        ids = masked_ids(options, self.num_envs)
        self.begin(_rows(observations, ids), ids)
        return self.observed(observations, self._everyone), infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, Infos]:
        """Take one step in every environment; see `gymnasium.vector.VectorEnv.step`.

        Args:
            actions: Shape: (num_envs, …).

        Returns:
            New observations, shape (num_envs, …) or a dict of such arrays; rewards, terminations and
            truncations, shape (num_envs,); infos.
        """
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        ended = np.flatnonzero(terminations | truncations)
        if ended.size:
            last = _stacked([infos["final_obs"][env] for env in ended])
            self.proceed(_with_rows(observations, ended, last), actions)
            new = self.final(last, ended, infos)
            final = np.full(self.num_envs, None, dtype=object)
            for position, env in enumerate(ended):
                final[env] = _rows(new, position)
            infos = {**infos, "final_obs": final}
            self.begin(_rows(observations, ended), ended)
        else:
            self.proceed(observations, actions)
        return self.observed(observations, self._everyone), rewards, terminations, truncations, infos

    def state_dict(self) -> State:
        """State of the environment inside."""
        return {"env": self.env.state_dict()}  # type: ignore[attr-defined]

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""
        self.env.load_state_dict(state["env"])  # type: ignore[attr-defined]


def _rows(observations: Any, ids: Any) -> Any:
    if isinstance(observations, dict):
        return {name: values[ids] for name, values in observations.items()}
    return observations[ids]


def _stacked(rows: Sequence[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return np.stack(rows)


def _with_rows(observations: Any, ids: Ids, rows: Any) -> Any:
    """A copy in which some rows are others."""
    if isinstance(observations, dict):
        return {name: _with_rows(values, ids, rows[name]) for name, values in observations.items()}
    copied = observations.copy()
    copied[ids] = rows
    return copied
