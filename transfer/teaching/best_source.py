"""Several sources: fine-tune from the one that acts best in the target."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.algorithms.base import part
from warmstart.agents.algorithms.seams import Feedback, Seams
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.carry.source import read_source, source_name
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.trying import Snapshot, Trying, restore, snapshot, tried
from warmstart.transfer.teaching.teacher import Teacher


class Candidates(Feedback):
    """The sources that can be chosen from, and what was chosen."""

    def __init__(self) -> None:
        self.sources: list[Checkpoint] = []
        self.context: TransferContext | None = None
        self.fresh: Snapshot | None = None
        self.report: TransferReport | None = None
        self.told = ""


@register_method
@dataclass(frozen=True)
class BestSource(Trying):
    """Let each source act in the target for a small share of the budget, and fine-tune from the best.

    All act from the same starts, in every environment once; what counts is what they earn until their first
    episode ends. All steps count. Every source has the target's algorithm and kind of network.
    """

    name: ClassVar[str] = "best_source"
    title: ClassVar[str] = "fine-tuning from the source that acts best"
    paper: ClassVar[str] = ""
    fills: ClassVar[tuple[str, ...]] = ("initialise", "feedback")

    sources: Sequence[str] = ()
    """Paths of further checkpoints beside the source."""

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        return Seams(feedback=(Candidates(),)) if self.sources else Seams()

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        if not self.sources:
            return super().initialise(model, source, context)
        held = part(model, Candidates)
        held.fresh, held.context = snapshot(model), context
        found = [source, *(read_source(Path(path)) for path in self.sources)]
        held.sources = [each for each in found if each is not None]
        for each in held.sources[1:]:  # whatever doesn't fit is known before anything is trained
            super().initialise(model, each, context)
            restore(model, held.fresh)
        report = super().initialise(model, source, context)
        report.add_notes(f"{source_name(each)}: {note}" for each in held.sources[1:] for note in each.notes)
        return report

    @override
    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        if not self.sources:
            return super().prepare(model, callback, max_steps)
        held = part(model, Candidates)
        assert held.context is not None
        assert held.fresh is not None
        length, running = self.trials(model, callback, max_steps, len(held.sources))
        start = model.num_timesteps
        earned = []
        for each in held.sources:
            teacher = Teacher(each, model, held.context)
            found = tried(model, length, int(model.seed or 0), running, teacher.act)
            earned.append(float(found.returns.mean()))
        best = max(range(len(earned)), key=earned.__getitem__)
        listed = ", ".join(
            f"{source_name(each)} {value:,.1f}" for each, value in zip(held.sources, earned, strict=True)
        )
        held.told = f"Tried for up to {length:,} steps of each environment the sources earned: {listed}. "
        held.told += f"It goes on from {source_name(held.sources[best])}, number {best + 1}."
        restore(model, held.fresh)
        held.report = super().initialise(model, held.sources[best], held.context)
        held.sources, held.fresh, held.context = [], None, None
        used = model.num_timesteps - start
        return used + super().prepare(model, callback, None if max_steps is None else max_steps - used)

    @override
    def amend(self, report: TransferReport, model: BaseAlgorithm) -> None:
        if not self.sources:
            return
        held = part(model, Candidates)
        if held.report is not None:
            report.entries, report.source = held.report.entries, held.report.source
            report.add_notes(held.report.notes)
        report.add_notes((held.told,))
