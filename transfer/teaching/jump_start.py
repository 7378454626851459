"""Jump-start: a guide acts first, for ever less of an episode (JSRL, Uchendu et al. 2022, 2204.02372)."""

from collections import deque
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from typing_extensions import override

from warmstart.agents.algorithms.base import part
from warmstart.agents.algorithms.seams import EpisodeBatch, Feedback, Seams
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Bounds, Count, Natural, State
from warmstart.envs.sb3 import env_attribute
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.teaching.distill import Distill
from warmstart.transfer.teaching.seams import Guide

RECENT = 20
"""Episodes whose mean return says whether the guide may step back."""


class JumpStartGuide(Guide, Feedback):
    """Acts in the first steps of each episode; steps back when the two together are good enough, or in time.

    Args:
        stages: Horizons, from the guide's own episodes to none.
        tolerance: Share of the best stage's return that may be lost.
        schedule: ``curriculum`` or ``random``: a horizon drawn anew for each episode.
        steps: Environment steps over which it steps back in any case; None for half of training.
    """

    def __init__(self, stages: int, tolerance: float, schedule: str, steps: int | None) -> None:
        super().__init__(learn=False)
        self.stages, self.tolerance, self.schedule, self.steps = stages, tolerance, schedule, steps
        self.stage, self.best, self.horizon = 0, -np.inf, 0
        self.start: int | None = None
        self.model: BaseAlgorithm | None = None
        self.lengths: list[int] = []
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.drawn = np.zeros(0, np.int64)
        self.generator = np.random.default_rng(0)

    def begin(self, model: BaseAlgorithm) -> None:
        """The guide has acted alone: now the learner takes over at the end of its episodes."""
        self.start, self.model = model.num_timesteps, model
        self.recent.clear()
        limit = env_attribute(model.env, "time_limit")
        longest = limit if isinstance(limit, int) else self.start // model.n_envs
        self.horizon = int(np.median(self.lengths)) if self.lengths else longest
        self.generator = np.random.default_rng(model.seed or 0)

    @override
    def mask(self, episode_steps: NDArray[np.int64], step: int) -> NDArray[np.bool_]:
        if self.alone or self.start is None or self.model is None:
            return super().mask(episode_steps, step)
        steps = self.steps or max(1, (self.model._total_timesteps - self.start) // 2)
        self.stage = max(self.stage, self.stages * (step - self.start) // steps)
        if self.schedule == "random" and self.stage < self.stages:
            if len(self.drawn) != len(episode_steps):
                self.drawn = self.generator.integers(self.horizon + 1, size=len(episode_steps))
            new = episode_steps == 0
            self.drawn[new] = self.generator.integers(self.horizon + 1, size=int(new.sum()))
            return episode_steps < self.drawn
        left = max(0, self.stages - self.stage)
        return episode_steps < -(-self.horizon * left // self.stages)

    @override
    def on_episodes(self, batch: EpisodeBatch) -> None:
        self.recent.extend(batch.returns.tolist())
        if self.start is None:
            self.lengths += batch.lengths.tolist()
            self.best = float(np.mean(self.recent))
            return
        if self.stage >= self.stages or len(self.recent) < RECENT:
            return
        mean = float(np.mean(self.recent))
        if mean >= self.best - self.tolerance * abs(self.best):
            self.best, self.stage = max(self.best, mean), self.stage + 1
            self.recent.clear()

    @override
    def state_dict(self) -> State:
        return {
            "stage": self.stage,
            "best": self.best,
            "horizon": self.horizon,
            "start": self.start,
            "recent": list(self.recent),
            "drawn": self.drawn.tolist(),
            "generator": self.generator.bit_generator.state,
        }

    @override
    def load_state_dict(self, state: State) -> None:
        for name in ("stage", "best", "horizon", "start"):
            setattr(self, name, state[name])
        self.recent = deque(state["recent"], maxlen=RECENT)
        self.drawn = np.array(state["drawn"], np.int64)
        self.generator.bit_generator.state = state["generator"]


@register_method
@dataclass(frozen=True)
class JumpStart(Distill):
    """The source acts in the first steps of each episode, a fresh learner in the rest.

    First the source acts alone (``critic_fit_steps``, on which the critic is fitted); the horizon is the
    median length of its episodes, or the time limit where none has ended. It gets shorter by a stage whenever
    the two together reach the best return so far, less the tolerance, and in any case stage by stage over
    ``guide_steps``. PPO leaves the source's steps out of its loss.
    """

    name: ClassVar[str] = "jump_start"
    title: ClassVar[str] = "the source acts first, for ever shorter"
    paper: ClassVar[str] = "2204.02372"
    fills: ClassVar[tuple[str, ...]] = ("initialise", "experience", "feedback")

    stages: Count = 10
    """Horizons from the whole episode to none."""

    tolerance: Annotated[float, Bounds(0.0, 1.0)] = 0.1
    """Share of the best return that the next stage may lose."""

    schedule: Literal["curriculum", "random"] = "curriculum"
    """``curriculum``, or a ``random`` horizon for each episode."""

    guide_steps: Count | None = None
    """Environment steps over which the source steps back, if not sooner; ``None`` takes half of training."""

    updates: Natural = 0
    """Gradient steps that teach the learner the source's actions before it begins (0 in the paper)."""

    @override
    def guide(self) -> Guide:
        return JumpStartGuide(self.stages, self.tolerance, self.schedule, self.guide_steps)

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        guide = self.guide()
        assert isinstance(guide, JumpStartGuide)
        return Seams(experience=guide, feedback=(guide,))

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        part(model, JumpStartGuide).model = model
        return super().initialise(model, source, context)

    @override
    def prepare(
        self, model: BaseAlgorithm, callback: MaybeCallback = None, max_steps: int | None = None
    ) -> int:
        steps = super().prepare(model, callback, max_steps)
        part(model, JumpStartGuide).begin(model)
        return steps
