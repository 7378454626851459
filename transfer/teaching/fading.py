"""How a teacher's influence ends: by steps, or as its student comes up to it."""

from collections import deque
from typing import Literal

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.seams import EpisodeBatch, Feedback
from warmstart.core.bounds import State

Fade = Literal["steps", "performance", "never"]
"""``steps``: linearly over training steps; ``performance``: with what the student's return still lacks of
the teacher's (QDagger, Agarwal et al. 2206.01626, equation 3); ``never``."""
RECENT, FIRST = 100, 20
"""Episodes over which the student's return is averaged, and those that say where it began."""


class Fading(Feedback):
    """A share from 1 to 0.

    Args:
        fade: What it falls with.
        steps: Environment steps after which it is 0; None for half of training.
    """

    def __init__(self, fade: Fade, steps: int | None) -> None:
        self.fade, self.steps = fade, steps
        self.start: int | None = None
        self.teacher: list[float] = []
        self.first: list[float] = []
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.told = ""

    def begin(self, model: BaseAlgorithm) -> None:
        """From now on it is the student who acts; the episodes before were the teacher's.

        Where none of them ended the teacher's return isn't known, and the share falls with steps.
        """
        self.start = model.num_timesteps
        if self.fade == "performance" and not self.teacher:
            self.fade = "steps"
            self.told = (
                "No episode of the teacher ended before the student began: its influence fades with steps, "
                "not with performance."
            )

    def share(self, model: BaseAlgorithm) -> float:
        """How much of the teacher's influence is left."""
        start = self.start or 0
        if self.fade == "never" or self.start is None:
            return 1.0
        if self.fade == "performance":
            return self._lacking()
        steps = self.steps or max(1, (model._total_timesteps - start) // 2)
        return min(1.0, max(0.0, 1.0 - (model.num_timesteps - start) / steps))

    def _lacking(self) -> float:
        """What the student lacks, as a share of the teacher's return.

        Where that isn't positive, as a share of the way to it from the student's first returns.
        """
        if not self.teacher or not self.recent:
            return 1.0
        high, own = float(np.mean(self.teacher)), float(np.mean(self.recent))
        low = 0.0 if high > 0 else float(np.mean(self.first))
        if high <= low:
            return 0.0
        return min(1.0, max(0.0, (high - own) / (high - low)))

    @override
    def on_episodes(self, batch: EpisodeBatch) -> None:
        returns = batch.returns.tolist()
        if self.start is None:
            self.teacher += returns
            return
        self.first += returns[: max(0, FIRST - len(self.first))]
        self.recent.extend(returns)

    @override
    def state_dict(self) -> State:
        return {
            "fade": self.fade,
            "start": self.start,
            "teacher": self.teacher,
            "first": self.first,
            "recent": list(self.recent),
            "told": self.told,
        }

    @override
    def load_state_dict(self, state: State) -> None:
        self.fade, self.start, self.told = state["fade"], state["start"], state["told"]
        self.teacher, self.first = state["teacher"], state["first"]
        self.recent = deque(state["recent"], maxlen=RECENT)
