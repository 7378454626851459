"""Self-supervised pretraining of an encoder on frames of the source task. May import envs and agents."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.agents.checkpoints import library_versions
from warmstart.agents.encoder_config import PRECISIONS, Precision
from warmstart.agents.encoders import Encoder
from warmstart.agents.fast_encoding import resolve_precision
from warmstart.envs.errors import WarmstartError, unknown_name
from warmstart.transfer.frames import FrameData, FrameSampler, join_frames
from warmstart.transfer.objectives import Objective, ObjectiveConfig, make_objective
from warmstart.transfer.objectives_base import check_option

Progress = Callable[[int, int, float], None]
"""Updates done, updates in all, loss."""
Logger = Callable[[int, Mapping[str, float]], None]
"""Updates done, and numbers by name."""


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """How an encoder is pretrained."""

    objective: str = "atc"
    """What it is trained to do; see ``OBJECTIVES``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the objective that differ from its defaults."""
    updates: int = 1000
    """Gradient steps."""
    batch_size: int = 64
    """Frames, or windows of frames, per gradient step."""
    learning_rate: float = 1e-3
    """Adam's step size at its largest: it rises over the first twentieth of the updates and then falls to
    zero as a cosine."""
    max_grad_norm: float = 10.0
    """Bound on the gradient's norm."""
    steps: int = 10_000
    """Environment steps of each task from which frames are kept, all environments together."""
    n_envs: int = 16
    """Environments simulated side by side."""
    hold: int = 4
    """Most steps that a random action is held."""
    random_share: float = 0.5
    """Share of random decisions where there is a policy."""
    precision: Precision = "auto"
    """Of the convolutions in training: ``auto`` takes bfloat16 where the processor computes with it."""
    device: str = "cpu"
    """Device of the training."""
    seed: int = 0
    """Decides every random draw."""

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "steps", "n_envs", "hold"):
            check_option("pretraining", name, getattr(self, name), 1)
        check_option("pretraining", "random_share", self.random_share, 0, 1)
        for name in ("learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise WarmstartError(f"pretraining: expected a positive {name}, found {getattr(self, name)}.")
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        fewest = self.objective_config.fewest
        if self.batch_size < fewest:
            raise WarmstartError(
                f"{self.objective} compares frames with one another: expected a batch_size of at least "
                f"{fewest}, found {self.batch_size}."
            )

    @property
    def objective_config(self) -> ObjectiveConfig:
        """The objective with its options."""
        return make_objective(self.objective, self.options)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"options": dict(self.options)}


@dataclass(frozen=True, eq=False)
class PretrainingResult:
    """What pretraining led to."""

    encoder: Encoder
    """The trained encoder, frozen, its readout fitted on the frames."""
    metrics: Mapping[str, NDArray[np.float64]]
    """``loss``, and what else the objective tells, after each update. Shape: (updates,)."""
    seconds: float
    """Time that the updates took."""

    @property
    def losses(self) -> NDArray[np.float64]:
        """Loss of each update. Shape: (updates,)."""
        return self.metrics["loss"]


def pretrain(
    encoder: Encoder,
    data: FrameData | Sequence[FrameData],
    config: PretrainingConfig | None = None,
    progress: Progress | None = None,
    logger: Logger | None = None,
) -> PretrainingResult:
    config = config or PretrainingConfig()
    data = data if isinstance(data, FrameData) else join_frames(data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        training = Training(encoder, data, config)
        start = time.perf_counter()
        for done in range(1, config.updates + 1):
            metrics = training.update()
            if progress: progress(done, config.updates, metrics["loss"])
    trained = deepcopy(encoder)
    trained.backbone.load_state_dict(training.objective.backbone.state_dict())
    flat = torch.from_numpy(data.frames.reshape(-1, *data.frames.shape[2:]))
    chosen = torch.randperm(len(flat), generator=training.generator)[: encoder.config.fit_frames]
    trained.fit(flat[chosen])
    return PretrainingResult(trained, {k: np.array(v) for k,v in training.metrics.items()}, time.perf_counter() - start)


class Training:
    def __init__(self, encoder: Encoder, data: FrameData, config: PretrainingConfig) -> None:
        self.config = config
        options = config.objective_config
        self.generator = torch.Generator().manual_seed(config.seed)
        backbone = deepcopy(encoder.backbone).requires_grad_(True)
        objective = options.build(backbone, encoder.preprocessing, data)
        self.objective = objective.train().to(config.device, memory_format=torch.channels_last)
        self.sampler = FrameSampler(data, options.offsets, config.device)
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.metrics = {"loss": []}
        self.dtype = resolve_precision(config.precision)

    def _rate(self, done: int) -> float:
        total = self.config.updates
        warm_up = max(1, total // 20)
        if done < warm_up:
            return (done + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / max(1, total - warm_up)))

    def update(self):
        batch = self.sampler.sample(self.config.batch_size, self.generator)
        with torch.autocast(self.config.device, self.dtype, enabled=self.dtype != torch.float32):
            loss = self.objective.loss(batch, self.generator)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.objective.after_update()
        m = {"loss": loss.item(), **{k: v.item() for k, v in self.objective.parts.items()}}
        for k, v in m.items():
            self.metrics.setdefault(k, []).append(v)
        return m
