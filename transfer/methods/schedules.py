"""Learning-rate warm-up, as a callback that works on plain SB3 models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from warmstart.core.bounds import State


@dataclass
class ScaledSchedule:
    """A learning-rate schedule times a factor that a callback sets. SB3 asks it before every update."""

    base: Callable[[float], float]
    """From the progress that remains, 1 to 0, to a rate."""
    factor: float

    def __call__(self, progress_remaining: float) -> float:
        """Return the scaled rate."""
        return self.factor * self.base(progress_remaining)


class LearningRateWarmUp(BaseCallback):
    """Raise the learning rate from nothing to the model's own schedule over the first steps of ``learn``.

    Fresh Adam moments make the first steps as long as the learning rate allows, whatever the gradient
    (google/brax #655).
    """

    def __init__(self, steps: int) -> None:
        """Warm up over ``steps`` environment steps, counted from the first call of ``learn``."""
        super().__init__()
        self.steps = steps
        self.start: int | None = None

    @property
    def factor(self) -> float:
        """Current share of the full learning rate, in [0, 1]."""
        if self.start is None:
            return 0.0
        return min(1.0, max(0.0, (self.model.num_timesteps - self.start) / max(1, self.steps)))

    def state_dict(self) -> State:
        """Return where the warm-up began."""
        return {"start": self.start}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""
        self.start = state["start"]

    def _on_training_start(self) -> None:
        if self.start is None or self.start > self.model.num_timesteps:
            self.start = self.model.num_timesteps
        self._apply()

    def _on_rollout_end(self) -> None:
        self._apply()

    def _on_step(self) -> bool:
        return True

    def _apply(self) -> None:
        schedule: Any = self.model.lr_schedule
        if self.factor < 1.0:
            if not isinstance(schedule, ScaledSchedule):
                schedule = self.model.lr_schedule = ScaledSchedule(schedule, self.factor)
            schedule.factor = self.factor
        elif isinstance(schedule, ScaledSchedule):
            self.model.lr_schedule = schedule.base
