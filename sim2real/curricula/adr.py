"""Automatic domain randomization: every end of every range moves on its own (Akkaya et al. 2019).

Source: "Solving Rubik's Cube with a Robot Hand", arXiv 1910.07113, algorithm 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from typing_extensions import override

from warmstart.core.bounds import Bounds, Count, Finite, Fraction, SettingError
from warmstart.core.keyed import keys_of, uniforms
from warmstart.sim2real.curricula.base import Curriculum, CurriculumSettings, Finished, Floats, Ids
from warmstart.sim2real.curricula.positions import scaled_interval
from warmstart.sim2real.randomization.terms import Term

_PROBES = keys_of(["adr|probes", "adr|boundary"])


@dataclass(frozen=True, kw_only=True)
class ADRSettings(CurriculumSettings):
    """Move an end of a range by how the agent does at that very end."""

    method: ClassVar[str] = "adr"
    t_low: Finite
    """Mean return below which an end moves inwards."""
    t_high: Finite | None = None
    """Mean return from which on an end moves outwards; None takes ``success``."""
    start: Fraction = 0.0
    """Share of the way from the nominal values to the widest ranges at which the ends start and inside of
    which they never move: 0 is the nominal point."""
    delta: Annotated[float, Bounds(0, 2, above=True)] = 0.1
    """How far an end moves, in halves of the widest range (of its logarithm for log-uniform terms)."""
    buffer: Count = 240
    """Episodes at an end before it is judged."""
    boundary_probability: Annotated[float, Bounds(0, 1, above=True)] = 0.5
    """Share of the episodes that have one term at one of its ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.t_low > self.upper:
            most = f"{'success' if self.t_high is None else 't_high'}, {self.upper:g}"
            raise SettingError(("t_low",), f"expected t_low of at most {most}, found {self.t_low:g}.")

    @property
    def upper(self) -> float:
        """Mean return from which on an end moves outwards."""
        return self.success if self.t_high is None else self.t_high


class ADR(Curriculum):
    """Uniform ranges of which each end is probed and moved on its own.

    Half the episodes put one term at one of its ends, both chosen at random, and draw the others; their
    returns are collected for each end, which is judged by the mean of ``buffer`` of them. The other half
    draws all terms within their ranges.

    An episode that was begun before its end moved tells nothing about where the end is now; it isn't
    collected (algorithm 1 knows of no episodes under way).

    Attributes:
        low: Lower ends, as positions. Shape: (terms,).
        high: Upper ends. Shape: (terms,).
        buffers: Returns at each end since it was last judged.
    """

    settings: ADRSettings
    settings_type = ADRSettings
    saved = ("low", "high", "buffers")

    def __init__(self, terms: Sequence[Term], settings: ADRSettings, seed: int) -> None:
        super().__init__(terms, settings, seed)
        self.low, self.high = scaled_interval(self.nominal, settings.start)
        self.buffers: list[list[float]] = [[] for _ in range(2 * len(self.randomized))]
        self.record(0)

    @property
    @override
    def interval(self) -> tuple[Floats, Floats]:
        return self.low, self.high

    def sample(self, shares: Floats, env_ids: Ids, episode_ids: Ids) -> tuple[Floats, Floats]:
        """Sample between the ends, or at one that is probed; note its number, or -1.

        Ends are numbered: twice the term, plus 1 for the upper one. Shapes as in `Curriculum.sample`.
        """
        positions = self.low + shares * (self.high - self.low)
        chances = uniforms(self.seed, _PROBES, env_ids, episode_ids, np.zeros_like(env_ids))
        ends = np.floor(chances[:, 1] * len(self.buffers)).astype(np.int64)
        probed = np.flatnonzero(chances[:, 0] < self.settings.boundary_probability)
        for row in probed:
            positions[row, ends[row] // 2] = self._end(ends[row])
        notes = np.full(len(shares), -1.0)
        notes[probed] = ends[probed]
        return positions, notes

    @override
    def update(self, finished: Finished, step: int) -> None:
        for position, note, performance in zip(
            finished.positions, finished.notes, finished.returns.tolist(), strict=True
        ):
            end = int(note)
            if end < 0 or position[end // 2] != self._end(end):
                continue
            buffer = self.buffers[end]
            buffer.append(performance)
            if len(buffer) >= self.settings.buffer:
                mean = float(np.mean(buffer))
                buffer.clear()
                self._judge(end, mean, step)

    def _judge(self, end: int, mean: float, step: int) -> None:
        """Move an end outwards or inwards, or leave it, by the mean return there."""
        outwards = int(mean >= self.settings.upper) - int(mean < self.settings.t_low)
        term, is_upper = divmod(end, 2)
        # Positions measure whole ranges, delta halves of them; rounded so that ten steps of 0.1 make 1.
        moved = round(self._end(end) + (1 if is_upper else -1) * outwards * self.settings.delta / 2, 12)
        low, high = scaled_interval(self.nominal[term : term + 1], self.settings.start)
        inner = float(high[0] if is_upper else low[0])
        moved = min(1.0, max(inner, moved)) if is_upper else max(0.0, min(inner, moved))
        if moved != self._end(end):
            (self.high if is_upper else self.low)[term] = moved
            self.record(step)

    def _end(self, end: int) -> float:
        return float((self.high if end % 2 else self.low)[end // 2])
