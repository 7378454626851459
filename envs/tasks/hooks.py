"""Where the rooms above act inside an environment: contexts of the next episodes, perturbations of a step."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import State
from warmstart.envs.robots.base import MujocoTask
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.simulation.simulation import Simulation
from warmstart.envs.tasks.contexts import Operation
from warmstart.envs.tasks.task import Task

Array = NDArray[Any]
Ids = NDArray[np.int32]


@runtime_checkable
class ContextSource(Protocol):
    """Draws the physical context of the episodes that are about to begin.

    Attributes:
        terms: What is drawn: a selector of physical parameters and what its value does to the nominal.
    """

    terms: Sequence[tuple[str, Operation]]

    def draw(self, env_ids: Ids, episode_ids: NDArray[np.int64]) -> Array:
        """Draw values.

        Args:
            env_ids: The environments whose episode begins. Shape: (n,).
            episode_ids: Number of the episode within its environment, from 0. Shape: (n,).

        Returns:
            One value per environment and term; NaN leaves the parameter as it is. Shape: (n, n_terms).
        """

    def state_dict(self) -> State:
        """Everything needed to draw the same values again."""

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""


@runtime_checkable
class ChangingSource(ContextSource, Protocol):
    """A context source that draws anew within episodes, too.

    Attributes:
        changes_within: Whether it ever does; where it doesn't, it isn't asked at every step.
    """

    changes_within: bool

    def due(self, elapsed: NDArray[np.int64], period: float) -> NDArray[np.bool_]:
        """Say where something changes before the next step.

        Args:
            elapsed: Steps since each environment's reset. Shape: (n,).
            period: Seconds of a control step.

        Returns:
            Shape: (n,).
        """

    def draw_within(
        self, env_ids: Ids, episode_ids: NDArray[np.int64], elapsed: NDArray[np.int64], period: float
    ) -> Array:
        """Draw the values that hold from a step of an episode on; see `draw`.

        Args:
            env_ids: The environments in which something changes. Shape: (n,).
            episode_ids: Number of each one's episode, from 0. Shape: (n,).
            elapsed: Steps since each one's reset. Shape: (n,).
            period: Seconds of a control step.

        Returns:
            Shape: (n, n_terms).
        """


class PerturbedEnv(Protocol):
    """What perturbations see of a batched environment.

    Attributes:
        num_envs: Number of environments, n.
        task: What is simulated.
        robot: The class of the task, with its options.
        sim: The simulations, whose state may be changed.
    """

    num_envs: int
    task: Task
    robot: MujocoTask
    sim: Simulation

    @property
    def elapsed(self) -> NDArray[np.int64]:
        """Steps since each environment's reset. Shape: (n,)."""

    @property
    def episode_ids(self) -> NDArray[np.int64]:
        """Number of each environment's episode, from 0. Shape: (n,)."""

    @property
    def observation_layout(self) -> Layout:
        """Name, unit and range of every observation."""

    @property
    def action_layout(self) -> Layout:
        """Name, unit and range of every action."""

    @property
    def in_frames(self) -> bool:
        """Whether it is observed in frames."""


class Perturbation:
    """Changes what happens in an environment; every hook does nothing until overridden.

    Hooks run in the order in which the perturbations were given.
    """

    def on_reset(self, env: PerturbedEnv, ids: Ids) -> None:
        """Act on environments whose start state has just been written, before it is evaluated.

        Args:
            env: The environment.
            ids: Those whose episode begins. Shape: (n,).
        """

    def before_step(self, env: PerturbedEnv, actions: Array) -> Array:
        """Return the actions that are carried out. Shape: (n, nu)."""
        del env
        return actions

    def on_substep(self, env: PerturbedEnv, substep: int) -> None:
        """Act before a substep of the simulation; overriding it steps them one by one."""

    def on_observations(self, env: PerturbedEnv, observations: Array, ids: Ids) -> Array:
        """Return the observations that the agent sees.

        Called once for every observation: those of a step for all environments, the final ones of ended
        episodes among them, then those of the episodes that begin.

        Args:
            env: The environment.
            observations: Shape: (n, k).
            ids: The environments they belong to. Shape: (n,).
        """
        del env, ids
        return observations

    def state_dict(self) -> State:
        """Everything needed to go on the same way."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""
