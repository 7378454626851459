"""What a run says beforehand of its warm starts: `similarity.json`, beside which the report puts what came.

Computed once the trials are done, from the source agent alone: nothing of it is part of a trial or its hash.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from warmstart.agents.checkpoints.places import LAST, TRIALS
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import finite_json, write_json
from warmstart.core.progress import Progress
from warmstart.experiments.records.config import PlannedTrial, TrialConfig
from warmstart.experiments.records.records import CONFIG, RECORDS, SIMILARITY
from warmstart.experiments.records.schema import SIMILARITY as FIELDS
from warmstart.experiments.records.schema import read_file, read_records
from warmstart.experiments.trial.source import CHECKPOINTS, load_source, transfer_context

if TYPE_CHECKING:
    from warmstart.transfer.similarity.expected import Learning

FORMAT = 2
"""Raised when a measure or the prediction changes: what is stored is then computed anew."""
CONTROLS = ("shuffled", "zero_shot")
"""Methods that aren't ways to go on from a source."""
NOTHING: State = {
    **dict.fromkeys(("predicted", "predicted_low", "predicted_high")),
    **dict.fromkeys(("outlook", "method", "reason"), ""),
    **{"measures": [], "steps": 0, "notes": []},
}


def predict(run: Path, trials: Sequence[PlannedTrial], baseline: str, progress: Progress) -> None:
    """Say from a source agent how much going on from it helps, or why that can't be said, and keep it.

    The prediction is of fine-tuning, or of the first arm with a source where the study has no fine-tuning,
    with the source of the first seed that has one. Nothing is done where no arm has a source, where there is
    no cold arm to compare with, or where it has been said already; what failed is tried anew.

    Args:
        run: Directory of the run, whose trials are done.
        trials: Its trials.
        baseline: The cold arm.
        progress: Is told that it takes a moment.

    Raises:
        DiskFullError: No space is left.
    """
    trial = predicted_trial(run, trials, baseline)
    if trial is None:
        return
    about = {"format": FORMAT, "trial": trial.hash, "arm": trial.arm, "seed": trial.config.seed}
    known = _known(run)
    if known and not known["problem"] and all(known[key] == value for key, value in about.items()):
        return
    progress.message("Will it help? What the source agent says beforehand is computed for the report.")
    try:
        found = _similarity(trial.config, run / TRIALS / trial.hash)
        told = {**found, "problem": ""}
    except Exception as error:  # noqa: BLE001 (a task of anybody's is played; the run doesn't depend on it)
        told = {**NOTHING, "problem": _one_line(error)}
    write_json(run / SIMILARITY, finite_json({**about, **told}), durable=True)


def predicted_trial(run: Path, trials: Sequence[PlannedTrial], baseline: str) -> PlannedTrial | None:
    """The trial in the target whose benefit is predicted; None where there is nothing to predict."""
    warm = [trial for trial in trials if trial.config.source and trial.config.kind == "target"]
    cold = any(trial.arm == baseline and not trial.config.source for trial in trials)
    warm = [trial for trial in warm if trial.config.method["method"] not in CONTROLS]
    if not warm or not cold:
        return None
    arm = next((each for each in warm if each.config.method["method"] == "fine_tune"), warm[0]).arm
    mine = [trial for trial in warm if trial.arm == arm]
    given = any((run / CHECKPOINTS / each.config.source).exists() for each in mine)
    there = (each for each in mine if given or (run / TRIALS / each.config.source / LAST).exists())
    return next(there, mine[0])


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, WarmstartError) and text else f"{type(error).__name__}: {text}"


def _known(run: Path) -> State | None:
    try:
        return read_file(run / SIMILARITY, FIELDS, run)
    except WarmstartError:  # damaged: it is written anew
        return None


def learning_of(checkpoint: Path) -> "Learning | None":
    """How an agent learnt in its own task, from its checkpoint's path.

    None unless it is a trial's, which started cold, on its task's reward, and was evaluated in its task.
    """
    from warmstart.transfer.similarity.expected import Learning

    trial = checkpoint.parent
    if not (trial / CONFIG).is_file() or not (trial / RECORDS).is_file():
        return None
    config = TrialConfig.read(trial)
    if config.method.get("method") != "scratch" or config.reward or config.reality:
        return None
    told = [each for each in read_records(trial / RECORDS, trial) if each["event"] == "evaluation"]
    known = {int(each["step"]): float(np.mean(each["returns"])) for each in told}
    known = {step: value for step, value in known.items() if np.isfinite(value)}
    return Learning(tuple(known), tuple(known.values())) if len(known) > 1 else None


def _similarity(config: TrialConfig, directory: Path) -> State:
    """Play with the source agent of a trial."""
    import torch

    from warmstart.transfer.similarity.similarity import similarity

    if config.reality:
        raise WarmstartError("The study is judged in a reality, which nothing is predicted from.")
    if config.vision:
        raise WarmstartError("Its agents see; only sources that observe states are compared.")
    source = load_source(config, directory)
    assert source is not None
    threads = torch.get_num_threads()
    torch.set_num_threads(config.torch_threads)
    try:
        found = similarity(
            source,
            config.task,
            algorithm=str(config.algorithm["algorithm"]),
            source_task=config.source_task or None,
            context=transfer_context(config),
            learning=None if source.path is None else learning_of(source.path),
            budget=config.steps,
        )
    finally:
        torch.set_num_threads(threads)
    return {key: value for key, value in found.to_json().items() if key in NOTHING}
