"""The methods that others are compared with: a cold start, the source as it is, and shuffled weights.

May import ``envs`` and ``agents``.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import FloatSchedule

from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.transfer.carry.carrying import CarryingMethod, act_from_first_step, finish
from warmstart.transfer.carry.exploration import Keep
from warmstart.transfer.carry.freezing import freeze
from warmstart.transfer.carry.fresh import permuted
from warmstart.transfer.carry.layouts import environment_name
from warmstart.transfer.carry.networks import target_of
from warmstart.transfer.carry.report import CARRIED, TransferEntry, TransferReport
from warmstart.transfer.methods.base import TransferContext, TransferMethod, register_method
from warmstart.transfer.methods.fine_tuning import FineTune


@register_method
@dataclass(frozen=True)
class Scratch(TransferMethod):
    """Cold start: the agent as it was built, with the same code and hyperparameters as the others."""

    name: ClassVar[str] = "scratch"
    needs_source: ClassVar[bool] = False

    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        """Change nothing, and say so."""
        del source, context
        entries = tuple(
            TransferEntry(name, None, tuple(tensor.shape), "untouched", False, "as the target drew it")
            for name, tensor in model.policy.state_dict().items()
        )
        return TransferReport(self.name, algorithm_name(model), "none", environment_name(model.env), entries)


@register_method
@dataclass(frozen=True)
class ZeroShot(CarryingMethod):
    """The source's policy acts in the target and nothing trains: what the target adds is seen against it.

    Every parameter is frozen, no update is made and the normaliser stands still, so that ``learn`` runs and
    leaves every tensor as it is, also after save and load.
    """

    name: ClassVar[str] = "zero_shot"
    trains: ClassVar[bool] = False

    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        """Carry the source and stop all learning."""
        report = self.carry(model, source, context, Keep())
        report.add_notes(act_from_first_step(model, 0))
        report.add_notes((_stop_updates(model),))
        freeze(model, [name for name, _ in model.policy.named_parameters() if target_of(name) is None])
        normalizer = model.get_vec_normalize_env()
        if normalizer is not None:
            normalizer.training = False
        report = finish(model, self, report)
        report.entries = tuple(replace(entry, frozen=True) for entry in report.entries)
        return report


def _stop_updates(model: BaseAlgorithm) -> str:
    """Let ``learn`` collect experience and change nothing, also after save and load; returns a note.

    SB3 can't take a gradient step when everything is frozen, so none may begin: PPO stops at its first
    minibatch, where the divergence exceeds every bound below zero.
    """
    model.learning_rate = 0.0
    model.lr_schedule = FloatSchedule(0.0)
    if isinstance(model, OffPolicyAlgorithm):
        model.gradient_steps, model.tau = 0, 0.0
        return "Nothing trains: learning_rate, gradient_steps and tau (the target networks' rate) are now 0."
    model.target_kl = -1.0  # type: ignore[attr-defined]
    return "Nothing trains: learning_rate is now 0, and target_kl -1, which ends each update before a step."


@register_method
@dataclass(frozen=True)
class Shuffled(FineTune):
    """Fine-tuning of the same weights, permuted within each tensor.

    The control that shows whether it is the source's knowledge that helps, or merely the scale of its weights
    and its normaliser: everything but the order of the numbers is as in ``fine_tune``.
    """

    name: ClassVar[str] = "shuffled"

    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        """Permute the source's tensors with the context's generator, then do as ``fine_tune``."""
        if source is not None:
            names = source.policy_tensors
            source = replace(source, tensors={**source.tensors, **permuted(names, context.generator)})
        report = super().initialise(model, source, context)
        policy = model.policy.state_dict()
        report.entries = tuple(
            replace(entry, action="permuted", reason=f"entries shuffled; {entry.reason}")
            if entry.name in policy and entry.action in CARRIED
            else entry
            for entry in report.entries
        )
        return report
