"""Cold start: what the others are compared with."""

from dataclasses import dataclass
from typing import ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferEntry, TransferReport
from warmstart.transfer.carry.source import environment_name, source_name
from warmstart.transfer.methods.base import TransferMethod, register_method


@register_method
@dataclass(frozen=True)
class Scratch(TransferMethod):
    """Cold start: the agent as it was built, with the same code and hyperparameters as the others."""

    name: ClassVar[str] = "scratch"
    title: ClassVar[str] = "cold start, the control"
    serves: ClassVar[tuple[str, ...]] = ()
    needs_source: ClassVar[bool] = False

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        del source, context
        return untouched(self.name, model, None)


def untouched(method: str, model: BaseAlgorithm, source: Checkpoint | None) -> TransferReport:
    """The report of an agent that starts as the target drew it."""
    entries = tuple(
        TransferEntry(name, None, tuple(tensor.shape), "untouched", False, "as the target drew it")
        for name, tensor in model.policy.state_dict().items()
    )
    named = "none" if source is None else source_name(source)
    return TransferReport(method, algorithm_name(model), named, environment_name(model.env), entries)
