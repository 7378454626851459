"""QDagger: reuse a teacher's policy and steps off policy (Agarwal et al. 2022, 2206.01626)."""

from dataclasses import dataclass
from typing import ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.algorithms.base import part, parts
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import NonNegative
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.teaching.distill import Distill
from warmstart.transfer.teaching.fading import Fading
from warmstart.transfer.teaching.seams import Guide, TeacherTerm
from warmstart.transfer.teaching.starting import begin, told


@register_method
@dataclass(frozen=True)
class QDagger(Distill):
    """Fill the buffer with the source's steps in the target, learn from them, then go on with both losses.

    First the source acts, the student is taught its actions and the critic its values; then the student acts,
    and the actor's loss has ``coefficient · λ · KL(source ‖ student)``, where λ falls as the student's return
    comes up to the source's (equation 3).
    """

    name: ClassVar[str] = "qdagger"
    title: ClassVar[str] = "the source's steps and policy, until the student is as good"
    paper: ClassVar[str] = "2206.01626"
    fills: ClassVar[tuple[str, ...]] = ("initialise", "experience", "loss terms", "feedback")
    algorithms: ClassVar[tuple[str, ...]] = ("sac", "td3", "tqc", "crossq")

    coefficient: NonNegative = 1.0
    """Of the divergence at the beginning."""

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        fading = Fading("performance", None)
        terms = (TeacherTerm(self.coefficient, fading),) if self.coefficient else ()
        return Seams(experience=self.guide(), loss_terms=terms, feedback=(fading,))

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        report = super().initialise(model, source, context)
        teacher = part(model, Guide).teacher
        for term in parts(model, TeacherTerm):
            term.teachers = [teacher] if teacher is not None else []
        return report

    @override
    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        steps = super().prepare(model, callback, max_steps)
        begin(model)
        return steps

    @override
    def amend(self, report: TransferReport, model: BaseAlgorithm) -> None:
        report.add_notes(told(model))
