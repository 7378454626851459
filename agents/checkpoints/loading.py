"""Checkpoints from disk, whoever wrote them; nothing is unpickled."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import safetensors.torch

from warmstart.agents.checkpoints.checkpoint import FORMAT, METADATA, RECORDED, TENSORS, Checkpoint
from warmstart.agents.checkpoints.sb3_normalizer import read_trusted_normalizer
from warmstart.agents.checkpoints.sb3_zip import read_sb3_zip
from warmstart.agents.observing.table import read_observing
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash, json_hash

log = logging.getLogger(__name__)


def load_checkpoint(path: str | Path, *, trust_normalizer: Path | str | None = None) -> Checkpoint:
    """Read a checkpoint directory, or a stable-baselines3 zip; nothing is unpickled.

    Args:
        path: A directory that ``save_checkpoint`` wrote, or a zip that SB3's ``model.save`` wrote.
        trust_normalizer: A file that SB3's ``VecNormalize.save`` wrote: a pickle, of which nothing is run.

    Raises:
        WarmstartError: If there is nothing, or the files are truncated, edited or foreign.
    """
    target = Path(path)
    previous = target.parent / f".{target.name}.previous"
    if not target.exists() and (previous / METADATA).is_file():
        log.warning("%s is missing; reading %s, which an interrupted save left.", target, previous)
        target = previous
    if not target.exists() and target.with_name(target.name + ".zip").is_file():
        target = target.with_name(target.name + ".zip")
    if not target.exists():
        raise WarmstartError(f"There is no checkpoint at {target}: expected a directory or an SB3 zip.")
    checkpoint = read_sb3_zip(target) if target.is_file() else read_directory(target)
    if trust_normalizer is not None:
        checkpoint = replace(checkpoint, normalizer=read_trusted_normalizer(Path(trust_normalizer)))
    return checkpoint


def read_directory(directory: Path) -> Checkpoint:
    """Read and verify a checkpoint directory."""
    for name in (METADATA, TENSORS):
        if not (directory / name).is_file():
            raise WarmstartError(
                f"{directory} is not a checkpoint: expected {METADATA} and {TENSORS}, {name} is missing."
            )
    try:
        values = json.loads((directory / METADATA).read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise WarmstartError(
                f"{directory} has the format {values['format']!r}, expected {FORMAT}; update warmstart."
            )
        stated = values.pop("sha256")
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise WarmstartError(
            f"{directory / METADATA} is truncated or not a checkpoint's: {error}."
        ) from error
    if json_hash(values) != stated:
        raise WarmstartError(f"{directory / METADATA} was changed after it was written: its sha256 differs.")
    if file_hash(directory / TENSORS) != values["tensors_sha256"]:
        raise WarmstartError(f"{directory / TENSORS} is truncated or was changed: its sha256 differs.")
    fields: State = {
        name: None if values[name] is None else decode(values[name]) for name, (_, decode) in RECORDED.items()
    }
    return Checkpoint(
        **fields,
        tensors=safetensors.torch.load_file(directory / TENSORS),
        vision=None if values.get("vision") is None else read_observing(values["vision"], directory),
        path=directory,
    )
