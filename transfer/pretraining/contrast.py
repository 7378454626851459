"""Augmented Temporal Contrast: a frame's features should tell which frame follows it."""

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from warmstart.agents.extractors.stacks import random_shift
from warmstart.core.bounds import Count, Fraction, Natural
from warmstart.transfer.frames.data import FrameBatch, FrameData
from warmstart.transfer.pretraining.base import Objective, ObjectiveConfig, mlp, register_objective


class TemporalContrast(Objective):
    """Compares the codes of frames with those that a slowly following copy makes of later ones."""

    config: "TemporalContrastConfig"

    @override
    def build_heads(self, data: FrameData) -> None:
        size, latent = torch.Size(self.map_shape).numel(), self.config.latent
        self.compress = nn.Sequential(nn.Flatten(), nn.Linear(size, latent))
        self.predict = mlp(latent, self.config.hidden, latent)
        self.compare = nn.Linear(latent, latent, bias=False)
        self.target = deepcopy(self.online).requires_grad_(False)

    @property
    def online(self) -> nn.ModuleList:
        """What the target follows."""
        return nn.ModuleList((self.backbone, self.compress))

    @override
    def loss(self, batch: FrameBatch, generator: torch.Generator) -> torch.Tensor:
        """InfoNCE (equation 1): each anchor's own positive among all of the batch."""
        anchors, positives = (
            random_shift(self.prepare(frames), self.config.shift, generator) for frames in batch.frames
        )
        with torch.no_grad():
            keys = self.target[1](self.maps(positives, self.target[0]))
        codes = self.compress(self.maps(anchors))
        logits = self.compare(codes + self.predict(codes)) @ keys.t()
        repeated = (batch.windows[:, None] == batch.windows).fill_diagonal_(False)
        logits = logits.masked_fill(repeated, -torch.inf)
        own = torch.arange(len(logits), device=logits.device)
        self.parts = {"accuracy": (logits.detach().argmax(1) == own).float().mean()}
        return info_nce(logits)

    @override
    def after_update(self) -> None:
        follow(self.target, self.online, self.config.momentum)


@register_objective
@dataclass(frozen=True, kw_only=True)
class TemporalContrastConfig(ObjectiveConfig):
    """Augmented Temporal Contrast (ATC; Stooke et al., 2009.08319)."""

    name: ClassVar[str] = "atc"
    objective: ClassVar[type[Objective]] = TemporalContrast
    smallest_batch: ClassVar[int] = 2

    lag: Count = 1
    """Steps from the anchor to its positive."""
    shift: Natural = 4
    """Pixels by which inputs are shifted at random; 0 for none."""
    latent: Count = 128
    """Size of the codes that are compared."""
    hidden: Count = 512
    """Width of the predictor's hidden layer."""
    momentum: Fraction = 0.01
    """Share of the encoder that the target takes over in each update."""

    @property
    @override
    def offsets(self) -> tuple[int, ...]:
        return (0, self.lag)


def info_nce(logits: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of finding each row's own column, the diagonal.

    Args:
        logits: Similarity of anchor i and positive j. Shape: (n, n).

    Returns:
        A scalar.
    """
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, share: float) -> None:
    """Move a module's parameters towards another's, a moving average; buffers are the target's own."""
    for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
        mine.lerp_(theirs, share)
