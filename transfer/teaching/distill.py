"""Policy distillation in the target before learning (Rusu et al. 2015, 1511.06295)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.algorithms.base import part
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.unseen import Sees
from warmstart.core.bounds import Natural, NonNegative, SettingError
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.carry.unseen import hide
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.critic import fit_critic, fit_q
from warmstart.transfer.methods.fine_tuning import CriticFitting
from warmstart.transfer.methods.scratch import untouched
from warmstart.transfer.teaching.imitation import imitate
from warmstart.transfer.teaching.seams import Guide
from warmstart.transfer.teaching.teacher import Teacher, standardised


@register_method
@dataclass(frozen=True)
class Distill(CriticFitting):
    """Let the source act in the target, teach a fresh student its actions and a fresh critic its returns.

    The student may have any network and be of another algorithm. The steps in which the source acts
    (``critic_fit_steps``) are counted as the target's. Then the student learns by reward alone.
    """

    name: ClassVar[str] = "distill"
    title: ClassVar[str] = "distillation into a fresh student, then reward"
    paper: ClassVar[str] = "1511.06295"
    fills: ClassVar[tuple[str, ...]] = ("initialise", "experience")

    updates: Natural = 2_000
    """Gradient steps of the student on the source's actions, in batches of 256."""

    learning_rate: NonNegative = 1e-3
    """Of those."""

    student_sees: Sees = "all"
    """``pixels`` or ``state`` where the task shows both (``obs=pixels+state``, frozen encoder): the student
    reads nothing else, its teacher takes what it knows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic_fit_steps == 0 and self.updates:
            raise SettingError(
                ("critic_fit_steps",), "the source has to act for some steps: expected more than 0."
            )

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        return Seams(experience=self.guide())

    def guide(self) -> Guide:
        """Who acts in the agent's place."""
        return Guide()

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        source = self.needed(model, source)
        report = self.finish(model, untouched(self.name, model, source))
        report.add_notes(hide(model, self.student_sees, self.name))
        guide = part(model, Guide)
        guide.teacher = Teacher(source, model, context)
        report.add_notes(guide.teacher.notes)
        report.add_notes(act_from_first_step(model, self.fit_steps(algorithm_name(model))))
        return report

    @override
    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        guide = part(model, Guide)
        guide.alone = True
        if isinstance(model, PPO):
            steps = super().prepare(model, callback, max_steps)
        else:
            asked = self.fit_steps(algorithm_name(model))
            steps = fit_critic(model, asked, callback, updates=0, max_steps=max_steps)
        guide.alone = False
        distil(model, guide, self.updates, self.learning_rate)
        if self.updates and isinstance(model, SAC | TD3 | TQC | CrossQ):  # whose critics ask the student
            rate = float(model.lr_schedule(model._current_progress_remaining))
            known = self.critic_learning_rate
            fit_q(model, self.critic_updates, rate if known is None else known)
        return steps


def distil(model: BaseAlgorithm, guide: Guide, updates: int, learning_rate: float) -> None:
    """Teach an agent's actor what its guide did in the states that it saw, which are forgotten then.

    Args:
        model: The agent.
        guide: Has acted alone.
        updates: Gradient steps.
        learning_rate: Of Adam.
    """
    if not guide.seen or guide.teacher is None or not updates:
        guide.seen.clear()
        return
    first = guide.seen[0]
    raw: Any = (
        {key: np.concatenate([seen[key] for seen in guide.seen]) for key in first}
        if isinstance(first, dict)
        else np.concatenate(guide.seen)
    )
    guide.seen.clear()
    observations = standardised(model, raw)
    with torch.no_grad():
        targets = guide.teacher.targets(model, observations)
    left = imitate(model, observations, targets, updates, learning_rate, model.seed or 0)
    model.logger.record("fit/imitation", left)
    model.logger.dump(step=model.num_timesteps)
