"""What a study's encoders come to before anything runs: their weights' files, and the trials that pretrain them."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from warmstart.agents.encoder_config import EncoderConfig
from warmstart.envs.errors import WarmstartError
from warmstart.envs.tasks import Task
from warmstart.experiments.arms import ResolvedArm
from warmstart.experiments.settings import override, to_plain
from warmstart.experiments.study import StudyError, checked
from warmstart.experiments.trial_config import ENCODER_ARM, PlannedTrial, TrialConfig
from warmstart.experiments.yaml_files import Place
from warmstart.transfer.pretrained import MissingWeightsError, find_weights
from warmstart.transfer.pretraining import PretrainingConfig


def weights_missing(arm: ResolvedArm, place: Place) -> str:
    """Why an optional arm can't run here, in one sentence; empty if it can.

    Raises:
        StudyError: The encoder isn't known, or the weights of an arm that isn't optional are missing.
    """
    if arm.vision is None:
        return ""
    text = arm.vision.encoder
    config = checked((*place, "vision"), lambda: EncoderConfig.parse(text))
    if arm.vision.pretrain:
        checked((*place, "vision", "pretrain"), lambda: pretraining_of(arm))
    try:
        find_weights(config)
    except MissingWeightsError as missing:
        if arm.optional:
            return str(missing)
        raise StudyError((*place, "vision"), str(missing)) from None
    except WarmstartError as wrong:
        raise StudyError((*place, "vision"), str(wrong)) from None
    return ""


def planned_vision(arm: ResolvedArm, weights: dict[str, Path]) -> dict[str, Any]:
    """How an arm's agents see, as plain values without a path; notes the file of its weights.

    Args:
        arm: The arm.
        weights: Files by sha256, to which the encoder's is added.

    Returns:
        Every setting of `VisionConfig`, and ``sha256`` of the file where there is one; empty where the arm
        observes states.
    """
    if arm.vision is None:
        return {}
    values: dict[str, Any] = to_plain(arm.vision)
    values.pop("pretrain")
    config = EncoderConfig.parse(arm.vision.encoder)
    path = find_weights(config)
    if path is None:
        return {**values, "encoder": str(config)}
    sha256 = content_sha256(path)
    weights[sha256] = path
    named = replace(config, file=path.name) if config.file else config
    if config.weights not in ("random",) and not config.file and Path(config.weights).name != config.weights:
        named = replace(config, weights=path.name)
    return {**values, "encoder": str(named), "sha256": sha256}


def encoder_trial(arm: ResolvedArm, shared: TrialConfig, vision: dict[str, Any]) -> PlannedTrial | None:
    """The trial that pretrains an arm's encoder on frames of the source task; None where there is none to do."""
    if arm.vision is None or not arm.vision.pretrain or arm.source is None:
        return None
    pretraining = pretraining_of(arm)
    own = {key: vision[key] for key in ("encoder", "sha256") if key in vision}
    config = replace(
        shared,
        kind="encoder",
        task=str(with_state(arm.source)),
        steps=pretraining.updates,
        vision={**own, "pretrain": to_plain(pretraining)},
        evaluation_episodes=0,
        evaluation_seed=0,
    )
    return PlannedTrial(config, ENCODER_ARM)


def pretraining_of(arm: ResolvedArm) -> PretrainingConfig:
    """The settings of an arm's pretraining, checked by name."""
    assert arm.vision is not None
    return override(PretrainingConfig(), arm.vision.pretrain)


def with_state(task: Task) -> Task:
    """The task with its state beside the frames, which probes of the encoder are judged by."""
    return task.with_options(obs="pixels+state")


def content_sha256(path: Path) -> str:
    """sha256 of a file, or of a folder's files by name."""
    digest = hashlib.sha256()
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
