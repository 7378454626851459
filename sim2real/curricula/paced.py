"""Ranges that all grow and shrink together, at the pace of the success rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from typing_extensions import override

from warmstart.core.bounds import Bounds, Fraction, SettingError
from warmstart.sim2real.curricula.base import Curriculum, CurriculumSettings, Finished, Floats, Ids
from warmstart.sim2real.curricula.positions import scaled_interval
from warmstart.sim2real.randomization.terms import Term


@dataclass(frozen=True, kw_only=True)
class PacedSettings(CurriculumSettings):
    """Widen everything at once when the agent does well."""

    method: ClassVar[str] = "paced"
    start: Fraction = 0.0
    """Share of the way from the nominal values to the widest ranges at which it starts and below which it
    never narrows: 0 is the nominal point, 1 the widest."""
    rate: Annotated[float, Bounds(0, 1, above=True)] = 0.1
    """How much of that way one change goes."""
    upper: Fraction = 0.8
    """Success rate over the last ``window`` episodes from which on the ranges widen."""
    lower: Fraction = 0.4
    """Success rate below which they narrow."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lower > self.upper:
            message = f"expected a number from {self.lower:g} to 1, found {self.upper:g}."
            raise SettingError(("upper",), message)


class PacedCurriculum(Curriculum):
    """All ranges grow and shrink together, at the pace of the success rate.

    Only episodes drawn since the last change count, and a change takes ``window`` of them.

    Attributes:
        share: How far the ranges reach from nominal (0) to widest (1).
        counted: Whether each episode that counts was a success.
    """

    settings: PacedSettings
    settings_type = PacedSettings
    saved = ("share", "counted")

    def __init__(self, terms: Sequence[Term], settings: PacedSettings, seed: int) -> None:
        super().__init__(terms, settings, seed)
        self.share = float(settings.start)
        self.counted: list[bool] = []
        self.record(0)

    @property
    @override
    def interval(self) -> tuple[Floats, Floats]:
        return scaled_interval(self.nominal, self.share)

    @override
    def sample(self, shares: Floats, env_ids: Ids, episode_ids: Ids) -> tuple[Floats, Floats]:
        low, high = self.interval
        return low + shares * (high - low), np.full(len(shares), self.share)

    @override
    def update(self, finished: Finished, step: int) -> None:
        for note, success in zip(finished.notes, finished.successes.tolist(), strict=True):
            if note != self.share:
                continue
            self.counted = [*self.counted, success][-self.settings.window :]
            if len(self.counted) == self.settings.window:
                self._pace(float(np.mean(self.counted)), step)

    def _pace(self, success_rate: float, step: int) -> None:
        change = self.settings.rate * (
            (success_rate >= self.settings.upper) - (success_rate < self.settings.lower)
        )
        # Rounded so that ten steps of 0.1 make 1.
        share = round(min(1.0, max(self.settings.start, self.share + change)), 12)
        if share != self.share:
            self.share = share
            self.counted.clear()
            self.record(step)
