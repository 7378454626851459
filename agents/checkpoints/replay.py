"""A replay buffer beside a checkpoint: the steps that an off-policy agent learned from, as plain numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from warmstart.agents.encoders.tensors import read_safetensors
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash

REPLAY = "replay.safetensors"
COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminated", "truncated")
"""Tensors of the file: steps in the order in which each environment took them, one environment after another;
not standardised, actions in the environment's range, ends as 0 and 1. Shapes: (n, …) and (n,)."""


def replay_tensors(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """A model's replay buffer, by `COLUMNS`.

    Raises:
        WarmstartError: It has none, or one of dictionaries or goals.
    """
    buffer: Any = getattr(model, "replay_buffer", None)
    if buffer is None:
        raise WarmstartError(f"{type(model).__name__} keeps no replay buffer: only off-policy agents do.")
    if not isinstance(buffer, ReplayBuffer) or isinstance(buffer, DictReplayBuffer):
        raise WarmstartError(f"Steps of arrays can be kept; this agent has a {type(buffer).__name__}.")
    count = buffer.buffer_size if buffer.full else buffer.pos
    order = (np.arange(count) + (buffer.pos if buffer.full else 0)) % buffer.buffer_size
    if not buffer.optimize_memory_usage:
        following = buffer.next_observations
    else:
        order = order[1:] if buffer.full else order  # the newest step's end lies where the oldest began
        following = np.roll(buffer.observations, -1, axis=0)
    policy: Any = model.policy
    ended, late = buffer.dones[order], buffer.timeouts[order]
    found: dict[str, NDArray[Any]] = {
        "observations": buffer.observations[order],
        "actions": policy.unscale_action(buffer.actions[order]),
        "rewards": buffer.rewards[order],
        "next_observations": following[order],
        "terminated": ended * (1 - late),
        "truncated": late,
    }
    rows = {name: values.swapaxes(0, 1).reshape(-1, *values.shape[2:]) for name, values in found.items()}
    kept = {n: v if v.dtype == np.uint8 else v.astype(np.float32) for n, v in rows.items()}
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in kept.items()}


def read_replay(checkpoint: Path, sha256: str | None) -> dict[str, NDArray[Any]]:
    """Read the replay buffer that lies beside a checkpoint, by `COLUMNS`.

    Args:
        checkpoint: Its folder.
        sha256: What the checkpoint says of the file; None where it has none.

    Raises:
        WarmstartError: There is none, or it isn't the one that was written.
    """
    path = checkpoint / REPLAY
    if sha256 is None or not path.is_file():
        raise WarmstartError(
            f"{checkpoint} was saved without its replay buffer: train with --keep-replay (keep_replay: true)."
        )
    if file_hash(path) != sha256:
        raise WarmstartError(f"{path} is truncated or was changed: its sha256 differs.")
    found = {name: tensor.numpy() for name, tensor in read_safetensors(path, checkpoint)[0].items()}
    if set(found) != set(COLUMNS) or len({len(values) for values in found.values()}) != 1:
        raise WarmstartError(
            f"{path}: expected {', '.join(COLUMNS)} of one length, found {', '.join(found)}."
        )
    return found
