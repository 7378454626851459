"""How much of its return a policy keeps when the simulation stops being true."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.envs.describe import describe
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.correlations import Correlation
from warmstart.sim2real.randomization.randomization import Randomization
from warmstart.sim2real.randomization.terms import Term
from warmstart.sim2real.reality import Reality
from warmstart.sim2real.robustness import play_episodes

Floats = NDArray[np.float64]
_RANGE_STREAM = 0x6A9
CONTEXTS = 256
"""Draws of the range in which a policy is judged, one episode each."""
SKILLED = 0.2
"""Share of a good policy's nominal return, both above chance, that another needs to have some to keep."""


@dataclass(frozen=True, eq=False)
class Gap:
    """Returns of one policy where it believes to be, around it, and in a reality."""

    policy: str
    """What it is called."""
    nominal: Floats
    """Return of each episode in the nominal task. Shape: (episodes,)."""
    reality: Floats
    """Return of each episode in the reality. Shape: (episodes,)."""
    in_range: Floats
    """Return in each draw of the range; empty where there is none. Shape: (policies, draws)."""
    interactions: int
    """Steps that were taken in the reality."""
    diverged: int = 0
    """Simulations that diverged and ended their episodes, wherever that was."""

    @property
    def worst(self) -> float:
        """Mean return in the worst tenth of the range's draws, each policy's own; NaN without a range."""
        if not self.in_range.size:
            return float("nan")
        ordered = np.sort(self.in_range, axis=1)
        return float(ordered[:, : max(1, ordered.shape[1] // 10)].mean())

    def kept(self, chance: float, good: float | None = None) -> float:
        """Share of the nominal return that is kept in the reality, both above chance; NaN if there is none.

        Args:
            chance: Mean return of random actions in the reality; see `random_return`.
            good: Nominal return of a good policy; with less than a fifth of it there is none (see `SKILLED`).
        """
        nominal = float(self.nominal.mean()) - chance
        needed = 0.0 if good is None else max(0.0, SKILLED * (good - chance))
        return (float(self.reality.mean()) - chance) / nominal if nominal > needed else float("nan")

    def distance(self, oracle: "Gap") -> float:
        """How far it is below an oracle in the reality."""
        return float(oracle.reality.mean() - self.reality.mean())

    def to_json(self) -> Settings:
        """Plain values."""
        return {
            "policy": self.policy,
            "nominal": float(self.nominal.mean()),
            "in_range": float(self.in_range.mean()) if self.in_range.size else None,
            "worst_10_percent": self.worst,
            "reality": float(self.reality.mean()),
            "reality_std": float(self.reality.std()),
            "interactions": self.interactions,
            "diverged": self.diverged,
        }


def measure_gap(
    name: str,
    checkpoint: Checkpoint,
    reality: Reality,
    terms: Sequence[Term] = (),
    correlations: Sequence[Correlation] = (),
    *,
    episodes: int = 32,
    seed: int = 10_000,
    n_threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Gap:
    """Let a policy play in the nominal task, in a range around it and in a reality.

    Args:
        name: What the policy is called.
        checkpoint: Whose policy plays, deterministically.
        reality: The reality; its task is the nominal one.
        terms: The range, drawn in the nominal task; none for no such figures.
        correlations: Of the terms.
        episodes: Episodes in the nominal task and in the reality.
        seed: Seed of the first episode.
        n_threads: Threads that simulate; None takes all.
        progress: Called with what is played next.

    Raises:
        WarmstartError: The policy doesn't fit the task.
    """
    policy = checkpoint.policy()
    say = progress if progress is not None else lambda _: None
    diverged = 0

    def play(env: VectorEnv[Any, Any, Any]) -> Floats:
        nonlocal diverged
        try:
            returns, more = play_episodes(policy, env, range(seed, seed + env.num_envs))
        except WarmstartError as error:
            raise WarmstartError(f"{name} in {reality.task}: {error}") from None
        diverged += more
        return returns

    say("nominal task")
    nominal = play(make_vec(reality.task, episodes, n_threads=n_threads))
    in_range = np.zeros((1, 0))
    if terms:
        say("range")
        source = Randomization(terms, seed ^ _RANGE_STREAM, correlations)
        parameters = describe(reality.task).parameters
        assert parameters is not None  # a reality is of a MuJoCo robot
        source = source.expanded(parameters)
        in_range = play(make_vec(reality.task, CONTEXTS, n_threads=n_threads, context_source=source))[None]
    say(reality.name)
    there = reality.make(episodes, n_threads=n_threads)
    return Gap(name, nominal, play(there), in_range, there.interactions, diverged)


def random_return(reality: Reality, episodes: int = 32, seed: int = 10_000) -> tuple[float, int]:
    """Mean return of uniformly random actions in a reality, and the steps that they took there."""
    env = reality.make(episodes, n_threads=1)
    space = env.action_space
    space.seed(seed)
    returns, _ = play_episodes(lambda _: space.sample(), env, range(seed, seed + episodes))
    return float(returns.mean()), env.interactions


def merge_gaps(name: str, gaps: Sequence[Gap]) -> Gap:
    """One gap of several policies, such as an arm's seeds: all their episodes together."""
    nominal, reality, in_range = (
        np.concatenate([getattr(gap, key) for gap in gaps]) for key in ("nominal", "reality", "in_range")
    )
    counts = (sum(getattr(gap, key) for gap in gaps) for key in ("interactions", "diverged"))
    return Gap(name, nominal, reality, in_range, *counts)
