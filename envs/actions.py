"""Choices in place of continuous actions: the task option ``action_bins``.

A few evenly spaced values for every action, each chosen on its own (Tang & Agrawal 2019, 1901.10500).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Dimension, Layout, generic_layout
from warmstart.envs.tasks.task import Task
from warmstart.envs.wrappers import PassingWrapper

OPTION = "action_bins"


def split_bins(task: Task) -> tuple[Task, int | None]:
    """A task without its ``action_bins``, and their number; None for continuous actions.

    Raises:
        WarmstartError: It is no whole number from 2.
    """
    bins = task.option(OPTION)
    if bins is None:
        return task, None
    if isinstance(bins, bool) or not isinstance(bins, int) or not 2 <= bins <= 256:
        raise WarmstartError(f"{task}: expected {OPTION} from 2 to 256, found {bins!r}.")
    return replace(task, options=tuple(o for o in task.options if o[0] != OPTION)), bins


def bin_values(space: spaces.Space[Any], bins: int) -> NDArray[np.float64]:
    """What each choice of each action stands for. Shape: (actions, bins).

    Raises:
        WarmstartError: The actions aren't continuous, or have no bounds.
    """
    if not isinstance(space, spaces.Box) or not np.isfinite([space.low, space.high]).all():
        raise WarmstartError(f"{OPTION} is of continuous actions with bounds, and these are {space}.")
    return np.linspace(space.low.ravel(), space.high.ravel(), bins, axis=1, dtype=np.float64)


def binned_space(space: spaces.Space[Any], bins: int) -> spaces.Discrete | spaces.MultiDiscrete:
    """The choices: Discrete of a single action, else MultiDiscrete."""
    n = len(bin_values(space, bins))
    return spaces.Discrete(bins) if n == 1 else spaces.MultiDiscrete([bins] * n)


def binned_layout(layout: Layout, bins: int) -> Layout:
    """Names of the choices: ``choice[0]``… of a single action, else ``NAME.choice[0]``…."""
    if len(layout) == 1:
        return generic_layout(spaces.Discrete(bins), "choice")
    pairs = [(name, k) for name in layout.names for k in range(bins)]
    return Layout(tuple(Dimension(f"{name}.choice[{k}]", "", 0.0, 1.0) for name, k in pairs))


class BinnedActions(PassingWrapper):
    """Takes choices, and gives the environment inside what they stand for.

    Args:
        env: Takes continuous actions.
        task: With its ``action_bins``.
        bins: Choices of each action.

    Attributes:
        action_values: What each choice of each action stands for. Shape: (actions, bins).
        task: With its ``action_bins``.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], task: Task, bins: int) -> None:
        super().__init__(env)
        inside = env.single_action_space
        self.task, self.action_values, self._bins = task, bin_values(inside, bins), bins
        self.single_action_space = binned_space(inside, bins)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._inside: Any = inside

    @property
    def action_layout(self) -> Layout:
        """Names of the choices."""
        return binned_layout(self.env.action_layout, self._bins)  # type: ignore[attr-defined]

    @override
    def step(self, actions: Any) -> Any:
        chosen = np.asarray(actions).reshape(self.num_envs, -1)
        found = self.action_values[np.arange(chosen.shape[1]), chosen]
        return self.env.step(found.reshape(self.num_envs, *self._inside.shape).astype(self._inside.dtype))
