"""A source, or chance, plays a task once in several environments, and everything that was seen is kept."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.evaluation import LONGEST, generators_kept
from warmstart.core.errors import WarmstartError
from warmstart.envs.sb3 import as_sb3
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.teaching.teacher import Teacher

Actor = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Played:
    """The first episode of each environment."""

    returns: NDArray[np.float64]
    """Undiscounted. Shape: (n_envs,)."""
    observations: NDArray[Any]
    """Shape: (steps, n_envs, …)."""
    actions: NDArray[Any]
    """Shape: (steps, n_envs, …)."""
    rewards: NDArray[np.float64]
    """Shape: (steps, n_envs)."""
    running: NDArray[np.bool_]
    """Whether the step belongs to the first episode. Shape: (steps, n_envs)."""
    terminated: NDArray[np.bool_]
    """Whether that ended by itself, not by a time limit. Shape: (n_envs,)."""

    @property
    def steps(self) -> int:
        """Steps taken in first episodes."""
        return int(self.running.sum())

    def discounted(self, gamma: float) -> NDArray[np.float64]:
        """What each step earned from there to the episode's end. Shape: (steps, n_envs)."""
        found, after = np.zeros_like(self.rewards), np.zeros(self.rewards.shape[1])
        for step in range(len(self.rewards) - 1, -1, -1):
            after = np.where(self.running[step], self.rewards[step] + gamma * after, 0.0)
            found[step] = after
        return found


def play(task: Task, actor: Actor | None, episodes: int, seed: int, limit: int | None = None) -> Played:
    """Let something act until each environment's first episode has ended.

    Args:
        task: What is played.
        actor: From observations to actions; None draws actions uniformly.
        episodes: Environments.
        seed: Of the first.
        limit: Steps after which an episode is cut; None for none.

    Raises:
        WarmstartError: It observes a dictionary or frames, or an episode doesn't end.
    """
    rows: tuple[list[Any], ...] = ([], [], [], [])
    with generators_kept(), closing(make_vec(task, episodes, seed=seed, n_threads=1)) as env:
        if actor is None:
            env.action_space.seed(seed)
        observations, _ = env.reset(seed=[seed + i for i in range(episodes)])  # type: ignore[arg-type]
        if isinstance(observations, dict):
            raise WarmstartError(f"{task} observes a dictionary; only arrays are compared.")
        if observations.ndim > 3:
            raise WarmstartError(f"{task} observes frames; only states are compared.")
        running, ended = np.ones(episodes, bool), np.zeros(episodes, bool)
        while running.any() and len(rows[0]) != limit:
            if len(rows[0]) >= LONGEST:
                raise WarmstartError(f"{task}: an episode hasn't ended within {LONGEST:,} steps.")
            actions = np.asarray(env.action_space.sample() if actor is None else actor(observations))
            following, rewards, terminated, truncated, _ = env.step(actions)
            for row, value in zip(rows, (observations, actions, rewards, running), strict=True):
                row.append(np.array(value))
            ended |= running & terminated
            running = running & ~(terminated | truncated)
            observations = following
    seen, acted, earned, held = (np.stack(row) for row in rows)
    return Played((earned * held).sum(0), seen, acted, earned, held, ended)


def teacher_for(source: Checkpoint, task: Task, context: TransferContext) -> Teacher:
    """The source's policy as it acts in a task.

    Raises:
        WarmstartError: Its dimensions and the task's don't match.
    """
    env: VectorEnv[Any, Any, Any] = make_vec(task, 1, seed=0, n_threads=1)
    with closing(as_sb3(env)) as made:
        place: Any = SimpleNamespace(
            env=made, observation_space=made.observation_space, action_space=made.action_space
        )
        return Teacher(source, place, context)
