"""Checkpoints: a directory of safetensors and JSON that holds a portable policy and can't run code.

``policy.safetensors`` has SB3's names for the tensors, ``checkpoint.json`` everything else with the hashes
of both.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import safetensors.torch
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import Unpack

from warmstart.agents.checkpoints.architecture import algorithm_name, build_policy, policy_kwargs_of
from warmstart.agents.checkpoints.normalization import NormalizerState, read_normalizer
from warmstart.agents.checkpoints.places import METADATA
from warmstart.agents.checkpoints.policy import Policy, RecurrentPolicy, load_tensors
from warmstart.agents.checkpoints.recurrent import RECURRENT
from warmstart.agents.checkpoints.replay import REPLAY, replay_tensors
from warmstart.agents.checkpoints.spaces import space_from_json, space_to_json
from warmstart.agents.checkpoints.unseen import without_unseen
from warmstart.agents.encoders.tensors import tensors_digest
from warmstart.agents.observing.base import ENCODER_FILE, EncodedFrames, Observing
from warmstart.agents.rewards.base import named_reward, trained_on
from warmstart.agents.settings.config import ALGORITHMS
from warmstart.core.bounds import Bounds, Settings, State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import canonical_json, file_hash, json_hash, sync_directory, write_synced
from warmstart.core.plain import setting_names, to_plain
from warmstart.envs.sb3 import env_attribute
from warmstart.envs.simulation.layouts import Layout

if TYPE_CHECKING:
    from warmstart.envs.tasks.task import Task

FORMAT = 1
TENSORS, EXTRA = "policy.safetensors", "extra."
LIBRARIES = ("warmstart", "torch", "stable_baselines3", "gymnasium", "mujoco", "numpy")
log = logging.getLogger(__name__)
version = cache(metadata.version)  # which parses a file


@dataclass(frozen=True)
class Checkpoint:
    """A policy, what it takes and gives, and where it comes from."""

    algorithm: str
    """``ppo``, ``sac``, ``td3``, ``tqc``, ``crossq``, or ``recurrent_ppo``, which isn't trained."""
    tensors: dict[str, torch.Tensor]
    """Parameters by SB3's names, in SB3's shapes; what isn't the policy's own is named ``extra.…``
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
    evaluation: dict[str, float] | None = None
    """Its last evaluation: ``step`` of training, mean ``return``, number of ``episodes``; ``None`` for
    none."""
    reward: dict[str, Any] | None = None
    """What it was trained on in place of the task's reward; ``None`` for that, or where nobody knows."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    """Plain numbers of the training algorithm (``gamma``, ``learning_rate``, …)."""
    trainability: list[dict[str, Any]] | None = None
    """Rules of what trained and what was frozen."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries it was made with."""
    replay: str | None = None
    """sha256 of the replay buffer beside it; ``None`` for none."""
    vision: Observing | None = None
    """How its agent makes observations of frames; ``None`` for one that observes states."""
    critic: bool = True
    """Whether it has a critic; a source of PPO without one leaves the target's as it is."""
    path: Path | None = None
    """Where it was read from."""
    format: Literal["warmstart", "sb3", "rsl_rl"] = "warmstart"
    """Kind of file it was read from."""
    notes: tuple[str, ...] = ()
    """What was changed or left behind when it was read, a sentence each."""

    @property
    def policy_tensors(self) -> dict[str, torch.Tensor]:
        """The policy's own parameters by SB3's names, in SB3's shapes."""
        return {name: value for name, value in self.tensors.items() if not name.startswith(EXTRA)}

    def policy(self, device: str | torch.device = "cpu") -> Policy:
        """A policy that acts, on a device.

        Raises:
            WarmstartError: Architecture, spaces and tensors don't go together.
        """
        try:
            module = build_policy(
                self.algorithm, self.observation_space, self.action_space, self.policy_kwargs
            )
            load_tensors(module, self.policy_tensors, critic=self.critic)
        except WarmstartError as error:
            raise WarmstartError(f"{self.path or 'The checkpoint'}: {error}") from error
        module.to(device)
        module.set_training_mode(False)
        kind = RecurrentPolicy if self.algorithm == RECURRENT else Policy
        return kind(module, self.normalizer, self.vision)

    def fingerprint(self) -> str:
        """sha256 over the tensors and the normaliser: the same for the same policy, wherever it lies."""
        digest = tensors_digest(self.tensors)
        if self.normalizer is not None:
            digest.update(canonical_json(self.normalizer.to_json()).encode())
        return digest.hexdigest()


class Known(TypedDict, total=False):
    """What is known of a model better than it knows itself; ``None`` takes its own or its environment's."""

    task: "Task | str | None"
    """The task it was trained in."""
    steps: int | None
    """Environment steps of training."""
    evaluation: dict[str, float] | None
    """Its last evaluation, as in `Checkpoint`."""
    observation_layout: Layout | None
    """Names of the observation's dimensions."""
    action_layout: Layout | None
    """Names of the action's dimensions."""


