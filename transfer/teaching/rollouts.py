"""What a source does in its own task: steps to estimate from, to imitate, or to learn from."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.evaluation import generators_kept
from warmstart.core.errors import WarmstartError
from warmstart.envs.vector import make_vec
from warmstart.transfer.carry.source import source_name

N_ENVS = 8


@dataclass(frozen=True)
class Transitions:
    """Steps, those of an environment in a row."""

    observations: NDArray[Any]
    """Not standardised. Shape: (n, …)."""
    actions: NDArray[Any]
    """In the environment's range. Shape: (n, …)."""
    rewards: NDArray[np.float64]
    """Shape: (n,)."""
    next_observations: NDArray[Any]
    """The last of an episode is its own, not the next one's first. Shape: (n, …)."""
    terminated: NDArray[np.bool_]
    """Whether the episode ended there and nothing comes after. Shape: (n,)."""
    truncated: NDArray[np.bool_]
    """Whether it ran out of time. Shape: (n,)."""

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.rewards)


def roll(source: Checkpoint, steps: int, seed: int, deterministic: bool = False) -> Transitions:
    """Let a source act in its own task. Global random generators are as before afterwards.

    Args:
        source: The source; knows its task.
        steps: How many, in all; rounded up to whole steps of all environments.
        seed: Of environments and actions.
        deterministic: Whether it takes its mean action.

    Raises:
        WarmstartError: It doesn't know its task, or observes more than one array.
    """
    if source.task is None:
        raise WarmstartError(
            f"{source_name(source)} doesn't say in which task it was trained: give source_task."
        )
    policy = source.policy()
    found: dict[str, list[Any]] = {name: [] for name in Transitions.__dataclass_fields__}
    made = make_vec(source.task, N_ENVS, seed=seed, n_threads=1)
    with generators_kept(), closing(policy.wrap(made)) as env:
        torch.manual_seed(seed)
        played = policy.told(env)
        observations, _ = played.reset(seed=seed)
        if isinstance(observations, dict):
            raise WarmstartError(f"{source.task} observes a dictionary: its transitions can't be kept.")
        for _ in range(-(-steps // N_ENVS)):
            actions = policy.predict(observations, deterministic)
            following, rewards, terminated, truncated, infos = played.step(actions)
            after = following.copy()
            ended = np.flatnonzero(terminated | truncated)
            if len(ended) and "final_obs" in infos:
                for index in ended:
                    after[index] = infos["final_obs"][index]
            row = (observations, actions, rewards, after, terminated, truncated)
            for name, value in zip(found, row, strict=True):
                found[name].append(np.array(value))
            observations = following
    joined = {name: np.stack(values).swapaxes(0, 1) for name, values in found.items()}
    return Transitions(**{name: value.reshape(-1, *value.shape[2:]) for name, value in joined.items()})
