"""Methods whose agent begins fresh or with the source's weights, while something of the source's fades."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.algorithms.base import parts
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Count, SettingError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.fine_tuning import FineTune
from warmstart.transfer.methods.scratch import untouched
from warmstart.transfer.teaching.fading import Fade, Fading

Start = Literal["fresh", "carried"]
"""Where an agent begins: as the target drew it, or from the source's weights."""


@dataclass(frozen=True)
class FreshOrCarried(FineTune):
    """A fresh agent, or one that is fine-tuned, that is influenced by its source for some time."""

    fade: Fade = "steps"
    """What the influence falls with: training ``steps``, the agent's ``performance``, or ``never``."""

    fade_steps: Count | None = None
    """Environment steps after which it is gone; ``None`` takes half of training."""

    start: Start = "fresh"
    """Whether the agent is ``fresh`` or ``carried``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start == "carried":
            return
        if self.fade == "performance":
            told = "performance goes with start: carried, whose first steps tell the return to come up to."
            raise SettingError(("fade",), told)
        for item in fields(FineTune):  # which would do nothing
            if getattr(self, item.name) != item.default:
                raise SettingError((item.name,), "goes with start: carried; a fresh agent carries nothing.")

    @property
    @override
    def carries(self) -> bool:
        return self.start == "carried"

    def fading(self) -> Fading:
        """How the influence ends."""
        return Fading(self.fade, self.fade_steps)

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        if self.start == "carried":
            return super().initialise(model, source, context)
        self.check_algorithm(algorithm_name(model))
        return self.finish(model, untouched(self.name, model, source))

    @override
    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        steps = super().prepare(model, callback, max_steps) if self.start == "carried" else 0
        begin(model)
        return steps

    @override
    def amend(self, report: TransferReport, model: BaseAlgorithm) -> None:
        report.add_notes(told(model))

    @override
    def callbacks(self, report: TransferReport) -> list[BaseCallback]:
        return super().callbacks(report) if self.start == "carried" else []

    @override
    def fit_steps(self, algorithm: str) -> int:
        return super().fit_steps(algorithm) if self.start == "carried" else 0


def begin(model: BaseAlgorithm) -> None:
    """Say that the agent acts from now on, no longer its source."""
    for each in parts(model, Fading):
        each.begin(model)


def told(model: BaseAlgorithm) -> Sequence[str]:
    """What an agent's fadings have to say."""
    return [each.told for each in parts(model, Fading) if each.told]
