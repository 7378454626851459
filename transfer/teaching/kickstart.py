"""Kickstarting: learn by reward, and by what a teacher would do (Schmitt et al. 2018, 1803.03835)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.base import parts
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.unseen import Sees
from warmstart.core.bounds import NonNegative
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.carry.source import read_source, source_name
from warmstart.transfer.carry.unseen import hide
from warmstart.transfer.methods.base import SHIFTS, register_method
from warmstart.transfer.teaching.seams import TeacherTerm
from warmstart.transfer.teaching.starting import FreshOrCarried
from warmstart.transfer.teaching.teacher import Teacher


@register_method
@dataclass(frozen=True)
class Kickstart(FreshOrCarried):
    """Add ``coefficient · KL(teacher ‖ student)`` to the actor's loss, and let it fade.

    The student may have any network, and be of another algorithm: teacher and student meet in actions. A
    ``carried`` student is fine-tuned and held to what it knew while it learns (Wołczyk et al. 2024,
    2402.02868: fine-tuning forgets what it doesn't see at once).
    """

    name: ClassVar[str] = "kickstart"
    serves: ClassVar[tuple[str, ...]] = SHIFTS
    title: ClassVar[str] = "kickstarting: KL to one or several teachers"
    paper: ClassVar[str] = "1803.03835"
    fills: ClassVar[tuple[str, ...]] = ("initialise", "loss terms", "feedback")

    coefficient: NonNegative = 1.0
    """λ: of the divergence, at the beginning."""

    teachers: Sequence[str] = ()
    """Paths of further checkpoints that teach beside the source, all with equal weight."""

    student_sees: Sees = "all"
    """``pixels`` or ``state`` where the task shows both (``obs=pixels+state``, frozen encoder): the student
    reads nothing else, its teachers take what they know."""

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        if not self.coefficient:
            return Seams()
        fading = self.fading()
        return Seams(loss_terms=(TeacherTerm(self.coefficient, fading),), feedback=(fading,))

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        source = self.needed(model, source)
        report = super().initialise(model, source, context)
        report.add_notes(hide(model, self.student_sees, self.name))
        for term in parts(model, TeacherTerm):
            others = (read_source(Path(path)) for path in self.teachers)
            known = [source, *(each for each in others if each is not None)]
            term.teachers = [Teacher(each, model, context) for each in known]
            report.add_notes(note for teacher in term.teachers for note in teacher.notes)
            report.add_notes(f"{source_name(each)}: {note}" for each in known[1:] for note in each.notes)
        return report
