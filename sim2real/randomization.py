"""Domain randomization as data: ranges over physical parameters, drawn per environment and episode.

May import envs, agents and transfer.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from warmstart.envs.errors import WarmstartError
from warmstart.envs.parameters import Operation


@dataclass(frozen=True)
class Range:
    """One term: what is randomized, between which bounds, how."""

    selector: str
    """Parameter or pattern, as in a task's text: ``torso.mass``, ``friction``, ``geom.*.friction``."""
    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    operation: Operation = "scale"
    """``scale`` multiplies the nominal value, ``add`` shifts it, ``set`` replaces it."""
    distribution: Literal["uniform", "log_uniform"] = "uniform"
    """Distribution between the bounds."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low <= self.high):
            raise WarmstartError(
                f"The range of {self.selector!r} must be two finite numbers, low <= high; "
                f"found {self.low} and {self.high}."
            )
        if self.distribution == "log_uniform" and self.low <= 0:
            raise WarmstartError(
                f"A log-uniform range needs bounds above 0; {self.selector!r} starts at {self.low}."
            )


_BOUND = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FORMS: tuple[tuple[Operation, re.Pattern[str]], ...] = (
    ("scale", re.compile(rf"x({_BOUND}):x({_BOUND})")),
    ("add", re.compile(rf"([+-]={_BOUND}):([+-]={_BOUND})")),
    ("set", re.compile(rf"({_BOUND}):({_BOUND})")),
)


def parse_range(selector: str, text: str) -> Range:
    """Read a range's text form: ``x0.5:x1.5`` scales, ``-=10:+=10`` adds, ``0.1:0.3`` sets.

    Args:
        selector: The parameter or pattern.
        text: The bounds.

    Raises:
        WarmstartError: The text is none of these.
    """
    for operation, form in _FORMS:
        found = form.fullmatch(text.strip())
        if found is not None:
            low, high = (float(bound.replace("=", "")) for bound in found.groups())
            return Range(selector, low, high, operation)
    raise WarmstartError(
        f"Expected a range for {selector!r} such as x0.5:x1.5 (scales), -=10:+=10 (adds) or 0.1:0.3 (sets), "
        f"found {text!r}."
    )


class Randomization:
    """A ``ContextSource`` that draws every episode's physics from ranges.

    The draw is keyed and counter-based: the same (seed, term, environment, episode) gives the same value
    whatever the number of environments or the order in which their episodes end.

    Args:
        ranges: The terms. An empty sequence leaves training bit-identical to no randomization.
        seed: Seed of all draws.
    """

    def __init__(self, ranges: tuple[Range, ...] | list[Range], seed: int) -> None:
        self.ranges = tuple(ranges)
        self.seed = seed
        self.terms: Sequence[tuple[str, Operation]] = tuple((r.selector, r.operation) for r in self.ranges)
        self._keys = np.array(
            [zlib.crc32(f"{r.selector}|{r.operation}|{i}".encode()) for i, r in enumerate(self.ranges)],
            dtype=np.uint64,
        )
        self._log = np.array([r.distribution == "log_uniform" for r in self.ranges], dtype=bool)
        low = np.array([r.low for r in self.ranges], dtype=np.float64)
        high = np.array([r.high for r in self.ranges], dtype=np.float64)
        self._low = np.where(self._log, np.log(np.where(self._log, low, 1.0)), low)
        self._width = np.where(self._log, np.log(np.where(self._log, high, 1.0)), high) - self._low

    def draw(self, env_ids: NDArray[Any], episode_ids: NDArray[Any]) -> NDArray[np.float64]:
        """Draw the next episodes' values.

        Args:
            env_ids: Environments that start an episode. Shape: (n,)
            episode_ids: Their episode counters. Shape: (n,)

        Returns:
            One value per term, in the units of its operation. Shape: (n, n_terms)
        """
        counter = np.asarray(episode_ids, np.uint64)[:, None]
        state = _mix(np.full((1, 1), self.seed & 0xFFFFFFFFFFFFFFFF, np.uint64))
        for part in (np.asarray(env_ids, np.uint64)[:, None], counter, self._keys[None, :]):
            state = _mix(state ^ _mix(part + np.uint64(0x9E3779B97F4A7C15)))
        uniform = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
        values: NDArray[np.float64] = self._low + uniform * self._width
        values[:, self._log] = np.exp(values[:, self._log])
        return values

    def state_dict(self) -> dict[str, Any]:
        """State to store in a checkpoint: nothing but the seed, since draws are keyed."""
        return {"seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore ``state_dict()``."""
        self.seed = int(state["seed"])


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection whose output passes BigCrush."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
