"""Checkpoints from disk, whoever wrote them; nothing is unpickled."""

import logging
from dataclasses import replace
from pathlib import Path

from gymnasium.spaces.utils import flatdim

from warmstart.agents.checkpoints.architecture import check_size
from warmstart.agents.checkpoints.checkpoint import FORMAT, RECORDED, SINCE, TENSORS, Checkpoint
from warmstart.agents.checkpoints.places import CHOICES, METADATA, find_checkpoint
from warmstart.agents.encoders.tensors import MOST_BYTES, read_safetensors
from warmstart.agents.hub.taking import NORMALIZER, model_zip, read_pulled
from warmstart.agents.observing.table import read_observing
from warmstart.agents.rsl_rl_files.reader import is_rsl_rl, read_rsl_rl
from warmstart.agents.sb3_files.normalizer import read_trusted_normalizer
from warmstart.agents.sb3_files.zip import read_sb3_zip
from warmstart.core.bounds import SettingError, Settings, State, show
from warmstart.core.documents import Document
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.files import check_file, file_hash, json_hash, parse_json, read_text
from warmstart.core.plain import placed, read
from warmstart.envs.describe import describe
from warmstart.envs.robots.table import robots

log = logging.getLogger(__name__)


def load_checkpoint(
    path: str | Path,
    *,
    trust_normalizer: Path | str | None = None,
    activation: str | None = None,
    onnx: Path | str | None = None,
) -> Checkpoint:
    """Read a checkpoint directory, a stable-baselines3 zip, or a file of rsl_rl's; nothing is unpickled.

    Args:
        path: A directory that ``save_checkpoint`` wrote, a zip that SB3's ``model.save`` wrote, a ``.pt``
            that rsl_rl's PPO runner or mjlab wrote, or a trial's or run's folder, with ``:best`` or ``:last``
            where it shall be one of them, or a repository on the hub; see `find_checkpoint`.
        trust_normalizer: A file that SB3's ``VecNormalize.save`` wrote: a pickle, of which nothing is run.
        activation: Activation function of a file of rsl_rl's, which doesn't say it; ``None`` takes ``elu``.
        onnx: ONNX model that mjlab exported, whose metadata name the dimensions of a file of rsl_rl's;
            ``None`` takes the one beside it, if any.

    Raises:
        WarmstartError: If there is nothing, or the files are truncated, edited or foreign.
    """
    target = find_checkpoint(path)
    previous = target.parent / f".{target.name}.previous"
    if not target.exists() and (previous / METADATA).is_file():
        log.warning("%s is missing; reading %s, which an interrupted save left.", target, previous)
        target = previous
    if not target.exists() and target.with_name(target.name + ".zip").is_file():
        target = target.with_name(target.name + ".zip")
    if not target.exists():
        folder, _, word = str(target).rpartition(":")
        if folder and Path(folder).is_dir():
            raise unknown_name(f"checkpoint of {folder}", word, CHOICES)
        raise WarmstartError(
            f"There is no checkpoint at {target}: expected a directory, an SB3 zip or rsl_rl's .pt."
        )
    if target.is_file() and is_rsl_rl(target):
        checkpoint = read_rsl_rl(target, activation=activation, onnx=onnx)
    elif activation is not None or onnx is not None:
        what = "activation" if activation is not None else "onnx"
        raise WarmstartError(f"{what} describes a file that rsl_rl wrote, and {target} is none.")
    elif target.is_file():
        checkpoint = read_sb3_zip(target)
    else:
        checkpoint = read_directory(target) if (target / METADATA).exists() else read_zoo(target)
    if trust_normalizer is not None:
        checkpoint = replace(checkpoint, normalizer=read_trusted_normalizer(Path(trust_normalizer)))
    return checkpoint


