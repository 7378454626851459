"""What going on from a source's policy is expected to gain on a cold start, as a difference in area."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError

LEAST = 0.05
"""Share of the source's gain that a cold start is taken to reach at least, so that a benefit stays finite."""
POINTS = 201


@dataclass(frozen=True)
class Learning:
    """How a source learnt in its own task from a cold start, by its evaluations.

    Raises:
        WarmstartError: Steps don't grow, or there aren't as many returns.
    """

    steps: tuple[int, ...]
    returns: tuple[float, ...]
    """Mean of each evaluation."""

    def __post_init__(self) -> None:
        grow = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not grow or len(self.returns) != len(self.steps):
            raise WarmstartError("Learning is told by returns at growing steps, one for each.")

    def gains(self, chance: float, budget: int) -> NDArray[np.float64]:
        """Returns over chance in even steps of a budget; the last one is held. Shape: (points,)."""
        grid = np.linspace(0, budget, POINTS)
        return np.maximum(np.interp(grid, self.steps, self.returns) - chance, 0.0)


def straight(gain: float, chance: float, budget: int) -> Learning:
    """Learning that goes in a straight line from chance to a gain, for want of anything known."""
    return Learning((0, budget), (chance, chance + gain))


def expected_difference(
    share: float, gain: float, chance: float, learning: Learning | None, budget: int
) -> float:
    """Expected difference in area under the learning curve, in units of the cold arm's final gain on chance.

    A cold start in the target is taken to learn as the source did at home. A warm start goes in a straight
    line from what the source's policy earns at once to what the cold one ends with, or stays at the former
    where that is more. Where the source's learning isn't known it is a straight line, too: then the
    difference is half of the share, up to 1.

    Args:
        share: Of the source's gain that its policy earns in the target at once.
        gain: What the source earns at home over chance.
        chance: What chance earns at home.
        learning: How the source learnt; None where that isn't known.
        budget: Steps that both learn for.
    """
    cold = (learning or straight(gain, chance, budget)).gains(chance, budget)
    end = max(float(cold[-1]), LEAST * gain)
    start = share * gain
    area = float(np.trapezoid(cold, dx=1 / (POINTS - 1)))
    return ((start + max(start, end)) / 2 - area) / end


def cold_share(gain: float, chance: float, learning: Learning, budget: int) -> float:
    """Mean gain of a cold start over the budget, as a share of what it ends with."""
    cold = learning.gains(chance, budget)
    return float(np.trapezoid(cold, dx=1 / (POINTS - 1))) / max(float(cold[-1]), LEAST * gain)
