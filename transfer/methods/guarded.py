"""Guarded fine-tuning: a warm and a cold start are tried for a small share of the budget."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.algorithms.base import part
from warmstart.agents.algorithms.seams import Feedback, Seams
from warmstart.agents.algorithms.trainability import fresh_optimizers
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.normalization import read_normalizer, write_normalizer
from warmstart.core.bounds import Bounds, Count, State
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import SHIFTS, register_method
from warmstart.transfer.methods.fine_tuning import FineTune
from warmstart.transfer.methods.schedules import LearningRateWarmUp

Snapshot = dict[str, Any]
"""Everything in which a warm and a cold start of one agent differ."""


class Guard(Feedback):
    """Holds the cold start while the warm one is tried, and what was decided."""

    def __init__(self) -> None:
        self.cold: Snapshot | None = None
        self.chose_cold = False
        self.told = ""

    @override
    def state_dict(self) -> State:
        return {"chose_cold": self.chose_cold, "told": self.told}

    @override
    def load_state_dict(self, state: State) -> None:
        self.chose_cold, self.told = state["chose_cold"], state["told"]


@dataclass(frozen=True)
class Trying(FineTune):
    """A method that tries what it could go on from for a small share of the budget."""

    trial_share: Annotated[float, Bounds(0.0, 0.2)] = 0.02
    """Share of the budget of each trial."""

    least_trial: Count = 32
    """Steps of each environment in a trial, at least."""

    def trials(
        self, model: BaseAlgorithm, callback: MaybeCallback, max_steps: int | None, count: int
    ) -> tuple[int, BaseCallback]:
        """Begin some trials.

        Returns:
            Steps of each environment in one of them, together no more than the budget, and what to call.
        """
        budget = max_steps if max_steps is not None else 20 * self.fit_steps(algorithm_name(model))
        wanted = max(self.least_trial, round(self.trial_share * budget / model.n_envs))
        running = model._init_callback(callback)
        running.on_training_start({"self": model}, globals())
        return max(1, min(wanted, budget // (count * model.n_envs))), running


@register_method
@dataclass(frozen=True)
class Guarded(Trying):
    """Fine-tune where the source's policy acts clearly better than a fresh one; else start cold.

    Both act from the same starts, in every environment once, for a small share of the budget each; a paired t
    test over the environments decides on what they earned until their first episode ended. A single
    environment is played as often as the steps allow, and Welch's test decides. All steps count.
    """

    name: ClassVar[str] = "guarded"
    title: ClassVar[str] = "fine-tuning, or cold where the source doesn't act better"
    serves: ClassVar[tuple[str, ...]] = SHIFTS
    paper: ClassVar[str] = ""
    fills: ClassVar[tuple[str, ...]] = ("initialise", "feedback")

    level: Annotated[float, Bounds(0.0, 0.5)] = 0.05
    """Chance of a warm start where the two are alike."""

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        return Seams(feedback=(Guard(),))

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        cold = snapshot(model)
        report = super().initialise(model, source, context)
        part(model, Guard).cold = cold
        return report

    @override
    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        guard = part(model, Guard)
        length, running = self.trials(model, callback, max_steps, 2)
        start, seed = model.num_timesteps, int(model.seed or 0)
        warm, held = tried(model, length, seed, running), snapshot(model)
        assert guard.cold is not None
        restore(model, guard.cold)
        cold = tried(model, length, seed, running)
        better = clearly_more(warm, cold, self.level, paired=model.n_envs > 1)
        guard.told = (
            f"Tried for up to {length:,} steps of {model.n_envs} environments each, the source's policy "
            f"earned {warm.mean():,.1f} and a fresh one {cold.mean():,.1f}"
        )
        used = model.num_timesteps - start
        guard.cold, guard.chose_cold = None, not better
        if not better:
            guard.told += ": not clearly more, so the agent starts cold."
            fresh_optimizers(model)
            for name, value in snapshot(model)["settings"].items():  # which count from the first step
                if value is not None:
                    setattr(model, name, value + used)
            return used
        guard.told += ": it is fine-tuned."
        restore(model, held)
        fresh_optimizers(model)
        left = None if max_steps is None else max_steps - used
        return used + super().prepare(model, callback, left)

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


def snapshot(model: BaseAlgorithm) -> Snapshot:
    """What a start is made of: parameters, statistics, exploration, and when learning begins."""
    held = {
        name: getattr(model, name) for name in ("random_steps", "learning_starts") if hasattr(model, name)
    }
    log_ent_coef = getattr(model, "log_ent_coef", None)
    return {
        "policy": {name: tensor.detach().clone() for name, tensor in model.policy.state_dict().items()},
        "normalizer": None if model.env is None else read_normalizer(model.env),
        "log_ent_coef": None if log_ent_coef is None else log_ent_coef.detach().clone(),
        "settings": held,
    }


def restore(model: BaseAlgorithm, held: Snapshot) -> None:
    """Put a start back in place; optimizers are another matter."""
    model.policy.load_state_dict(held["policy"])
    if held["normalizer"] is not None and model.env is not None:
        write_normalizer(model.env, held["normalizer"])
    if held["log_ent_coef"] is not None:
        model.log_ent_coef.data.copy_(held["log_ent_coef"])  # type: ignore[attr-defined]
    for name, value in held["settings"].items():
        setattr(model, name, value)
    model._last_obs = None


def tried(
    model: BaseAlgorithm,
    length: int,
    seed: int,
    callback: BaseCallback,
    actor: Callable[[Any], NDArray[Any]] | None = None,
) -> NDArray[np.float64]:
    """What a deterministic policy earns in each environment until its first episode ends.

    Args:
        model: Whose environment it is; statistics stand still.
        length: Steps at most.
        seed: Of the starts.
        callback: Runs in the steps, which are counted.
        actor: From observations, not standardised, to actions; None for the model's own policy.

    Returns:
        Undiscounted, not scaled. Shape: (n_envs,), or of a single environment (episodes,).
    """
    env = model.env
    assert env is not None
    wrapper = model.get_vec_normalize_env()
    training = wrapper is not None and wrapper.training
    if wrapper is not None:
        wrapper.training = False
    env.seed(seed)
    observations: Any = env.reset()
    earned, running = np.zeros(env.num_envs), np.ones(env.num_envs, bool)
    episodes: list[float] = []
    for _ in range(length):
        if actor is None:
            actions = model.predict(observations, deterministic=True)[0]
        else:
            actions = actor(observations if wrapper is None else wrapper.get_original_obs())
        observations, rewards, dones, infos = env.step(actions)
        plain: Any = rewards if wrapper is None else wrapper.get_original_reward()
        earned[running] += plain[running]
        running &= ~dones
        model.num_timesteps += env.num_envs
        callback.update_locals({"self": model, "rewards": rewards, "dones": dones, "infos": infos})
        if not callback.on_step():
            break
        if env.num_envs == 1 and dones[0]:
            episodes.append(float(earned[0]))
            earned[0], running[0] = 0.0, True
        elif not running.any():
            break
    if wrapper is not None:
        wrapper.training = training
    model._last_obs = None
    return np.array(episodes) if episodes else earned


def clearly_more(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], level: float, *, paired: bool
) -> bool:
    """Whether one side earned more, by a one-sided t test; without spread, whether its mean is larger."""
    from scipy import stats  # which takes long to import

    if min(len(ours), len(theirs)) < 2:
        return bool(ours.mean() > theirs.mean())
    if paired:
        p = float(stats.ttest_rel(ours, theirs, alternative="greater").pvalue)
    else:
        p = float(stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater").pvalue)
    return bool(ours.mean() > theirs.mean()) if np.isnan(p) else p < level
