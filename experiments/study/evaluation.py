"""How a study evaluates its agents."""

from dataclasses import dataclass

from warmstart.core.bounds import Count, Natural


@dataclass(frozen=True)
class Evaluation:
    """How agents are evaluated: deterministic policy, paired seeds, one grid of steps that includes 0."""

    every: Natural = 0
    """Training steps between two evaluations; 0 for a twentieth of the target's steps."""
    episodes: Count = 16
    """Episodes of one evaluation."""
    seed: Natural = 1_000_000
    """Seed of the first evaluation episode; the others count on from it. The same at every point of the grid,
    for every arm and every seed of the study."""
    source_every: Natural = 0
    """The same as `every` while the source agents train; 0 for `every`."""
    stop_at: float | None = None
    """Mean return of an evaluation at which training in the target ends early; None for never. Comparisons
    hold the last evaluation over the steps that were left."""
    patience: Natural = 0
    """Evaluations in a row without a better one after which it ends; 0 for never."""
