"""Guarded fine-tuning: the source's policy is tried for a small share of the budget first."""

import warnings
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.algorithms.base import part
from warmstart.agents.algorithms.seams import Feedback, Seams
from warmstart.agents.algorithms.trainability import fresh_optimizers
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Bounds, State
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import SHIFTS, register_method
from warmstart.transfer.methods.schedules import LearningRateWarmUp
from warmstart.transfer.methods.trying import Snapshot, Tried, Trying, restore, snapshot, tried
from warmstart.transfer.similarity.playing import Played, play, teacher_for

EPISODES_AT_HOME = 16


class Guard(Feedback):
    """Holds the cold start while the source's policy is tried, and what was decided."""

    def __init__(self) -> None:
        self.cold: Snapshot | None = None
        self.source: Checkpoint | None = None
        self.context: TransferContext | None = None
        self.chose_cold = False
        self.told = ""

    @override
    def state_dict(self) -> State:
        return {"chose_cold": self.chose_cold, "told": self.told}

    @override
    def load_state_dict(self, state: State) -> None:
        self.chose_cold, self.told = state["chose_cold"], state["told"]


@register_method
@dataclass(frozen=True)
class Guarded(Trying):
    """Fine-tune where the source's policy keeps something of what it can; else start cold.

    It acts in half of the environments for a small share of the budget, chance in the others (a single
    environment is shared in time). It is kept if it earns clearly more than chance, by Welch's test, and if
    what it earns over chance, and how long its episodes last, are at least a share of what they are in as
    many steps of its own task, which is simulated for that. All steps in the target count.
    """

    name: ClassVar[str] = "guarded"
    title: ClassVar[str] = "fine-tuning, or cold where the source's policy is worth little"
    serves: ClassVar[tuple[str, ...]] = SHIFTS
    paper: ClassVar[str] = ""
    fills: ClassVar[tuple[str, ...]] = ("initialise", "feedback")

    trial_share: Annotated[float, Bounds(0.0, 0.2)] = 0.025
    """Share of the budget that is spent on the trial."""

    least_kept: Annotated[float, Bounds(0.0, 1.0)] = 0.3
    """Share of what it earns at home over chance, and of how long its episodes last, that it has to keep."""

    level: Annotated[float, Bounds(0.0, 0.5)] = 0.05
    """Chance of keeping a source that earns no more than chance."""

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        return Seams(feedback=(Guard(),))

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        cold = snapshot(model)
        report = super().initialise(model, source, context)
        guard = part(model, Guard)
        guard.cold, guard.source, guard.context = cold, source, context
        return report

    @override
    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        guard, start = part(model, Guard), model.num_timesteps
        assert guard.cold is not None
        length, running = self.trials(model, callback, max_steps, 1)
        if model.n_envs == 1:  # shared in time
            length = max(1, length // 2)
        ours, chance = _shared(model, length, int(model.seed or 0), running)
        used = model.num_timesteps - start
        guard.told = (
            f"Tried for {used:,} steps, the source's policy earned {ours.returns.mean():,.1f} and chance "
            f"{chance.returns.mean():,.1f}"
        )
        kept = clearly_more(ours.returns, chance.returns, self.level)
        if not kept:
            guard.told += ", which isn't clearly less"
        else:
            kept = self._worth(guard, ours, chance, length)
        cold, guard.cold, guard.source, guard.context = guard.cold, None, None, None
        guard.chose_cold = not kept
        if not kept:
            guard.told += ": the agent starts cold."
            restore(model, cold)
            fresh_optimizers(model)
            for name, value in cold["settings"].items():  # which count from the first step
                if value is not None:
                    setattr(model, name, value + used)
            return used
        guard.told += ": it is fine-tuned."
        left = None if max_steps is None else max_steps - used
        return used + super().prepare(model, callback, left)

    def _worth(self, guard: Guard, ours: Tried, chance: Tried, length: int) -> bool:
        """Whether the source's policy keeps enough of what it earns at home in as many steps."""
        assert guard.source is not None
        assert guard.context is not None
        try:
            own, nobody = at_home(guard.source, guard.context, length)
        except WarmstartError as error:
            guard.told += f" (no comparison with its own task: {' '.join(str(error).split())})"
            return True
        gain = float(own.returns.mean() - nobody.returns.mean())
        if gain <= 0:
            guard.told += ", but in its own task no more than chance in as many steps"
            return False
        share = float(ours.returns.mean() - chance.returns.mean()) / gain
        lasted = float(ours.lengths.mean()) / float(own.running.sum(0).mean())
        guard.told += (
            f"; that is {share:.0%} of its gain in its own task in as many steps, and its episodes last "
            f"{lasted:.0%} as long"
        )
        return min(share, lasted) >= self.least_kept

    @override
    def callbacks(self, report: TransferReport) -> list[BaseCallback]:
        steps = [each.steps for each in super().callbacks(report) if isinstance(each, LearningRateWarmUp)]
        return [_WarmUpUnlessCold(steps[0])] if steps else []

    @override
    def amend(self, report: TransferReport, model: BaseAlgorithm) -> None:
        guard = part(model, Guard)
        report.add_notes((guard.told,))
        if guard.chose_cold:
            for entry in report.entries:
                report.change(
                    entry.name, action="untouched", frozen=False, reason="dropped: as the target drew it"
                )


class _WarmUpUnlessCold(LearningRateWarmUp):
    """A cold start begins at the full learning rate."""

    @property
    @override
    def factor(self) -> float:
        return 1.0 if part(self.model, Guard).chose_cold else super().factor


def _shared(model: BaseAlgorithm, length: int, seed: int, callback: BaseCallback) -> tuple[Tried, Tried]:
    """What a model's policy and chance earn in so many steps of each environment."""
    if model.n_envs == 1:
        ours = tried(model, length, seed, callback)
        return ours, tried(model, length, seed, callback, chance=1)
    chance = model.n_envs // 2
    both = tried(model, length, seed, callback, chance=chance)
    return both[:-chance], both[-chance:]


def at_home(source: Checkpoint, context: TransferContext, length: int) -> tuple[Played, Played]:
    """What a source's policy and chance earn in its own task, in at most so many steps of each episode.

    Raises:
        WarmstartError: The task isn't known, can't be made, or shows something else than arrays of states.
    """
    if source.task is None:
        raise WarmstartError("the source doesn't say in which task it was trained; source_task says it.")
    if source.reward is not None:
        raise WarmstartError("the source was trained without its task's reward.")
    home = Task.parse(source.task)
    act = teacher_for(source, home, replace(context, observation_map={}, action_map={})).act
    own, nobody = (play(home, actor, EPISODES_AT_HOME, 0, length) for actor in (act, None))
    return own, nobody


def clearly_more(ours: NDArray[np.float64], theirs: NDArray[np.float64], level: float) -> bool:
    """Whether one side earned more, by Welch's one-sided t test; by the means where nothing spreads."""
    from scipy import stats  # which takes long to import

    if min(len(ours), len(theirs)) < 2:
        return bool(ours.mean() > theirs.mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # episodes that are all as long have no variance
        p = float(stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater").pvalue)
    return bool(ours.mean() > theirs.mean()) if np.isnan(p) else p < level
