"""Choices that stand for continuous actions, so that a teacher of one kind can teach the other."""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from warmstart.core.errors import WarmstartError
from warmstart.envs.actions import OPTION, bin_values, split_bins
from warmstart.envs.describe import describe
from warmstart.envs.sb3 import env_attribute
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.tasks.task import Task


@dataclass(frozen=True)
class Continuous:
    """Continuous actions, and what an agent chooses of them."""

    space: spaces.Box
    layout: Layout
    values: NDArray[np.float64] | None = None
    """What each choice of the one action stands for; None where actions aren't chosen. Shape: (bins,)."""


def continuous(task: Task | str | None, whose: str) -> Continuous:
    """The continuous actions of a task, with or without ``action_bins``.

    Args:
        task: The task; None where it isn't known.
        whose: ``source`` or ``target``, for messages.

    Raises:
        WarmstartError: Its choices stand for nothing continuous, or for several actions at a time.
    """
    told = f"The {whose}'s actions are choices"
    if task is None:
        raise WarmstartError(f"{told}, and its task isn't known: give {whose}_task.")
    plain, bins = split_bins(Task.parse(task) if isinstance(task, str) else task)
    found = describe(plain)
    if not isinstance(found.action_space, spaces.Box):
        raise WarmstartError(f"{told} of {plain}, which stand for no continuous action.")
    values = None if bins is None else bin_values(found.action_space, bins)
    if values is not None and len(values) > 1:
        raise WarmstartError(
            f"{told} of {len(values)} actions at a time ({task}), and a teacher's and a student's meet where "
            f"{OPTION} is of one."
        )
    return Continuous(found.action_space, found.action_layout, None if values is None else values[0])


def both_continuous(source_task: str | None, env: VecEnv | None) -> tuple[Continuous, Continuous]:
    """The continuous actions of a source and of a target of which one chooses."""
    return continuous(source_task, "source"), continuous(env_attribute(env, "task"), "target")
