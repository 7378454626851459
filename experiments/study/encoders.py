"""What a study's encoders come to: their weights' files, and the trials that pretrain them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from warmstart.agents.encoders.config import EncoderConfig
from warmstart.core.bounds import Place, SettingError, State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import content_hash
from warmstart.core.plain import placed, replaced, to_plain
from warmstart.experiments.records.config import ENCODER_ARM, PlannedTrial, TrialConfig
from warmstart.experiments.study.arms import ResolvedArm
from warmstart.experiments.trial.observing import WEIGHTS
from warmstart.transfer.encoders.sources import MissingWeightsError, find_weights, locate
from warmstart.transfer.frames.acting import pixel_task
from warmstart.transfer.pretraining.pretraining import PretrainingConfig

_DECIDED = {
    "seed": "it is the trial's",
    "device": "it is the study's",
    "random_share": "actions are random, as there is no policy yet that sees by the encoder",
}
"""Settings of pretraining that a study decides, and why."""


def weights_missing(arm: ResolvedArm, place: Place) -> str:
    """Why an optional arm can't run here, in one sentence; empty if it can.

    Raises:
        SettingError: The encoder isn't known, or the weights of an arm that isn't optional are missing.
    """
    if arm.vision is None:
        return ""
    text = arm.vision.encoder
    config = placed((*place, "vision"), EncoderConfig.parse, text)
    if arm.vision.pretrain:
        placed((*place, "vision", "pretrain"), pretraining_of, arm)
    try:
        find_weights(config)
    except MissingWeightsError as missing:
        if arm.written.optional:
            return str(missing)
        raise SettingError((*place, "vision"), str(missing)) from None
    except WarmstartError as wrong:
        raise SettingError((*place, "vision"), str(wrong)) from None
    return ""


def licence_notes(arms: Sequence[ResolvedArm]) -> tuple[str, ...]:
    """What forbids commercial use of the weights that the arms start from, each said once."""
    notes: list[str] = []
    for arm in arms:
        config = None if arm.vision is None else EncoderConfig.parse(arm.vision.encoder)
        if config is None or config.file or config.weights == "random":
            continue
        found = locate(config)
        told = f"The weights {found.source} may not be used commercially (licence: {found.licence})."
        notes += [] if found.commercial else [told]
    return tuple(dict.fromkeys(notes))


def planned_vision(arm: ResolvedArm, files: dict[str, Path]) -> State:
    """What an arm's agents observe of frames, as plain values without a path.

    Args:
        arm: The arm.
        files: What the run keeps copies of, to which the file of the encoder's weights is added.

    Returns:
        Every setting of `EncoderTraining`, and ``sha256`` of the file where there is one; empty where the arm
        observes states.
    """
    if arm.vision is None:
        return {}
    values: State = to_plain(arm.vision)
    values.pop("pretrain")
    config = EncoderConfig.parse(arm.vision.encoder)
    path = find_weights(config)
    if path is None:
        return {**values, "encoder": str(config)}
    sha256 = content_hash(path)
    files[f"{WEIGHTS}/{sha256[:16]}/{path.name}"] = path
    named = replace(config, file=path.name) if config.file else config
    if not config.file and Path(config.weights).expanduser().exists():
        named = replace(config, weights=path.name)
    return {**values, "encoder": str(named), "sha256": sha256}


def encoder_trial(arm: ResolvedArm, shared: TrialConfig, vision: State) -> PlannedTrial | None:
    """The trial that pretrains an arm's encoder on frames of the source task, if there is one to do."""
    if arm.vision is None or not arm.vision.pretrain or arm.source is None:
        return None
    pretraining = pretraining_of(arm)
    own: State = {key: vision[key] for key in ("encoder", "sha256") if key in vision}
    config = replace(
        shared,
        kind="encoder",
        task=str(pixel_task(arm.source)),
        steps=pretraining.updates,
        evaluation_every=max(1, pretraining.updates // 20),
        vision={**own, "randomize": dict(arm.vision.randomize), "pretrain": to_plain(pretraining)},
        evaluation_episodes=0,
        evaluation_seed=0,
    )
    return PlannedTrial(config, ENCODER_ARM)


def pretraining_of(arm: ResolvedArm) -> PretrainingConfig:
    """The settings of an arm's pretraining, checked by name."""
    assert arm.vision is not None
    for name, why in _DECIDED.items():
        if name in arm.vision.pretrain:
            raise WarmstartError(f"pretrain: {name} can't be set in a study: {why}.")
    return replaced(PretrainingConfig(), arm.vision.pretrain)
