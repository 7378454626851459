"""Observations that stand beside an agent's own for a teacher, which its student never reads.

The agent's networks hold columns of zeros for them, which don't move; a checkpoint leaves them out.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from warmstart.envs.frames.options import state_task
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.tasks.task import Task

Sees = Literal["all", "pixels", "state"]
"""What an agent reads of observations that hold features of frames and the state."""


@dataclass(frozen=True)
class Unseen:
    """What of its observations an agent doesn't read."""

    sees: Sees
    """What it does read."""
    dimensions: tuple[int, ...]
    """Indices of the others."""
    layers: tuple[str, ...]
    """Names of the weights whose first columns are observations."""


def without_unseen(checkpoint: Any, unseen: Unseen) -> Any:
    """The same policy for observations that hold nothing but what it reads."""
    space: Any = checkpoint.observation_space
    size = spaces.flatdim(space)
    keep = np.setdiff1d(np.arange(size), unseen.dimensions)

    def kept(values: Any) -> Any:
        return values[keep] if isinstance(values, np.ndarray) else values

    tensors = dict(checkpoint.tensors)
    for name in unseen.layers:
        columns: NDArray[np.intp] = np.concatenate([keep, np.arange(size, tensors[name].shape[1])])
        tensors[name] = tensors[name][:, columns.tolist()].contiguous()
    layout, normalizer = checkpoint.observation_layout, checkpoint.normalizer
    return replace(
        checkpoint,
        tensors=tensors,
        observation_space=spaces.Box(space.low[keep], space.high[keep], dtype=space.dtype),
        observation_layout=None if layout is None else Layout(tuple(layout.dimensions[i] for i in keep)),
        normalizer=None
        if normalizer is None
        else replace(normalizer, mean=kept(normalizer.mean), var=kept(normalizer.var)),
        task=None if checkpoint.task is None else _task(checkpoint.task, unseen.sees),
        vision=None if unseen.sees == "state" else checkpoint.vision,
    )


def _task(text: str, sees: Sees) -> str:
    task = Task.parse(text)
    return str(state_task(task) if sees == "state" else task.with_options(obs="pixels"))
