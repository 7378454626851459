"""Kickstarting: learn by reward, and by what a teacher would do (Schmitt et al. 2018, 1803.03835)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Literal

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Count, NonNegative, SettingError
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.carry.source import read_source
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.fine_tuning import FineTune
from warmstart.transfer.methods.scratch import untouched
from warmstart.transfer.teaching.fading import Fade, Fading
from warmstart.transfer.teaching.seams import TeacherTerm
from warmstart.transfer.teaching.teacher import Teacher

Start = Literal["fresh", "carried"]
"""Where the student begins: as the target drew it, or from the source's weights."""


@register_method
@dataclass(frozen=True)
class Kickstart(FineTune):
    """Add ``coefficient · KL(teacher ‖ student)`` to the actor's loss, and let it fade.

    The student may have any network, and be of another algorithm: teacher and student meet in actions. A
    ``carried`` student is fine-tuned and held to what it knew while it learns (Wołczyk et al. 2024,
    2402.02868: fine-tuning forgets what it doesn't see at once).
    """

    name: ClassVar[str] = "kickstart"
    title: ClassVar[str] = "kickstarting: KL to one or several teachers"
    paper: ClassVar[str] = "1803.03835"
    fills: ClassVar[tuple[str, ...]] = ("initialise", "loss terms", "feedback")

    coefficient: NonNegative = 1.0
    """λ: of the divergence, at the beginning."""

    fade: Fade = "steps"
    """What λ falls with: ``steps``, the student's ``performance``, or ``never``."""

    fade_steps: Count | None = None
    """Environment steps after which it is 0; ``None`` takes half of training."""

    start: Start = "fresh"
    """Whether the student is ``fresh`` or ``carried``."""

    teachers: Sequence[str] = ()
    """Paths of further checkpoints that teach beside the source, all with equal weight."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fresh(self, self.start)

    @property
    @override
    def carries(self) -> bool:
        return self.start == "carried"

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        if not self.coefficient:
            return Seams()
        fading = Fading(self.fade, self.fade_steps)
        return Seams(loss_terms=(TeacherTerm(self.coefficient, fading),), feedback=(fading,))

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        self.check_algorithm(algorithm_name(model))
        if source is None:
            raise WarmstartError(f"{self.name} learns from a checkpoint; none was given.")
        if self.start == "carried":
            report = super().initialise(model, source, context)
        else:
            report = self.finish(model, untouched(self.name, model, source))
        for term in teacher_terms(model):
            term.teachers = [Teacher(source, model, context), *self._others(model, context)]
            report.add_notes(note for teacher in term.teachers for note in teacher.notes)
        return report

    @override
    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        steps = super().prepare(model, callback, max_steps) if self.start == "carried" else 0
        begin(model)
        return steps

    @override
    def amend(self, report: TransferReport, model: BaseAlgorithm) -> None:
        report.add_notes(each.told for each in fadings(model) if each.told)

    @override
    def callbacks(self, report: TransferReport) -> list[BaseCallback]:
        return super().callbacks(report) if self.start == "carried" else []

    @override
    def fit_steps(self, algorithm: str) -> int:
        return super().fit_steps(algorithm) if self.start == "carried" else 0

    def _others(self, model: BaseAlgorithm, context: TransferContext) -> list[Teacher]:
        found = []
        for path in self.teachers:
            checkpoint = read_source(Path(path))
            assert checkpoint is not None
            found.append(Teacher(checkpoint, model, context))
        return found


def check_fresh(method: FineTune, start: Start) -> None:
    """Refuse options of fine-tuning where nothing is carried: they would do nothing.

    Raises:
        SettingError: One isn't as by default.
    """
    if start == "fresh" and getattr(method, "fade", "") == "performance":
        told = "performance goes with start: carried, whose first steps tell the return to come up to."
        raise SettingError(("fade",), told)
    for item in fields(FineTune) if start == "fresh" else ():
        if getattr(method, item.name) != item.default:
            raise SettingError((item.name,), "goes with start: carried; a fresh agent carries nothing.")


def teacher_terms(model: BaseAlgorithm) -> list[TeacherTerm]:
    """The terms of an agent that have teachers."""
    terms = model.seams.loss_terms if isinstance(model, SeamAgent) else ()
    return [term for term in terms if isinstance(term, TeacherTerm)]


def fadings(model: BaseAlgorithm) -> list[Fading]:
    """The fadings in an agent's seams."""
    listeners = model.seams.feedback if isinstance(model, SeamAgent) else ()
    return [listener for listener in listeners if isinstance(listener, Fading)]


def begin(model: BaseAlgorithm) -> None:
    """Say that the student acts from now on."""
    for each in fadings(model):
        each.begin(model)
