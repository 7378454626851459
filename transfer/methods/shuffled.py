"""Fine-tuning of shuffled weights: whether it is the source's knowledge that helps."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import CARRIED, TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.fine_tuning import FineTune


@register_method
@dataclass(frozen=True)
class Shuffled(FineTune):
    """Fine-tuning of the same weights, permuted within each tensor.

    The control that shows whether it is the source's knowledge that helps, or merely the scale of its weights
    and its normaliser: everything but the order of the numbers is as in ``fine_tune``.
    """

    name: ClassVar[str] = "shuffled"
    title: ClassVar[str] = "fine-tuning of shuffled weights, a control"
    paper: ClassVar[str] = ""
    needs_seed: ClassVar[bool] = True

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        if source is not None:
            permuted = {name: _permuted(t, context.generator) for name, t in source.policy_tensors.items()}
            source = replace(source, tensors={**source.tensors, **permuted})
        report = super().initialise(model, source, context)
        policy = model.policy.state_dict()
        report.entries = tuple(
            replace(entry, action="permuted", reason=f"entries shuffled; {entry.reason}")
            if entry.name in policy and entry.action in CARRIED
            else entry
            for entry in report.entries
        )
        return report


def _permuted(tensor: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Shuffle a tensor's entries: the same numbers, without what they mean together."""
    order = torch.from_numpy(generator.permutation(tensor.numel()))
    return tensor.reshape(-1)[order].reshape(tensor.shape)