def read_zoo(folder: Path) -> Checkpoint:
    """Read RL Zoo's files that were taken of a repository: SB3's zip, and the normaliser beside it.

    Neither is unpickled. The task that the zip is named after is taken where its spaces are the policy's.

    Raises:
        WarmstartError: The folder is nothing that was taken of a repository, or a file is damaged.
    """
    told = read_pulled(folder)
    if told is None:
        return read_directory(folder)  # says what is missing
    file = model_zip(told["files"], str(told.get("source")).rpartition("/")[2])
    checkpoint = read_sb3_zip(check_file(folder / file, within=folder))
    notes = list(checkpoint.notes)
    if NORMALIZER in told["files"]:
        path = check_file(folder / NORMALIZER, within=folder)
        checkpoint = replace(checkpoint, normalizer=read_trusted_normalizer(path))
        notes.append(f"Its observations are standardised by {NORMALIZER} beside it, a pickle read as data.")
    name = file.removesuffix(".zip").partition("-")[2]
    if name in robots() and _is_of(checkpoint, name):
        checkpoint = replace(checkpoint, task=name)
        notes.append(f"{name}, after which it is named, is taken to be the task that it was trained in.")
    elif name:
        notes.append(
            f"It is named after {name}; --source-task (source_task) says whose names its dimensions have."
        )
    return replace(checkpoint, path=folder, notes=tuple(notes))


def _is_of(checkpoint: Checkpoint, task: str) -> bool:
    """Whether a policy takes and gives what a task's environments give and take."""
    there = describe(task)
    pairs = (
        (checkpoint.observation_space, there.observation_space),
        (checkpoint.action_space, there.action_space),
    )
    return all(own.shape == other.shape for own, other in pairs)


def read_directory(directory: Path) -> Checkpoint:
    """Read and verify a checkpoint directory.

    Raises:
        WarmstartError: If a file is missing, damaged, edited or no such file; names file, place and reason.
    """
    metadata, path = directory / METADATA, directory / TENSORS
    for name in (METADATA, TENSORS):
        if not (directory / name).exists():
            raise WarmstartError(
                f"{directory} is not a checkpoint: expected {METADATA} and {TENSORS}, {name} is missing."
            )
    values = parse_json(read_text(metadata, within=directory), str(metadata))
    if not isinstance(values, dict) or "format" not in values or "sha256" not in values:
        raise WarmstartError(f"{metadata} is not a checkpoint's: expected an object with format and sha256.")
    if values["format"] != FORMAT or isinstance(values["format"], bool):
        raise WarmstartError(
            f"{metadata} has the format {show(values['format'])}, expected {FORMAT}; update warmstart."
        )
    if json_hash({key: value for key, value in values.items() if key != "sha256"}) != values["sha256"]:
        raise WarmstartError(f"{metadata} was changed after it was written: its sha256 differs.")
    document = Document(values, str(metadata))
    recorded = document.checked(lambda: _read_recorded(values))
    if file_hash(check_file(path, MOST_BYTES, directory)) != values.get("tensors_sha256"):
        raise WarmstartError(f"{path} is truncated or was changed: its sha256 differs.")
    checkpoint = Checkpoint(**recorded, tensors=read_safetensors(path)[0], path=directory)
    document.checked(lambda: _check_parts(checkpoint))
    if values.get("vision") is not None:
        settings = document.checked(lambda: read(Settings, values["vision"], ("vision",)))
        vision = document.checked(lambda: read_observing(settings, directory))
        checkpoint = replace(checkpoint, vision=vision)
    kwargs, own = checkpoint.policy_kwargs, checkpoint.policy_tensors
    document.checked(lambda: placed(("policy_kwargs",), check_size, kwargs, own))
    return checkpoint


def _read_recorded(values: Settings) -> State:
    """The fields of a checkpoint out of its metadata.

    Raises:
        SettingError: One is missing, or isn't what it should be.
    """
    found: State = {}
    for name, (kind, _, decode) in RECORDED.items():
        if name not in values and name in SINCE:
            continue
        if name not in values:
            raise SettingError((name,), "missing.")
        plain = read(kind, values[name], (name,))
        found[name] = None if plain is None else placed((name,), decode, plain)
    return found


def _check_parts(checkpoint: Checkpoint) -> None:
    """See that names and statistics are of the spaces that they stand beside.

    Raises:
        SettingError: They aren't.
    """
    for kind in ("observation", "action"):
        layout, space = getattr(checkpoint, f"{kind}_layout"), getattr(checkpoint, f"{kind}_space")
        if layout is not None and len(layout) != flatdim(space):
            wrong = f"expected {flatdim(space)} dimensions, those of {space}, found {len(layout)}."
            raise SettingError((f"{kind}_layout",), wrong)
    if checkpoint.normalizer is not None:
        placed(("normalizer",), checkpoint.normalizer.check_fits, checkpoint.observation_space)
