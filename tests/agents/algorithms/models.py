"""Models with seams, for tests."""

from typing import Any

import torch

from tests.agents.conftest import gym_env
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.sac import SAC
from warmstart.agents.algorithms.seams import (
    Seams,
)
from warmstart.agents.algorithms.td3 import TD3

ALGORITHMS = (PPO, SAC, TD3)


SETTINGS: dict[type, dict[str, Any]] = {
    PPO: {"n_steps": 16, "batch_size": 32},
    SAC: {"learning_starts": 8, "buffer_size": 300, "batch_size": 16},
    TD3: {"learning_starts": 8, "buffer_size": 300, "batch_size": 16},
}


TRUNK = {PPO: "mlp_extractor.policy_net.*", SAC: "actor.latent_pi.*", TD3: "actor.mu.0.*"}


def build(cls: Any, seams: Seams | None = None, **settings: Any) -> Any:
    kwargs = {"net_arch": [16, 16]}
    merged = {**SETTINGS[cls], "policy_kwargs": kwargs, "seed": 0, "device": "cpu", **settings}
    return cls("MlpPolicy", gym_env("Hopper-v5", 2), seams=seams, **merged)


def tensors(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def moved(model: Any, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, value in model.policy.state_dict().items() if not torch.equal(value, before[n])}
