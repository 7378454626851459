"""How the agent of one trial observes frames: its encoder made, fitted, frozen or put into the policy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.places import TRIALS
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder, load_encoder
from warmstart.agents.extractors.seams import encoder_seams
from warmstart.agents.observing.base import ENCODER_FILE, EncodedFrames, Observing, StackedFrames
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import setting_names
from warmstart.envs.sb3 import env_attribute
from warmstart.envs.tasks.hooks import ContextSource
from warmstart.envs.tasks.task import Task
from warmstart.experiments.records.config import TrialConfig
from warmstart.transfer.encoders.pretrained import pretrained_encoder
from warmstart.transfer.encoders.proof import FreezeProof, precision_note
from warmstart.transfer.frames.acting import frame_size, source_frames

if TYPE_CHECKING:
    from warmstart.sim2real.randomization.randomization import Randomization

WEIGHTS = "weights"
"""Folder of a run directory that holds copies of encoders' weights, each in a folder named by its sha256."""
_FITTING_STREAM = 0x5EE
_FITTING_ENVS = 16
_FITTING_SPARE = 3
"""Frames seen for one that a readout is fitted on, since those in a row are nearly the same."""


@dataclass(frozen=True)
class EncoderSetup:
    """How a trial's agent observes frames; nothing where it observes states."""

    vision: Observing | None = None
    """Makes observations of frames."""
    trained: tuple[EncoderTraining, Encoder] | None = None
    """An encoder that trains in the policy, and how."""
    notes: tuple[str, ...] = ()
    """What was done, for the transfer report."""

    def seams(self, algorithm: str, observation_space: spaces.Space[Any]) -> Seams:
        """What an encoder that trains puts into the agent."""
        return Seams() if self.trained is None else encoder_seams(*self.trained, algorithm, observation_space)

    def proof(self, model: BaseAlgorithm) -> Callable[[BaseAlgorithm], list[str]]:
        """Remember an encoder that must not change; returns what says of it after training that it didn't."""
        if not isinstance(self.vision, EncodedFrames):
            return lambda _: []

        def in_use(model: BaseAlgorithm) -> Any:
            return env_attribute(model.get_env(), "encoder_in_use")

        proof = FreezeProof(self.vision.encoder, in_use(model))
        return lambda trained: [proof.note(), precision_note(in_use(trained))]


def encoder_setup(config: TrialConfig, directory: Path, source: Checkpoint | None) -> EncoderSetup:
    """Set up the encoder of a trial's agent; a frozen one of its source's stays the agent's.

    Weights and pretrained encoders lie beside the trial's directory in the run.

    Raises:
        WarmstartError: The encoder, its weights or the source don't fit the task's frames.
    """
    if not config.vision:
        return EncoderSetup()
    settings = vision_config(config.vision)
    if source is not None and isinstance(source.vision, EncodedFrames):
        if settings.train != "frozen":
            raise WarmstartError(
                "The source sees by a frozen encoder, the target shall train one: write the same "
                "`train` in the vision of both."
            )
        kept = "The source's frozen encoder makes the features, readout included."
        return EncoderSetup(source.vision, notes=(kept,))
    encoder, notes = trial_encoder(config, directory)
    if settings.train != "frozen":
        return EncoderSetup(StackedFrames(encoder.config.frames), (settings, encoder), notes)
    if not encoder.fitted:
        varied = visual_randomization(settings, config.seed)
        steps = fit_readout(encoder, Task.parse(config.task), config.seed, varied)
        notes += (f"The readout was fitted on {steps:,} frames of random actions, beside the budget.",)
    return EncoderSetup(EncodedFrames(encoder), notes=notes)


def visual_randomization(settings: EncoderTraining, seed: int) -> "Randomization | None":
    """What varies between the episodes of training in what frames look like; None for nothing."""
    if not settings.randomize:
        return None
    from warmstart.sim2real.randomization.randomization import Randomization, read_terms

    terms, correlations = read_terms(settings.randomize)
    return Randomization(terms, seed, correlations)


def vision_config(values: Settings) -> EncoderTraining:
    """The settings of a planned vision."""
    return EncoderTraining(
        **{name: values[name] for name in setting_names(EncoderTraining) if name in values}
    )


def trial_encoder(config: TrialConfig, directory: Path) -> tuple[Encoder, tuple[str, ...]]:
    """A trial's encoder: pretrained by another trial, or made of the run's copy of weights."""
    run = directory.parent.parent
    if config.encoder:
        path = run / TRIALS / config.encoder / ENCODER_FILE
        return load_encoder(path), (f"The encoder was pretrained by trial {config.encoder}.",)
    settings = EncoderConfig.parse(str(config.vision["encoder"]))
    sha256 = str(config.vision.get("sha256", ""))
    copy = _weights_copy(run / WEIGHTS / sha256[:16]) if sha256 else None
    if settings.file and copy is not None:
        settings, copy = replace(settings, file=str(copy)), None
    elif settings.weights.startswith(("timm:", "torchvision:")):
        copy = None  # the library knows how frames are to be prepared, and has its own copy
    encoder, table = pretrained_encoder(settings, frame_size(Task.parse(config.task)), path=copy)
    return encoder, () if table is None else (table.summary,)


def _weights_copy(folder: Path) -> Path:
    """A run's copy of a file (or folder) of weights."""
    found = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    if not found:
        raise WarmstartError(f"The weights of this trial are missing: expected one file in {folder}.")
    return found[0]


def fit_readout(
    encoder: Encoder, task: Task, seed: int, varied: ContextSource | None = None, n_threads: int = 1
) -> int:
    """Fit an encoder's readout on frames of a task under random actions.

    Args:
        encoder: Fitted in place.
        task: Shows frames.
        seed: Of the actions and start states.
        varied: Draws what the frames look like.
        n_threads: Threads that simulate and draw.

    Returns:
        Frames that it was fitted on.
    """
    wanted = encoder.config.fit_frames
    steps = max(2, -(-wanted // _FITTING_ENVS) * _FITTING_SPARE)
    rng = np.random.default_rng([seed, _FITTING_STREAM])
    shown = task.with_options(obs="pixels")
    data, _ = source_frames(shown, steps, _FITTING_ENVS, rng, context_source=varied, n_threads=n_threads)
    frames = data.draw(wanted, seed)
    encoder.fit(frames)
    return len(frames)
