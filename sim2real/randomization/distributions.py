"""Distributions of randomized values, each as the quantiles of one uniform number.

So every kind of term draws in the same way, and correlated terms are a Gaussian copula. May import envs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri

from warmstart.core.errors import WarmstartError, unknown_name

Floats = NDArray[np.float64]
TAIL = 1e-9
"""Unbounded distributions are cut off where this probability is left on a side: six standard deviations."""


class Distribution:
    """What a value may be."""

    name: ClassVar[str]

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        low, high = self.quantile(np.array([0.0, 1.0]))
        return float(low), float(high)

    def quantile(self, share: Floats) -> Floats:
        """Values below which given shares of the probability lie, between 0 and 1; same shape."""
        raise NotImplementedError(f"{type(self).__name__} has no quantile(share).")

    def to_json(self) -> dict[str, Any]:
        """Plain values, the name under ``distribution``."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}  # type: ignore[call-overload]
        return {"distribution": self.name, **values}


@dataclass(frozen=True)
class Uniform(Distribution):
    """Every value between the bounds alike."""

    name: ClassVar[str] = "uniform"
    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)

    def quantile(self, share: Floats) -> Floats:
        """See `Distribution.quantile`."""
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True)
class LogUniform(Distribution):
    """Every factor between the bounds alike."""

    name: ClassVar[str] = "log_uniform"
    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if self.low <= 0:
            raise WarmstartError(f"A log-uniform range needs bounds above 0, found {self.low:g}.")

    def quantile(self, share: Floats) -> Floats:
        """See `Distribution.quantile`."""
        low, high = np.log(self.low), np.log(self.high)
        found: Floats = np.exp(low + share * (high - low))
        return found


@dataclass(frozen=True)
class Normal(Distribution):
    """A Gaussian, cut off at six standard deviations."""

    name: ClassVar[str] = "normal"
    mean: float
    std: float

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def quantile(self, share: Floats) -> Floats:
        """See `Distribution.quantile`."""
        found: Floats = self.mean + self.std * ndtri(np.clip(share, TAIL, 1 - TAIL))
        return found


@dataclass(frozen=True)
class TruncatedNormal(Distribution):
    """A Gaussian between two bounds, whose mean and standard deviation are those before the cut."""

    name: ClassVar[str] = "truncated_normal"
    mean: float
    std: float
    low: float
    high: float

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)
        _check_bounds(self.low, self.high)
        if self._ends[1] - self._ends[0] < TAIL:
            raise WarmstartError(
                f"A normal distribution of mean {self.mean:g} and standard deviation {self.std:g} has "
                f"nothing between {self.low:g} and {self.high:g}."
            )

    @property
    def _ends(self) -> tuple[float, float]:
        low, high = ((bound - self.mean) / self.std for bound in (self.low, self.high))
        return float(ndtr(low)), float(ndtr(high))

    def quantile(self, share: Floats) -> Floats:
        """See `Distribution.quantile`."""
        first, last = self._ends
        found: Floats = self.mean + self.std * ndtri(first + share * (last - first))
        return np.clip(found, self.low, self.high)


@dataclass(frozen=True)
class Beta(Distribution):
    """A Beta distribution stretched over the bounds; 1 and 1 are uniform."""

    name: ClassVar[str] = "beta"
    low: float
    high: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if not (0 < self.alpha < np.inf and 0 < self.beta < np.inf):
            raise WarmstartError(
                f"A Beta distribution needs alpha and beta above 0, found {self.alpha:g} and {self.beta:g}."
            )

    def quantile(self, share: Floats) -> Floats:
        """See `Distribution.quantile`."""
        found: Floats = self.low + (self.high - self.low) * betaincinv(self.alpha, self.beta, share)
        return found


@dataclass(frozen=True)
class Categorical(Distribution):
    """One of several values."""

    name: ClassVar[str] = "categorical"
    values: tuple[float, ...]
    weights: tuple[float, ...] = ()
    """In proportion to the probabilities; empty for equal ones."""

    def __post_init__(self) -> None:
        if not self.values or not np.isfinite(self.values).all():
            raise WarmstartError(f"Expected finite values to choose from, found {list(self.values)}.")
        if self.weights and (
            len(self.weights) != len(self.values)
            or not np.isfinite(self.weights).all()
            or min(self.weights) < 0
            or sum(self.weights) <= 0
        ):
            raise WarmstartError(
                f"Expected a weight of at least 0 for each of {len(self.values)} values, one of them above "
                f"0, found {list(self.weights)}."
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return min(self.values), max(self.values)

    def quantile(self, share: Floats) -> Floats:
        """The value into whose stretch of the unit interval a share falls, in the order they are given."""
        weights = np.array(self.weights or np.ones(len(self.values)))
        ends = np.cumsum(weights) / weights.sum()
        chosen = np.searchsorted(ends[:-1], share, side="right")
        return np.array(self.values)[chosen]


DISTRIBUTIONS: Mapping[str, type[Distribution]] = {
    kind.name: kind for kind in (Uniform, LogUniform, Normal, TruncatedNormal, Beta, Categorical)
}
"""Distributions by name."""


def distribution_kind(name: str) -> type[Distribution]:
    """A distribution by its name; an unknown one is an error that lists those there are."""
    if name not in DISTRIBUTIONS:
        raise unknown_name("distribution", name, DISTRIBUTIONS)
    return DISTRIBUTIONS[name]


def _check_bounds(low: float, high: float) -> None:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise WarmstartError(f"A range needs two finite bounds, found {low:g} and {high:g}.")
    if low > high:
        raise WarmstartError(f"A range goes from low to high, found {low:g} to {high:g}: swap them.")


def _check_normal(mean: float, std: float) -> None:
    if not (np.isfinite(mean) and 0 < std < np.inf):
        raise WarmstartError(
            f"A normal distribution needs a finite mean and a standard deviation above 0, found {mean:g} and "
            f"{std:g}."
        )
