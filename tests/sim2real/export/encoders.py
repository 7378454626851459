"""A small encoder for a task's frames."""

from typing import Any

import numpy as np
import torch

from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder, make_encoder
from warmstart.envs.vector import make_vec


def fitted(task: str, **settings: Any) -> Encoder:
    """A small random encoder, its readout fitted on frames of a task."""
    env = make_vec(task, 4, seed=0)
    env.reset(seed=0)
    env.action_space.seed(0)
    frames = []
    for _ in range(8):
        seen = env.step(env.action_space.sample())[0]
        frames.append(seen["pixels"] if isinstance(seen, dict) else seen)
    env.close()
    config = EncoderConfig(**{"architecture": "drq", "features": 6, **settings})
    encoder = make_encoder(config, frames[0].shape[1:])
    encoder.fit(torch.from_numpy(np.concatenate(frames)))
    return encoder
