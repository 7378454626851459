"""Distributions of randomized values, each as the quantiles of one uniform number.

So every kind of term draws in the same way, and correlated terms are a Gaussian copula.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri
from typing_extensions import override

from warmstart.core.bounds import Before, Finite, NonNegative, Positive, unquoted
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check

Floats = NDArray[np.float64]
Number = Annotated[Finite, Before(unquoted)]
AboveZero = Annotated[Positive, Before(unquoted)]
TAIL = 1e-9
"""Unbounded distributions are cut off where this probability is left on a side: six standard deviations."""


@dataclass(frozen=True)
class Distribution:
    """What a value may be.

    Raises:
        WarmstartError: A number is out of range.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        check(self)
        low, high = (getattr(self, name, 0.0) for name in ("low", "high"))
        if low > high:
            raise WarmstartError(f"A range goes from low to high, found {low:g} to {high:g}: swap them.")

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        low, high = self.quantile(np.array([0.0, 1.0]))
        return float(low), float(high)

    def quantile(self, share: Floats) -> Floats:
        """Values below which given shares of the probability lie, between 0 and 1; same shape."""
        raise NotImplementedError(f"{type(self).__name__} has no quantile(share).")


@dataclass(frozen=True)
class Uniform(Distribution):
    """Every value between the bounds alike."""

    name: ClassVar[str] = "uniform"
    low: Number
    high: Number

    @override
    def quantile(self, share: Floats) -> Floats:
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True)
class LogUniform(Distribution):
    """Every factor between the bounds alike."""

    name: ClassVar[str] = "log_uniform"
    low: AboveZero
    high: AboveZero

    @override
    def quantile(self, share: Floats) -> Floats:
        low, high = np.log(self.low), np.log(self.high)
        return np.asarray(np.exp(low + share * (high - low)))


@dataclass(frozen=True)
class Normal(Distribution):
    """A Gaussian, cut off at six standard deviations."""

    name: ClassVar[str] = "normal"
    mean: Number
    std: AboveZero

    @override
    def quantile(self, share: Floats) -> Floats:
        return np.asarray(self.mean + self.std * ndtri(np.clip(share, TAIL, 1 - TAIL)))


@dataclass(frozen=True)
class TruncatedNormal(Distribution):
    """A Gaussian between two bounds, whose mean and standard deviation are those before the cut."""

    name: ClassVar[str] = "truncated_normal"
    mean: Number
    std: AboveZero
    low: Number
    high: Number

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._ends[1] - self._ends[0] < TAIL:
            raise WarmstartError(
                f"A normal distribution of mean {self.mean:g} and standard deviation {self.std:g} has "
                f"nothing between {self.low:g} and {self.high:g}."
            )

    @property
    def _ends(self) -> tuple[float, float]:
        low, high = ((bound - self.mean) / self.std for bound in (self.low, self.high))
        return float(ndtr(low)), float(ndtr(high))

    @override
    def quantile(self, share: Floats) -> Floats:
        first, last = self._ends
        found: Floats = self.mean + self.std * ndtri(first + share * (last - first))
        return np.clip(found, self.low, self.high)


@dataclass(frozen=True)
class Beta(Distribution):
    """A Beta distribution stretched over the bounds; 1 and 1 are uniform."""

    name: ClassVar[str] = "beta"
    low: Number
    high: Number
    alpha: AboveZero
    beta: AboveZero

    @override
    def quantile(self, share: Floats) -> Floats:
        return np.asarray(self.low + (self.high - self.low) * betaincinv(self.alpha, self.beta, share))


@dataclass(frozen=True)
class Categorical(Distribution):
    """One of several values."""

    name: ClassVar[str] = "categorical"
    values: tuple[Number, ...]
    weights: tuple[Annotated[NonNegative, Before(unquoted)], ...] = ()
    """In proportion to the probabilities; empty for equal ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.values:
            raise WarmstartError("Expected a list of values to choose from, found none.")
        if self.weights and (len(self.weights) != len(self.values) or sum(self.weights) <= 0):
            raise WarmstartError(
                f"Expected a weight of at least 0 for each of {len(self.values)} values, one of them above "
                f"0, found {list(self.weights)}."
            )

    @property
    @override
    def bounds(self) -> tuple[float, float]:
        return min(self.values), max(self.values)

    @override
    def quantile(self, share: Floats) -> Floats:
        weights = np.array(self.weights or np.ones(len(self.values)))
        ends = np.cumsum(weights) / weights.sum()  # each value has a stretch of the unit interval, in order
        return np.array(self.values)[np.searchsorted(ends[:-1], share, side="right")]


DISTRIBUTIONS: Mapping[str, type[Distribution]] = {
    kind.name: kind for kind in (Uniform, LogUniform, Normal, TruncatedNormal, Beta, Categorical)
}
"""Distributions by name."""
