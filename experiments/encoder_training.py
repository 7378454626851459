"""A trial that pretrains a visual encoder on frames of the source task; other trials start from its file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.agents.vision import ENCODER_FILE
from warmstart.envs.tasks import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.recorder import Recorder
from warmstart.experiments.records import TRANSFER, write_json
from warmstart.experiments.seeing import randomized_looks, trial_encoder, vision_config
from warmstart.experiments.settings import override
from warmstart.experiments.trial_config import TrialConfig
from warmstart.transfer.frames import collect_frames
from warmstart.transfer.pretraining import PretrainingConfig, pretrain
from warmstart.transfer.probing import probe

_FRAMES_STREAM = 0xF4A
_LOGGED_EVERY = 20


def train_encoder(config: TrialConfig, directory: Path, recorder: Recorder) -> None:
    """Collect frames under random actions, pretrain, probe, save.

    Args:
        config: The trial; its ``vision`` holds the encoder and the settings under ``pretrain``.
        directory: Where the encoder goes.
        recorder: Where progress and losses are recorded.

    Raises:
        WarmstartError: The encoder or the objective doesn't fit the task's frames.
    """
    recorder.start(0)
    settings = override(PretrainingConfig(), config.vision["pretrain"])
    settings = replace(settings, seed=config.seed, device=config.device)
    encoder, _ = trial_encoder(config, directory)
    looks = randomized_looks(vision_config(config.vision), config.seed)
    env = make_vec(Task.parse(config.task), settings.n_envs, n_threads=1, context_source=looks)
    try:
        steps = max(2, settings.steps // settings.n_envs)
        rng = np.random.default_rng([config.seed, _FRAMES_STREAM])
        data = collect_frames(env, steps, rng=rng, hold=settings.hold, task=config.task)
    finally:
        env.close()

    def progress(done: int, total: int, loss: float) -> None:
        del total, loss
        recorder.progress(done)

    def log(done: int, numbers: Any) -> None:
        if done % _LOGGED_EVERY == 0 or done == settings.updates:
            recorder.training(done, {f"pretrain/{name}": float(value) for name, value in numbers.items()})

    result = pretrain(encoder, data, settings, progress, log)
    if data.state is not None:
        result.encoder.provenance["probe_r2"] = probe(result.encoder, data).mean
    result.encoder.save(directory / ENCODER_FILE)
    write_json(directory / TRANSFER, {"encoder": result.encoder.provenance})
    recorder.end(settings.updates, settings.updates)
