"""Inverse dynamics: what happened between frames."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import nn
from typing_extensions import override

from warmstart.agents.extractors.stacks import random_shift
from warmstart.core.bounds import Bounds, Count, Natural
from warmstart.core.errors import WarmstartError
from warmstart.transfer.frames.data import FrameBatch, FrameData
from warmstart.transfer.pretraining.base import Objective, ObjectiveConfig, mlp, register_objective


class InverseDynamics(Objective):
    """Predicts standardised actions; a loss of 1 is that of predicting the mean action."""

    config: "InverseDynamicsConfig"
    mean: torch.Tensor
    """Shape: (actions,)."""
    std: torch.Tensor
    """Shape: (actions,)."""

    @override
    def build_heads(self, data: FrameData) -> None:
        actions = data.actions.reshape(-1, data.actions.shape[2])
        if not np.isfinite(actions).any(axis=0).all():
            raise WarmstartError("inverse_dynamics: the frames come without the actions between them.")
        std = torch.from_numpy(np.nanstd(actions, axis=0))
        self.register_buffer("mean", torch.from_numpy(np.nanmean(actions, axis=0)))
        self.register_buffer("std", std.clamp_min(1e-6))
        size, config = torch.Size(self.map_shape).numel(), self.config
        self.compress = nn.Sequential(
            nn.Flatten(), nn.Linear(size, config.latent), nn.LayerNorm(config.latent)
        )
        self.predict = mlp(config.frames * config.latent, config.hidden, actions.shape[1])

    @override
    def loss(self, batch: FrameBatch, generator: torch.Generator) -> torch.Tensor:
        """Mean squared error of the standardised action; actions that a task doesn't have don't count."""
        offsets, n = batch.frames.shape[:2]
        images = self.prepare(batch.frames.flatten(0, 1))
        windows = images.reshape(offsets, n, *images.shape[1:]).transpose(0, 1).flatten(1, 2)
        shifted = random_shift(windows, self.config.shift, generator).reshape(-1, *images.shape[1:])
        inputs = shifted.contiguous(memory_format=torch.channels_last)
        codes = self.compress(self.maps(inputs))
        predicted = self.predict(codes.reshape(n, -1))
        actions = (batch.actions[-2] - self.mean) / self.std
        known = ~actions.isnan()
        loss: torch.Tensor = (predicted - actions)[known].square().mean()
        return loss


@register_objective
@dataclass(frozen=True, kw_only=True)
class InverseDynamicsConfig(ObjectiveConfig):
    """Predict the action from the features of consecutive frames (Pathak et al., 1705.05363, equation 2).

    With two frames the velocity before the action can't be seen, so by default there are three.
    """

    name: ClassVar[str] = "inverse_dynamics"
    objective: ClassVar[type[Objective]] = InverseDynamics

    frames: Annotated[int, Bounds(2)] = 3
    """Consecutive frames; the action is the one taken before the last."""
    shift: Natural = 4
    """Pixels by which inputs are shifted at random, those of a window alike; 0 for none."""
    latent: Count = 128
    """Size of each frame's code."""
    hidden: Count = 256
    """Width of the predictor's hidden layer."""

    @property
    @override
    def offsets(self) -> tuple[int, ...]:
        return tuple(range(self.frames))
