"""Checkpoints: a directory of safetensors and JSON that holds a portable policy and can't run code.

``policy.safetensors`` has SB3's names for the tensors, ``checkpoint.json`` everything else with the hashes
of both.
"""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors.torch
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.checkpoints.architecture import algorithm_name, build_policy, policy_kwargs_of
from warmstart.agents.checkpoints.normalization import NormalizerState, read
from warmstart.agents.checkpoints.policy import Policy, load_tensors
from warmstart.agents.checkpoints.spaces import space_to_json
from warmstart.agents.observing.base import ENCODER_FILE, FrozenVision, Vision
from warmstart.core.errors import WarmstartError
from warmstart.core.files import canonical_json, file_hash, json_hash, sync_directory, write_synced
from warmstart.envs.sb3 import env_attribute
from warmstart.envs.simulation.layouts import Layout

if TYPE_CHECKING:
    from warmstart.envs.tasks.task import Task

FORMAT = 1
TENSORS, METADATA = "policy.safetensors", "checkpoint.json"
EXTRA = "extra."
LIBRARIES = ("warmstart", "torch", "stable_baselines3", "gymnasium", "mujoco", "numpy")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A policy, what it takes and gives, and where it comes from."""

    algorithm: str
    """``ppo``, ``sac`` or ``td3``."""
    tensors: dict[str, torch.Tensor]
    """Parameters by SB3's names; what isn't the policy's own is named ``extra.…``
    (``extra.log_ent_coef``)."""
    observation_space: spaces.Space[Any]
    """What one observation is."""
    action_space: spaces.Space[Any]
    """What one action is."""
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    """Architecture as plain values: ``net_arch``, ``activation``, …"""
    observation_layout: Layout | None = None
    """Names of the observation's dimensions."""
    action_layout: Layout | None = None
    """Names of the action's dimensions."""
    normalizer: NormalizerState | None = None
    """Statistics by which observations are standardised, if they are."""
    task: str | None = None
    """Text form of the task it was trained in."""
    steps: int = 0
    """Environment steps it was trained for."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    """Plain numbers of the training algorithm (``gamma``, ``learning_rate``, …)."""
    trainability: list[dict[str, Any]] | None = None
    """Rules of what trained and what was frozen."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries it was made with."""
    vision: Vision | None = None
    """How its agent makes observations of frames; ``None`` for one that observes states."""
    path: Path | None = None
    """Where it was read from."""
    format: Literal["warmstart", "sb3"] = "warmstart"
    """Kind of file it was read from."""
    notes: tuple[str, ...] = ()
    """What was changed or left behind when it was read, a sentence each."""

    @property
    def policy_tensors(self) -> dict[str, torch.Tensor]:
        """The policy's own parameters."""
        return {name: value for name, value in self.tensors.items() if not name.startswith(EXTRA)}

    def policy(self, device: str | torch.device = "cpu") -> Policy:
        """A policy that acts, on a device."""
        module = build_policy(self.algorithm, self.observation_space, self.action_space, self.policy_kwargs)
        load_tensors(module, self.policy_tensors)
        module.to(device)
        module.set_training_mode(False)
        return Policy(module, self.normalizer, self.vision)

    def fingerprint(self) -> str:
        """sha256 over the tensors and the normaliser: the same for the same policy, wherever it lies."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            value = self.tensors[name].detach().cpu().contiguous()
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(
                value.view(torch.uint8).numpy().tobytes() if value.ndim else value.numpy().tobytes()
            )
        if self.normalizer is not None:
            digest.update(canonical_json(self.normalizer.to_json()).encode())
        return digest.hexdigest()


def checkpoint_of(
    model: BaseAlgorithm,
    *,
    task: "Task | str | None" = None,
    steps: int | None = None,
    observation_layout: Layout | None = None,
    action_layout: Layout | None = None,
) -> Checkpoint:
    """Take a model's policy as it is now.

    Args:
        model: A PPO, SAC or TD3 model, ours or SB3's.
        task: The task it was trained in; ``None`` takes the environment's own, if it knows it.
        steps: Environment steps of training; ``None`` takes the model's count.
        observation_layout: Names of the observation's dimensions; ``None`` takes the environment's.
        action_layout: Names of the action's dimensions; ``None`` takes the environment's.
    """
    env = model.get_env()
    algorithm = algorithm_name(model)
    tensors = {name: value.detach().cpu().clone() for name, value in model.policy.state_dict().items()}
    for name in ("log_ent_coef", "ent_coef_tensor"):
        value = getattr(model, name, None)
        if value is not None:
            tensors[EXTRA + name] = value.detach().cpu().clone()
    rules = getattr(model, "trainability", None)
    known = task if task is not None else env_attribute(env, "task")
    return Checkpoint(
        algorithm=algorithm,
        tensors=tensors,
        observation_space=model.observation_space,
        action_space=model.action_space,
        policy_kwargs=policy_kwargs_of(model),
        observation_layout=observation_layout or env_attribute(env, "observation_layout"),
        action_layout=action_layout or env_attribute(env, "action_layout"),
        normalizer=None if env is None else read(env),
        task=None if known is None else str(known),
        steps=model.num_timesteps if steps is None else steps,
        hyperparameters=hyperparameters_of(model),
        trainability=None if rules is None else rules.to_json(),
        versions=library_versions(),
        vision=env_attribute(env, "vision"),
    )


def save_checkpoint(
    model: BaseAlgorithm | Checkpoint,
    path: str | Path,
    *,
    task: "Task | str | None" = None,
    steps: int | None = None,
    observation_layout: Layout | None = None,
    action_layout: Layout | None = None,
) -> Path:
    """Write a checkpoint directory, entirely or not at all.

    It is staged beside its target, synchronised to disk and renamed; a process killed at any moment leaves
    the old checkpoint or the new one.

    Args:
        model: A PPO, SAC or TD3 model, or a checkpoint.
        path: The directory to write; an earlier checkpoint there is replaced.
        task: See ``checkpoint_of``.
        steps: See ``checkpoint_of``.
        observation_layout: See ``checkpoint_of``.
        action_layout: See ``checkpoint_of``.

    Returns:
        The directory.

    Raises:
        WarmstartError: If something other than a checkpoint lies there, or the disk is full.
    """
    target = Path(path)
    if target.exists() and not (target / METADATA).is_file():
        raise WarmstartError(f"{target} exists and is not a checkpoint; choose another path or remove it.")
    if isinstance(model, Checkpoint):
        checkpoint = model
    else:
        checkpoint = checkpoint_of(
            model,
            task=task,
            steps=steps,
            observation_layout=observation_layout,
            action_layout=action_layout,
        )
    staged = target.parent / f".{target.name}.new-{os.getpid()}"
    previous = target.parent / f".{target.name}.previous"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        tensors = {name: value.contiguous() for name, value in checkpoint.tensors.items()}
        write_synced(staged / TENSORS, safetensors.torch.save(tensors))
        if isinstance(checkpoint.vision, FrozenVision):
            checkpoint.vision.encoder.save(staged / ENCODER_FILE)
        write_synced(staged / METADATA, metadata_bytes(checkpoint, file_hash(staged / TENSORS)))
        sync_directory(staged)
        if target.exists():
            shutil.rmtree(previous, ignore_errors=True)
            target.rename(previous)
        staged.rename(target)
        sync_directory(target.parent)
        shutil.rmtree(previous, ignore_errors=True)
    except OSError as error:
        raise WarmstartError(f"The checkpoint {target} could not be written: {error}.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def metadata_bytes(checkpoint: Checkpoint, tensors_sha256: str) -> bytes:
    """Content of ``checkpoint.json``; its own hash comes last."""
    values = {
        "format": FORMAT,
        **plain_fields(checkpoint),
        "normalizer": None if checkpoint.normalizer is None else checkpoint.normalizer.to_json(),
        "tensors_sha256": tensors_sha256,
    }
    values["sha256"] = json_hash(values)
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


def plain_fields(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything about a checkpoint but its numbers, as plain values."""
    observation, action = checkpoint.observation_layout, checkpoint.action_layout
    return {
        "algorithm": checkpoint.algorithm,
        "task": checkpoint.task,
        "steps": checkpoint.steps,
        "observation_space": space_to_json(checkpoint.observation_space),
        "action_space": space_to_json(checkpoint.action_space),
        "observation_layout": None if observation is None else observation.to_json(),
        "action_layout": None if action is None else action.to_json(),
        "policy_kwargs": checkpoint.policy_kwargs,
        "hyperparameters": checkpoint.hyperparameters,
        "trainability": checkpoint.trainability,
        "versions": checkpoint.versions,
        **({} if checkpoint.vision is None else {"vision": checkpoint.vision.to_json()}),
    }


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """What ``warmstart inspect`` shows: plain values, with every tensor's shape and type.

    The normaliser is summed up by its observations' count and settings.
    """
    tensors = {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in checkpoint.tensors.items()
    }
    normalizer = None
    if checkpoint.normalizer is not None:
        values = checkpoint.normalizer.to_json()
        normalizer = {name: value for name, value in values.items() if name not in ("mean", "var")}
    return {
        "path": None if checkpoint.path is None else str(checkpoint.path),
        "format": checkpoint.format,
        **plain_fields(checkpoint),
        "normalizer": normalizer,
        "parameters": sum(value.numel() for value in checkpoint.policy_tensors.values()),
        "tensors": tensors,
        "fingerprint": checkpoint.fingerprint(),
        "notes": list(checkpoint.notes),
    }


def hyperparameters_of(model: BaseAlgorithm) -> dict[str, Any]:
    """The numbers a model trains with, as far as they are plain."""
    names = [
        "learning_rate",
        "n_steps",
        "batch_size",
        "n_epochs",
        "gamma",
        "gae_lambda",
        "ent_coef",
        "vf_coef",
        "max_grad_norm",
        "target_kl",
        "normalize_advantage",
        "use_sde",
        "sde_sample_freq",
        "tau",
        "buffer_size",
        "learning_starts",
        "gradient_steps",
        "policy_delay",
        "target_policy_noise",
        "target_noise_clip",
        "target_entropy",
        "target_update_interval",
        "n_envs",
    ]
    values = {name: getattr(model, name, None) for name in names}
    return {name: v for name, v in values.items() if isinstance(v, bool | int | float | str)}


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {name: version(name) for name in LIBRARIES}
