"""How the agent of one trial sees: its encoder made, fitted, frozen or put into the policy."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder, load_encoder
from warmstart.agents.extractors.seams import encoder_seams
from warmstart.agents.observing.base import ENCODER_FILE, EncodedFrames, Observing, StackedFrames
from warmstart.agents.settings.encoder_training import EncoderTraining
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.hooks import ContextSource
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.experiments.records.config import TRIALS, TrialConfig
from warmstart.transfer.encoders.pretrained import pretrained_encoder
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
class Sight:
    """A trial's way of seeing."""

    vision: Observing | None = None
    """What makes observations of frames; None where the agent observes states."""
    seams: Seams | None = None
    """What an encoder that trains puts into the agent."""
    notes: tuple[str, ...] = ()
    """What was done, for the transfer report."""

    @property
    def frozen(self) -> Encoder | None:
        """The encoder that must not change, if there is one."""
        return self.vision.encoder if isinstance(self.vision, EncodedFrames) else None


def make_sight(config: TrialConfig, directory: Path, source: Checkpoint | None) -> Sight:
    """Make a trial's way of seeing.

    Args:
        config: The trial.
        directory: Its directory; weights and pretrained encoders lie beside it in the run.
        source: What it starts from; a frozen encoder of the source's stays the agent's.

    Raises:
        WarmstartError: The encoder, its weights or the source don't fit the task's frames.
    """
    if not config.vision:
        return Sight()
    settings = vision_config(config.vision)
    looks = randomized_looks(settings, config.seed)
    carried = source.vision if source is not None else None
    if isinstance(carried, EncodedFrames):
        if settings.train != "frozen":
            raise WarmstartError(
                "The source sees by a frozen encoder, the target shall train one: write the same "
                "`train` in the vision of both."
            )
        kept = "The source's frozen encoder makes the features, readout included."
        return Sight(carried, None, (kept,))
    encoder, notes = trial_encoder(config, directory)
    if settings.train == "frozen":
        if not encoder.fitted:
            steps = fit_readout(encoder, Task.parse(config.task), config.seed, looks)
            notes += (f"The readout was fitted on {steps:,} frames of random actions, beside the budget.",)
        return Sight(EncodedFrames(encoder), None, notes)
    vision = StackedFrames(encoder.config.frames)
    probe = vision.wrap(make_vec(config.task, 1, n_threads=1))
    space = probe.single_observation_space
    probe.close()
    algorithm = str(config.algorithm["algorithm"])
    return Sight(vision, encoder_seams(settings, encoder, algorithm, space), notes)


def randomized_looks(settings: EncoderTraining, seed: int) -> "Randomization | None":
    """What varies between the episodes of training; None for nothing."""
    if not settings.randomize:
        return None
    from warmstart.sim2real.randomization.randomization import Randomization, read_terms

    terms, correlations = read_terms(settings.randomize)
    return Randomization(terms, seed, correlations)


def vision_config(values: Any) -> EncoderTraining:
    """The settings of a planned vision."""
    names = {item.name for item in fields(EncoderTraining)}
    return EncoderTraining(**{key: value for key, value in values.items() if key in names})


def trial_encoder(config: TrialConfig, directory: Path) -> tuple[Encoder, tuple[str, ...]]:
    """A trial's encoder: pretrained by another trial, or made of the run's copy of weights."""
    run = directory.parent.parent
    if config.encoder:
        path = run / TRIALS / config.encoder / ENCODER_FILE
        return load_encoder(path), (f"The encoder was pretrained by trial {config.encoder}.",)
    settings = EncoderConfig.parse(str(config.vision["encoder"]))
    sha256 = str(config.vision.get("sha256", ""))
    copy = weights_copy(run, sha256) if sha256 else None
    if settings.file and copy is not None:
        settings, copy = replace(settings, file=str(copy)), None
    elif settings.weights.startswith(("timm:", "torchvision:")):
        copy = None  # the library knows how frames are to be prepared, and has its own copy
    encoder, table = pretrained_encoder(settings, frame_size(Task.parse(config.task)), path=copy)
    return encoder, () if table is None else (table.summary,)


def weights_copy(run: Path, sha256: str) -> Path:
    """Where a run keeps its copy of a file (or folder) of weights."""
    folder = run / WEIGHTS / sha256[:16]
    found = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    if len(found) != 1:
        raise WarmstartError(f"The weights of this trial are missing: expected one file in {folder}.")
    return found[0]


def fit_readout(
    encoder: Encoder,
    task: Task,
    seed: int,
    looks: ContextSource | None = None,
    n_threads: int = 1,
) -> int:
    """Fit an encoder's readout on frames of a task under random actions.

    Args:
        encoder: Fitted in place.
        task: Shows frames.
        seed: Of the actions and start states.
        looks: Draws what the frames look like.
        n_threads: Threads that simulate and draw.

    Returns:
        Frames that it was fitted on.
    """
    wanted = encoder.config.fit_frames
    steps = max(2, -(-wanted // _FITTING_ENVS) * _FITTING_SPARE)
    rng = np.random.default_rng([seed, _FITTING_STREAM])
    data, _ = source_frames(
        task.with_options(obs="pixels"), steps, _FITTING_ENVS, rng, context_source=looks, n_threads=n_threads
    )
    frames = data.draw(wanted, seed)
    encoder.fit(frames)
    return len(frames)
