"""Zero-shot transfer: the source's policy as it is."""

from dataclasses import dataclass, replace
from typing import ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import FloatSchedule
from typing_extensions import override

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step
from warmstart.transfer.carry.exploration import Keep
from warmstart.transfer.carry.freezing import freeze
from warmstart.transfer.carry.networks import target_of
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import CarryingMethod, register_method


@register_method
@dataclass(frozen=True)
class ZeroShot(CarryingMethod):
    """The source's policy acts in the target and nothing trains: what the target adds is seen against it.

    Every parameter is frozen, no update is made and the normaliser stands still, so that ``learn`` runs and
    leaves every tensor as it is, also after save and load.
    """

    name: ClassVar[str] = "zero_shot"
    title: ClassVar[str] = "the source's policy as it is"
    serves: ClassVar[tuple[str, ...]] = ("transductive",)
    trains: ClassVar[bool] = False

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        report = self.carry(model, source, context, Keep())
        report.add_notes(act_from_first_step(model, 0))
        report.add_notes((_stop_updates(model),))
        freeze(model, [name for name, _ in model.policy.named_parameters() if target_of(name) is None])
        normalizer = model.get_vec_normalize_env()
        if normalizer is not None:
            normalizer.training = False
        report = self.finish(model, report)
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
