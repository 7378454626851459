"""Self-supervised pretraining of an encoder on frames of the source task."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.agents.checkpoints.checkpoint import library_versions
from warmstart.agents.encoders.config import Precision
from warmstart.agents.encoders.encoder import Encoder
from warmstart.agents.encoders.fast_encoding import native_bfloat16
from warmstart.agents.encoders.readouts import PcaReadout
from warmstart.core.bounds import Count, Fraction, Positive, SettingError, Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check, to_plain
from warmstart.transfer.frames.data import FrameData, FrameSampler, join_frames
from warmstart.transfer.pretraining.base import ObjectiveConfig
from warmstart.transfer.pretraining.table import make_objective

Progress = Callable[[int, int, float], None]
"""Updates done, updates in all, loss."""
Logger = Callable[[int, Mapping[str, float]], None]
"""Updates done, and numbers by name."""
_CLIP = 10.0
"""Bound on the gradient's norm, ATC's."""
_WARM_UP = 0.05
"""Share of the updates over which the learning rate rises."""


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """How an encoder is pretrained."""

    objective: str = "atc"
    """What it is trained to do: the name of an objective."""
    options: Settings = field(default_factory=dict)
    """Options of the objective that differ from its defaults."""
    updates: Count = 1000
    """Gradient steps."""
    batch_size: Count = 64
    """Frames, or windows of frames, per gradient step."""
    learning_rate: Positive = 1e-3
    """Adam's step size at its largest; it rises over the first updates and then falls to zero as a cosine."""
    steps: int = 10_000
    """Frames of each task, all environments together."""
    n_envs: Count = 16
    """Environments simulated side by side."""
    hold: Count = 4
    """Most steps that a random action is held."""
    random_share: Fraction = 0.5
    """Share of random decisions where there is a policy."""
    precision: Precision = "auto"
    """Of the convolutions in training: ``auto`` takes bfloat16 where the processor computes with it."""
    device: str = "cpu"
    """Where it is trained."""
    seed: int = 0
    """Decides every random draw."""

    def __post_init__(self) -> None:
        check(self)
        if self.steps < 2 * self.n_envs:
            raise SettingError(
                ("steps",), f"expected at least {2 * self.n_envs}, 2 of each environment, found {self.steps}."
            )
        smallest = self.objective_config.smallest_batch
        if self.batch_size < smallest:
            raise WarmstartError(
                f"{self.objective} compares frames with one another: expected a batch_size of at least "
                f"{smallest}, found {self.batch_size}."
            )

    @property
    def objective_config(self) -> ObjectiveConfig:
        """The objective with its options."""
        return make_objective(self.objective, self.options)


@dataclass(frozen=True, eq=False)
class PretrainingResult:
    """What pretraining led to."""

    encoder: Encoder
    """The trained encoder, frozen, its readout fitted on the frames."""
    metrics: Mapping[str, NDArray[np.float64]]
    """``loss``, and what else the objective tells, of each update. Shape: (updates,)."""
    seconds: float
    """Time that the updates took."""

    @property
    def losses(self) -> NDArray[np.float64]:
        """Loss of each update. Shape: (updates,)."""
        return self.metrics["loss"]


class PretrainingInterruptedError(KeyboardInterrupt):
    """Pretraining was stopped before its end; what was learned until then can be kept."""

    def __init__(self, message: str, keep: Callable[[], PretrainingResult]) -> None:
        super().__init__(message)
        self.keep = keep
        """Finish the encoder as it is."""


def pretrain(
    encoder: Encoder,
    data: FrameData | Sequence[FrameData],
    config: PretrainingConfig | None = None,
    progress: Progress | None = None,
    logger: Logger | None = None,
) -> PretrainingResult:
    """Train a copy of an encoder's backbone without rewards, and fit its readout on the frames.

    The same encoder, frames and configuration give the same encoder, bit for bit, on one machine with one
    number of threads. Torch's global generator stays as it is.

    Args:
        encoder: Where training begins, random or pretrained elsewhere. It isn't changed.
        data: Frames of one task or of several.
        config: How; None for the defaults.
        progress: Called after each update.
        logger: Called after each update; see ``tensorboard``.

    Raises:
        WarmstartError: There are too few frames, they are of another size, or training diverged.
        PretrainingInterruptedError: Ctrl-C. A KeyboardInterrupt.
    """
    config = PretrainingConfig() if config is None else config
    frames = data if isinstance(data, FrameData) else join_frames(data)
    _check_frames(encoder, frames)
    with torch.random.fork_rng(devices=[]):  # initial weights and dropout take the global generator
        torch.manual_seed(config.seed)
        training = _Training(encoder, frames, config)
        try:
            for done in range(1, config.updates + 1):
                numbers = training.update()
                if progress is not None:
                    progress(done, config.updates, numbers["loss"])
                if logger is not None:
                    logger(done, numbers)
        except KeyboardInterrupt as stopped:
            message = f"Pretraining stopped after {len(training.losses)} of {config.updates} updates."
            raise PretrainingInterruptedError(message, training.result) from stopped
        return training.result()