def checkpoint_of(model: BaseAlgorithm, **known: Unpack[Known]) -> Checkpoint:
    """Take a policy of a PPO, SAC or TD3 model, ours or SB3's, as it is now, with what is known of it."""
    env = model.get_env()
    algorithm = algorithm_name(model)
    tensors = {name: value.detach().cpu().clone() for name, value in model.policy.state_dict().items()}
    for name in ("log_ent_coef", "ent_coef_tensor"):
        value = getattr(model, name, None)
        if value is not None:
            tensors[EXTRA + name] = value.detach().cpu().clone()
    rules = getattr(model, "trainability", None)
    told = {"task": env_attribute(env, "task"), "steps": model.num_timesteps}
    told |= {name: env_attribute(env, name) for name in ("observation_layout", "action_layout")}
    told |= {name: value for name, value in known.items() if value is not None}
    checkpoint = Checkpoint(
        algorithm=algorithm,
        tensors=tensors,
        observation_space=model.observation_space,
        action_space=model.action_space,
        policy_kwargs=policy_kwargs_of(model),
        observation_layout=told["observation_layout"],
        action_layout=told["action_layout"],
        normalizer=None if env is None else read_normalizer(env),
        task=None if told["task"] is None else str(told["task"]),
        steps=told["steps"],
        evaluation=told.get("evaluation"),
        reward=trained_on(env),
        hyperparameters=hyperparameters_of(model),
        trainability=None if rules is None else to_plain(rules.rules),
        versions=library_versions(),
        vision=env_attribute(env, "vision"),
    )
    unseen = getattr(model, "unseen", None)
    return checkpoint if unseen is None else without_unseen(checkpoint, unseen)


def save_checkpoint(
    model: BaseAlgorithm | Checkpoint, path: str | Path, *, keep_replay: bool = False, **known: Unpack[Known]
) -> Path:
    """Write a checkpoint directory, entirely or not at all.

    It is staged beside its target, synchronised to disk and renamed; a process killed at any moment leaves
    the old checkpoint or the new one.

    Args:
        model: A PPO, SAC or TD3 model, or a checkpoint.
        path: The directory to write; an earlier checkpoint there is replaced.
        keep_replay: Whether an off-policy model's replay buffer is written beside it.
        known: What is known of a model better than it knows itself: ``task``, ``steps``, layouts.

    Returns:
        The directory.

    Raises:
        WarmstartError: If something other than a checkpoint lies there, the disk is full, or there is no
            replay buffer to keep.
    """
    target = Path(path)
    if target.exists() and not (target / METADATA).is_file():
        raise WarmstartError(f"{target} exists and is not a checkpoint; choose another path or remove it.")
    checkpoint = model if isinstance(model, Checkpoint) else checkpoint_of(model, **known)
    if keep_replay and isinstance(model, Checkpoint):
        raise WarmstartError("A checkpoint has no replay buffer to keep; a model has.")
    steps = replay_tensors(model) if keep_replay and isinstance(model, BaseAlgorithm) else None
    staged = target.parent / f".{target.name}.new-{os.getpid()}"
    previous = target.parent / f".{target.name}.previous"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        tensors = {name: value.contiguous() for name, value in checkpoint.tensors.items()}
        write_synced(staged / TENSORS, safetensors.torch.save(tensors))
        if isinstance(checkpoint.vision, EncodedFrames):
            checkpoint.vision.encoder.save(staged / ENCODER_FILE)
        if steps is not None:
            write_synced(staged / REPLAY, safetensors.torch.save(steps))
            checkpoint = replace(checkpoint, replay=file_hash(staged / REPLAY))
        elif checkpoint.replay is not None and checkpoint.path is not None:
            shutil.copyfile(checkpoint.path / REPLAY, staged / REPLAY)
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
        "tensors_sha256": tensors_sha256,
    }
    values["sha256"] = json_hash(values)
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


Codec = tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]


def _plain(kind: Any) -> Codec:
    return kind, lambda value: value, lambda value: value


RECORDED: dict[str, Codec] = {
    "algorithm": _plain(Literal["ppo", "sac", "td3", "tqc", "crossq", "recurrent_ppo"]),
    "task": _plain(str | None),
    "steps": _plain(Annotated[int, Bounds(0, 1 << 62)]),
    "evaluation": _plain(dict[str, int | float] | None),
    "reward": (dict[str, Any] | None, dict, named_reward),
    "observation_space": (Settings, space_to_json, space_from_json),
    "action_space": (Settings, space_to_json, space_from_json),
    "observation_layout": (list[Settings] | None, Layout.to_json, Layout.from_json),
    "action_layout": (list[Settings] | None, Layout.to_json, Layout.from_json),
    "policy_kwargs": _plain(dict[str, Any]),
    "hyperparameters": _plain(dict[str, bool | int | float | str]),
    "trainability": _plain(list[dict[str, Any]] | None),
    "versions": _plain(dict[str, str]),
    "replay": _plain(str | None),
    "critic": _plain(bool),
    "normalizer": (Settings | None, NormalizerState.to_json, NormalizerState.from_json),
}
"""Fields of a checkpoint in its metadata: what they are there, to plain values, and back. ``None`` stays."""
SINCE = frozenset({"evaluation", "replay", "reward", "critic"})
"""Those of them that earlier versions didn't write."""


def plain_fields(checkpoint: Checkpoint) -> State:
    """Everything about a checkpoint but its tensors, as plain values."""
    values = {name: getattr(checkpoint, name) for name in RECORDED}
    plain = {name: None if value is None else RECORDED[name][1](value) for name, value in values.items()}
    if checkpoint.vision is not None:
        plain["vision"] = checkpoint.vision.to_json()
    return plain


def hyperparameters_of(model: BaseAlgorithm) -> State:
    """The numbers a model trains with, as far as they are plain."""
    names = setting_names(ALGORITHMS[algorithm_name(model)])
    values = {name: getattr(model, name, None) for name in names}
    return {name: v for name, v in values.items() if isinstance(v, bool | int | float | str)}


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {name: version(name) for name in LIBRARIES}
