"""A trial that pretrains a visual encoder on frames of the source task; other trials start from its file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from warmstart.agents.observing.base import ENCODER_FILE
from warmstart.core.files import write_json
from warmstart.core.plain import replaced
from warmstart.envs.tasks.task import Task
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.recorder import Recorder
from warmstart.experiments.records.records import TRANSFER
from warmstart.experiments.trial.observing import trial_encoder, vision_config, visual_randomization
from warmstart.transfer.pretraining.pretraining import PretrainingConfig, pretrain
from warmstart.transfer.pretraining.tasks import SourceTasks
from warmstart.transfer.probing.probe import FEWEST_ROWS

_PROBED = 3_000
"""Frames that the trained encoder is probed on, at most."""
_LOGGED_EVERY = 20


def train_encoder(config: TrialConfig, directory: Path, recorder: Recorder) -> None:
    """Collect frames under random actions, pretrain, probe on others, save the encoder in the directory.

    Raises:
        WarmstartError: The encoder or the objective doesn't fit the task's frames.
    """
    recorder.start(0)
    settings = replaced(PretrainingConfig(), config.vision["pretrain"])
    settings = replace(settings, seed=config.seed, device=config.device)
    encoder, _ = trial_encoder(config, directory)
    varied = visual_randomization(vision_config(config.vision), config.seed)
    sources = SourceTasks([Task.parse(config.task)], settings, context_source=varied)

    def stage(_: str) -> Callable[[int, int], None]:
        return lambda *_: None  # only updates count

    def log(done: int, numbers: Any) -> None:
        if done % _LOGGED_EVERY == 0 or done == settings.updates:
            recorder.training(done, {f"pretrain/{name}": float(value) for name, value in numbers.items()})

    result = pretrain(
        encoder, sources.training_frames(stage), settings, lambda done, *_: recorder.progress(done), log
    )
    frames = min(_PROBED, settings.steps)
    if frames >= FEWEST_ROWS * encoder.config.frames:
        result.encoder.provenance["probe_r2"] = sources.probe({"after": result.encoder}, frames, stage)
    result.encoder.save(directory / ENCODER_FILE)
    write_json(directory / TRANSFER, {"encoder": result.encoder.provenance})
    recorder.end(settings.updates, settings.updates)
