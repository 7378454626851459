"""What a trial starts from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.places import LAST
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash
from warmstart.envs.simulation.layouts import Layout
from warmstart.experiments.records.config import TrialConfig
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.matching.by_name import named
from warmstart.transfer.matching.matching import Kind

CHECKPOINTS = "checkpoints"
"""Folder of a run directory that holds a copy of a given checkpoint, named by its hash."""
_METHOD_STREAM = 0x7A4
"""Tells the method's generator from others that are derived from the trial's seed."""


def load_source(config: TrialConfig, directory: Path) -> Checkpoint | None:
    """Read what a trial starts from: another trial's agent, or the run's copy of a given checkpoint.

    Raises:
        WarmstartError: It is missing, or a file that describes it isn't the one that was planned with.
    """
    if not config.source:
        return None
    run = directory.parent.parent
    trial = directory.parent / config.source / LAST
    given = run / CHECKPOINTS / config.source
    path = next((path for path in (trial, given) if path.exists()), None)
    if path is None:
        raise WarmstartError(f"The source of this trial is missing: expected {trial} or {given}.")
    return read_source(
        path,
        source_task=config.source_task or None,
        trust_normalizer=_copy_of(run, config.source_normalizer, ".pkl", "VecNormalize file"),
        activation=config.source_activation or None,
        onnx=_copy_of(run, config.source_onnx, ".onnx", "ONNX model"),
    )


def _copy_of(run: Path, sha256: str, suffix: str, what: str) -> Path | None:
    """The run's copy of a file that describes the source, as it was planned with; None for no file.

    Raises:
        WarmstartError: It is missing or another one.
    """
    if not sha256:
        return None
    path = run / file_copy(sha256, suffix)
    found = file_hash(path) if path.is_file() else "no file"
    if found != sha256:
        raise WarmstartError(
            f"{path} is not the {what} that the trial was planned with: expected sha256 {sha256}, found "
            f"{found}. Run the study in another directory."
        )
    return path


def transfer_context(config: TrialConfig) -> TransferContext:
    """What a trial tells its method: a generator, and how dimensions are mapped and called."""
    return TransferContext(
        generator=np.random.default_rng([config.seed, _METHOD_STREAM]),
        observation_map=dict(config.observation_map),
        action_map=dict(config.action_map),
        source_observations=_layout(config.source_observation_names, "observation"),
        source_actions=_layout(config.source_action_names, "action"),
    )


def file_copy(sha256: str, suffix: str) -> str:
    """Where a run directory keeps its copy of a file that describes a given checkpoint."""
    return f"{CHECKPOINTS}/{sha256[:16]}{suffix}"


def _layout(names: Sequence[str] | None, kind: Kind) -> Layout | None:
    return None if names is None else named(tuple(names), kind)
