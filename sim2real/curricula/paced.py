"""Ranges that all grow and shrink together, at the pace of the success rate. May import envs and agents."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from warmstart.core.errors import WarmstartError
from warmstart.sim2real.curricula.base import (
    Curriculum,
    CurriculumSettings,
    Finished,
    Floats,
    Ids,
    scaled_interval,
)
from warmstart.sim2real.randomization.terms import Term


@dataclass(frozen=True, kw_only=True)
class PacedSettings(CurriculumSettings):
    """Widen everything at once when the agent does well."""

    method: ClassVar[str] = "paced"
    start: float = 0.0
    """Share of the way from the nominal values to the widest ranges at which it starts and below which it
    never narrows: 0 is the nominal point, 1 the widest."""
    rate: float = 0.1
    """How much of that way one change goes."""
    upper: float = 0.8
    """Success rate over the last ``window`` episodes from which on the ranges widen."""
    lower: float = 0.4
    """Success rate below which they narrow."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("start", 0, 1)
        self._check("rate", 0, 1)
        self._check("lower", 0, 1)
        self._check("upper", self.lower, 1)
        if not self.rate > 0:
            raise WarmstartError("paced: a rate of 0 never widens anything; give one above it, such as 0.1.")


class PacedCurriculum(Curriculum):
    """All ranges grow and shrink together, at the pace of the success rate.

    Only episodes drawn since the last change count, and a change takes ``window`` of them.

    Attributes:
        share: How far the ranges reach from nominal (0) to widest (1).
    """

    settings: PacedSettings
    settings_type = PacedSettings

    def __init__(self, terms: Sequence[Term], settings: PacedSettings, seed: int) -> None:
        super().__init__(terms, settings, seed)
        self.share = float(settings.start)
        self._counted: deque[bool] = deque(maxlen=settings.window)
        self.record(0)

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """See `Curriculum.interval`."""
        return scaled_interval(self.nominal, self.share)

    def sample(self, shares: Floats, env_ids: Ids, episode_ids: Ids) -> tuple[Floats, Floats]:
        """See `Curriculum.sample`; it notes the share in force."""
        del env_ids, episode_ids
        low, high = self.interval
        return low + shares * (high - low), np.full(len(shares), self.share)

    def update(self, finished: Finished, step: int) -> None:
        """See `Curriculum.update`."""
        for note, success in zip(finished.notes, finished.successes.tolist(), strict=True):
            if note != self.share:
                continue
            self._counted.append(success)
            if len(self._counted) == self.settings.window:
                self._pace(float(np.mean(self._counted)), step)

    def _pace(self, success_rate: float, step: int) -> None:
        change = self.settings.rate * (
            (success_rate >= self.settings.upper) - (success_rate < self.settings.lower)
        )
        # Rounded so that ten steps of 0.1 make 1.
        share = round(min(1.0, max(self.settings.start, self.share + change)), 12)
        if share != self.share:
            self.share = share
            self._counted.clear()
            self.record(step)

    def state_dict(self) -> dict[str, Any]:
        """See `Curriculum.state_dict`."""
        return {**super().state_dict(), "share": self.share, "counted": list(self._counted)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Curriculum.load_state_dict`."""
        super().load_state_dict(state)
        self.share = float(state["share"])
        self._counted = deque(map(bool, state["counted"]), maxlen=self.settings.window)
