"""Variants of an exported policy side by side: size, latency, difference of actions, return."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.deployment.runtime.contract import Contract
from warmstart.sim2real.export.compress import Feed
from warmstart.sim2real.export.parity import Comparison, Graph, compare, open_session

CONFIDENCE, FEWEST = 0.95, 4
"""Of the interval, and episodes without which there is none."""
RUNS = 2_000
"""Steps that are timed."""


@dataclass(frozen=True)
class Latency:
    """Times of one step at batch 1 in one thread, in ms."""

    p50: float
    p99: float
    most: float


@dataclass(frozen=True)
class Judged:
    """A variant."""

    name: str
    """``float32``, or what became of it."""
    size: int
    """Bytes of the graph; 0 for SB3's ``predict``."""
    latency: Latency
    """Of one step."""
    largest: float
    """Largest difference of an action from the policy's, as a share of its range."""
    mean: float
    """Mean undiscounted return in closed loop."""
    lost: float
    """Mean paired difference of the returns from the policy's own: what the variant gives less, as a share
    of the size of the policy's return."""
    low: float
    """Least that it might lose: a bound of the 95% interval, as a share of the policy's return."""
    high: float
    """Most that it might lose: the other bound."""

    def good(self, tolerance: float) -> bool:
        """Whether even the bad end of the interval loses no more than that share of the return."""
        return self.high <= tolerance


def played(
    model: bytes, contract: Contract, policy: Policy, task: Task, episodes: int, seed: int
) -> Comparison:
    """Episodes of a graph in closed loop, and the policy asked on the way."""
    with closing(make_vec(task, episodes, seed, n_threads=1)) as env:
        return compare(Graph(model, contract, episodes), policy, env, seed)


def judge(name: str, size: int, latency: Latency, variant: Comparison, own: NDArray[Any]) -> Judged:
    """Compare a variant's episodes with the policy's own, the same seeds side by side.

    Args:
        name: What it is.
        size: Bytes.
        latency: Of one step.
        variant: Its episodes.
        own: The policy's returns. Shape: (episodes,).
    """
    scale = max(abs(float(own.mean())), 1e-9)
    losses = (own - variant.returns) / scale
    mean, wide = float(losses.mean()), float("inf")
    if len(losses) >= FEWEST:  # Student's t: few episodes make it wider
        wide = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(losses) - 1) * stats.sem(losses))
    return Judged(
        name, size, latency, variant.largest, float(variant.returns.mean()), mean, mean - wide, mean + wide
    )


def latencies(steps: Sequence[Callable[[], object]], runs: int = RUNS, row: int = 20) -> list[Latency]:
    """Times of several steps, by turns; each round in another order, so that none always follows another.

    Args:
        steps: What is timed.
        runs: Of each, after a tenth as many to warm up; a multiple of ``row``.
        row: Runs of one step in a row. With 1 every step finds the caches that another one left.
    """
    taken = np.zeros((len(steps), runs))
    for step in steps:
        for _ in range(runs // 10):
            step()
    rng = np.random.default_rng(0)
    for i in range(runs):
        for j in rng.permutation(len(steps)) if i % row == 0 else ():
            for k in range(i, min(i + row, runs)):
                start = time.perf_counter()
                steps[j]()
                taken[j, k] = time.perf_counter() - start
    return [
        Latency(*(float(x) * 1e3 for x in (*np.percentile(each, (50, 99)), each.max()))) for each in taken
    ]


def step_of(model: bytes, feeds: Sequence[Feed]) -> Callable[[], object]:
    """One step of a graph at batch 1, over what was met in the task."""
    if not feeds:
        raise WarmstartError("Nothing to time a graph with: no step was taken.")
    session = open_session(model)
    names = [each.name for each in session.get_outputs()]
    plain, at = [dict(each) for each in feeds], iter(range(1 << 62))
    return lambda: session.run(names, plain[next(at) % len(plain)])
