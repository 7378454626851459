"""Small agents of every kind as checkpoints: every algorithm, way of observing and kind of space."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sb3_contrib
import torch

from tests.sim2real.export.encoders import fitted
from warmstart.agents.build import build_agent, make_training_env
from warmstart.agents.checkpoints.checkpoint import Checkpoint, checkpoint_of
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import make_encoder
from warmstart.agents.extractors.seams import encoder_seams
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.base import EncodedFrames, StackedFrames
from warmstart.agents.observing.history import ObservationHistory
from warmstart.agents.observing.privileged import PrivilegedObservation
from warmstart.agents.settings.config import (
    CrossQConfig,
    PPOConfig,
    SACConfig,
    TD3Config,
    TQCConfig,
)
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.sim2real.export.export import Exported, export_policy

PENDULUM = "InvertedPendulum-v5"
ON: dict[str, Any] = {"n_envs": 2, "n_steps": 16, "batch_size": 16, "n_epochs": 1, "net_arch": (8,)}
OFF: dict[str, Any] = {
    "n_envs": 2,
    "buffer_size": 64,
    "learning_starts": 16,
    "batch_size": 8,
    "net_arch": (8, 8),
}
PPO = PPOConfig(**ON)
CONFIGS = {
    "ppo": PPO,
    "ppo, gSDE": PPOConfig(**ON, use_sde=True),
    "sac": SACConfig(**OFF),
    "sac, simba": SACConfig(**{**OFF, "network": "simba", "normalize_obs": True}),
    "td3": TD3Config(**OFF),
    "tqc": TQCConfig(**OFF),
    "crossq": CrossQConfig(**OFF),
    "crossq, simba": CrossQConfig(**OFF, network="simba", normalize_obs=True, critic_net_arch=(8,)),
}
"""Every algorithm, by name."""


def agent(config: Any, task: str, vision: Any = None, seams: Any = None, steps: int = 64) -> Checkpoint:
    """A checkpoint of an agent after a few steps."""
    env = make_training_env(config, task, 0, vision=vision)
    made = {} if seams is None else {"seams": seams(env.observation_space)}
    model = build_agent(config, env, 0, device="cpu", **made).learn(steps)
    with torch.no_grad():  # an actor that has learnt hardly anything gives almost the same action everywhere
        for parameter in model.policy.parameters():
            parameter.mul_(1.5)
    return checkpoint_of(model, task=task)


@functools.cache
def small() -> Checkpoint:
    """A small agent of states, which nothing changes."""
    return agent(PPO, PENDULUM)


@functools.cache
def exported() -> Exported:
    """The same as a graph."""
    return export_policy(small(), episodes=2)


@functools.cache
def balancing() -> Checkpoint:
    """A linear policy, set by hand, that balances the pendulum for whole episodes."""
    env = make_training_env(PPOConfig(**{**ON, "net_arch": ()}, normalize_obs=False), PENDULUM, 0)
    model = build_agent(PPOConfig(**{**ON, "net_arch": ()}, normalize_obs=False), env, 0, device="cpu")
    with torch.no_grad():
        model.policy.action_net.weight.copy_(torch.tensor([[1.42, 7.26, 0.84, 2.33]]))
        model.policy.action_net.bias.zero_()
    return checkpoint_of(model, task=PENDULUM)


def frozen(task: str, **settings: Any) -> Checkpoint:
    """An agent that observes through a frozen encoder."""
    return agent(PPO, task, EncodedFrames(fitted(task, **settings)))


def trained_encoder(task: str, algorithm: str = "ppo", **settings: Any) -> Checkpoint:
    """An agent whose encoder is part of its policy."""
    encoder = make_encoder(EncoderConfig(architecture="drq", features=6), (24, 24))
    training = EncoderTraining(encoder="drq:features=6", train="fine_tuned", **settings)
    config = PPO if algorithm == "ppo" else CONFIGS[algorithm]
    return agent(
        config, task, StackedFrames(2), lambda space: encoder_seams(training, encoder, algorithm, space)
    )


def recurrent(shared: bool) -> Checkpoint:
    """A policy with an LSTM of two layers."""
    more = {"shared_lstm": True, "enable_critic_lstm": False} if shared else {}
    model = sb3_contrib.RecurrentPPO(
        "MlpLstmPolicy",
        PENDULUM,
        n_steps=32,
        batch_size=16,
        policy_kwargs={"net_arch": [8], "lstm_hidden_size": 6, "n_lstm_layers": 2, **more},
        device="cpu",
        seed=0,
    ).learn(64)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "r.zip")
        return load_checkpoint(Path(folder) / "r.zip")


STATES: dict[str, Callable[[], Checkpoint]] = {
    **{name: lambda config=config: agent(config, PENDULUM) for name, config in CONFIGS.items()},
    "not normalised": lambda: agent(PPOConfig(**ON, normalize_obs=False), PENDULUM),
    "history": lambda: agent(PPO, PENDULUM, ObservationHistory(4)),
    "history without actions": lambda: agent(PPO, PENDULUM, ObservationHistory(3, actions=False)),
    "history, sac": lambda: agent(CONFIGS["sac"], PENDULUM, ObservationHistory(2)),
    "privileged critic": lambda: agent(PPO, PENDULUM + "@gear=x0.9", PrivilegedObservation(("gear",))),
    "privileged critic, sac": lambda: agent(CONFIGS["sac"], PENDULUM, PrivilegedObservation(("gear",))),
    "recurrent": lambda: recurrent(False),
    "recurrent, shared": lambda: recurrent(True),
    "discrete": lambda: agent(PPO, "CartPole-v1"),
    "discrete observations": lambda: agent(PPO, "FrozenLake-v1:is_slippery=false"),
    "bins, one": lambda: agent(PPO, PENDULUM + ":action_bins=5"),
    "bins, several": lambda: agent(PPO, "Reacher-v5:action_bins=3"),
    "a plain one with limits": lambda: agent(PPO, "Pendulum-v1"),
}
"""Agents that observe no frames."""
PIXELS = "InvertedPendulum-v5:obs=pixels,size=24"
BOTH = "InvertedPendulum-v5:obs=pixels+state,size=24"
FRAMES: dict[str, Callable[[], Checkpoint]] = {
    "frozen": lambda: frozen(PIXELS),
    "frozen, one frame": lambda: frozen(PIXELS, frames=1),
    "frozen, three frames and state": lambda: frozen(BOTH, frames=3),
    "trained encoder": lambda: trained_encoder(PIXELS),
    "trained encoder and state": lambda: trained_encoder(BOTH),
    "trained encoder, adapters": lambda: trained_encoder(PIXELS, adapter_rank=2),
    "trained encoder, sac": lambda: trained_encoder(PIXELS, "sac"),
}
"""Agents that observe frames."""