def _check_frames(encoder: Encoder, data: FrameData) -> None:
    encoder.check_size((len(data), *data.frames.shape[2:]))
    available = min(len(data), encoder.config.fit_frames)
    if isinstance(encoder.readout, PcaReadout) and available <= encoder.n_features:
        raise WarmstartError(
            f"There are too few frames: expected at least {encoder.n_features + 1} for a readout of "
            f"{encoder.n_features} principal components, found {available}. Collect more steps, or ask for "
            "fewer features."
        )


class _Training:
    """A backbone under training, its objective and its optimizer."""

    def __init__(self, encoder: Encoder, data: FrameData, config: PretrainingConfig) -> None:
        self._encoder, self._data, self._config = encoder, data, config
        self._generator = torch.Generator().manual_seed(config.seed)
        options = config.objective_config
        backbone = deepcopy(encoder.backbone).requires_grad_(True)
        objective = options.build(backbone, encoder.preprocessing, data)
        if config.precision == "bfloat16" or (config.precision == "auto" and native_bfloat16()):
            objective.dtype = torch.bfloat16
        self._objective = objective.train().to(config.device)
        self._objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._sampler = FrameSampler(data, options.offsets, config.device)
        self._parameters = [p for p in objective.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(self._parameters, config.learning_rate)
        self._metrics: dict[str, list[float]] = {"loss": []}
        self._seconds = 0.0

    @property
    def losses(self) -> list[float]:
        """Of the updates so far."""
        return self._metrics["loss"]

    def update(self) -> dict[str, float]:
        """Take a gradient step; returns the loss and what else the objective tells."""
        began = time.perf_counter()
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.learning_rate * self._share()
        batch = self._sampler.sample(self._config.batch_size, self._generator)
        loss = self._objective.loss(batch, self._generator)
        value = loss.item()
        if not math.isfinite(value):
            raise WarmstartError(
                f"Pretraining diverged: the loss of update {len(self.losses) + 1} is {value}. Use a smaller "
                f"learning_rate than {self._config.learning_rate}."
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, _CLIP)
        self._optimizer.step()
        self._objective.after_update()
        numbers = {"loss": value, **{k: float(v) for k, v in self._objective.parts.items()}}
        for name, number in numbers.items():
            self._metrics.setdefault(name, []).append(number)
        self._seconds += time.perf_counter() - began
        return numbers

    def _share(self) -> float:
        """Learning rate of the next update, as a share of the largest."""
        done, total = len(self.losses), self._config.updates
        rising = max(1, round(_WARM_UP * total))
        if done < rising:
            return (done + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (done - rising) / (total - rising)))

    def result(self) -> PretrainingResult:
        """The encoder as it is now, its readout fitted."""
        trained = deepcopy(self._encoder)
        trained.backbone.load_state_dict(self._objective.backbone.state_dict())
        trained.fit(self._data.draw(trained.config.fit_frames, self._config.seed))
        config, before = self._config, self._encoder.provenance
        trained.provenance = {
            **({"licence": before["licence"]} if "licence" in before else {}),
            "source": f"pretrained by {config.objective} on {', '.join(self._data.tasks) or 'given frames'}",
            "initial": before,
            "pretraining": {
                **to_plain(config),
                "precision": str(self._objective.dtype).removeprefix("torch."),
                "tasks": list(self._data.tasks),
                "frames": len(self._data),
                "updates": len(self.losses),
                "loss": self.losses[-1] if self.losses else None,
                "versions": library_versions(),
            },
        }
        metrics = {name: np.array(values) for name, values in self._metrics.items()}
        return PretrainingResult(trained, metrics, self._seconds)


@contextmanager
def tensorboard(directory: str | Path) -> Iterator[Logger]:
    """Give a logger that writes TensorBoard event files to a directory, for ``pretrain``."""
    from torch.utils.tensorboard.writer import SummaryWriter

    def log(step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(f"pretraining/{name}", value, step)

    with SummaryWriter(str(directory)) as writer:
        yield log
