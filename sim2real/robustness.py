"""Robustness maps: a policy's return over one or two physical parameters, all cells at once."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.evaluation import generators_kept, play_once
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.envs.describe import describe
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.physics.quantity import Parameter
from warmstart.envs.tasks.contexts import Change, Context, Operation
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.randomization.terms import Term, read_term

Floats = NDArray[np.float64]
Span = tuple[float, float]
ENVS = 800
"""Environments that are simulated side by side at most."""
_SWEEP = re.compile(r"(.+?)=(.+):(\d+)")


@dataclass(frozen=True)
class Sweep:
    """One parameter and the values that it takes in turn."""

    selector: str
    """Parameter or pattern, as in a task's text."""
    operation: Operation
    """What a value does to the nominal."""
    values: tuple[float, ...]
    """In ascending order."""

    @classmethod
    def parse(cls, text: str) -> "Sweep":
        """Read ``torso.mass=x0.5:x2:7``: a range and how many values; factors are spaced evenly as factors.

        Raises:
            WarmstartError: It is something else.
        """
        found = _SWEEP.fullmatch(text.strip())
        if found is None:
            raise WarmstartError(
                f"Expected a sweep PARAMETER=RANGE:POINTS such as torso.mass=x0.5:x2:7, found {text!r}."
            )
        term, points = read_term(found[1], found[2]), int(found[3])
        low, high = term.distribution.bounds
        if not 2 <= points <= 101 or low == high:
            raise WarmstartError(
                f"Expected a sweep over a range with 2 to 101 points, found {points} from {low:g} to "
                f"{high:g}."
            )
        spaced = np.geomspace if term.operation == "scale" and low > 0 else np.linspace
        return cls(found[1], term.operation, tuple(float(f"{v:.6g}") for v in spaced(low, high, points)))

    def changes(self) -> tuple[Change, ...]:
        """A change of the context for each value."""
        return tuple(Change(self.selector, self.operation, value) for value in self.values)

    @property
    def nominal(self) -> float | None:
        """The value that changes nothing; None where values replace the nominal."""
        return {"scale": 1.0, "add": 0.0}.get(self.operation)

    def trained(self, terms: Sequence[Term], parameters: Parameters) -> Span | None:
        """The range that a policy was trained on, in the unit of the sweep's operation.

        Args:
            terms: What training drew; where several mean a parameter, the one in force counts.
            parameters: Of the task.

        Returns:
            Smallest and largest value; of several parameters what they have in common; None where one of them
            wasn't drawn, or its range can't be told as the sweep's operation.

        Raises:
            WarmstartError: A parameter is unknown.
        """
        flat = [(term, selector) for term in terms for selector in term.parameters]
        won = parameters.winners([selector for _, selector in flat])
        drawn = {entry.parameter.name: flat[place][0] for place, found in won.items() for entry in found}
        low, high = -np.inf, np.inf
        for parameter in parameters.select(self.selector):
            span = _told_as(self.operation, drawn.get(parameter.name), parameter)
            if span is None:
                return None
            low, high = max(low, span[0]), min(high, span[1])
        return (float(low), float(high)) if low <= high else None


def _told_as(operation: Operation, term: Term | None, parameter: Parameter) -> Span | None:
    """A term's range of a parameter as what another operation would do to the nominal."""
    if term is None:
        return None
    ends = term.distribution.bounds
    if term.operation == operation:
        return ends
    if parameter.size != 1:
        return None
    (nominal,) = parameter.nominal
    low, high = sorted(
        {"scale": end * nominal, "add": end + nominal, "set": end}[term.operation] for end in ends
    )
    if operation == "scale":
        return (low / nominal, high / nominal) if nominal > 0 else None
    return (low - nominal, high - nominal) if operation == "add" else (low, high)


@dataclass(frozen=True, eq=False)
class RobustnessMap:
    """Returns of one policy over the grid of its sweeps."""

    policy: str
    """What it is called."""
    sweeps: tuple[Sweep, ...]
    """The grid's axes, one or two."""
    returns: Floats
    """Undiscounted return of every episode. Shape: (first sweep, [second sweep,] episodes)."""
    diverged: int = 0
    """Simulations that diverged and ended their episodes."""

    @property
    def means(self) -> Floats:
        """Mean over episodes. Shape: that of the grid."""
        return np.asarray(self.returns.mean(axis=-1))

    @property
    def worst(self) -> tuple[float, tuple[float, ...]]:
        """The lowest mean return, and the values at which it is."""
        place = np.unravel_index(int(self.means.argmin()), self.means.shape)
        values = tuple(sweep.values[i] for sweep, i in zip(self.sweeps, place, strict=True))
        return float(self.means.min()), values

    def worst_share(self, share: float = 0.1) -> float:
        """Mean return of the worst cells, at least one of them."""
        cells = np.sort(self.means.ravel())
        return float(cells[: max(1, round(share * len(cells)))].mean())

    def area_above(self, threshold: float) -> float:
        """Share of the cells whose mean return is at least so much."""
        return float((self.means >= threshold).mean())

    def to_json(self, threshold: float) -> Settings:
        """Plain values."""
        worst, at = self.worst
        return {
            "policy": self.policy,
            "sweeps": [
                {"parameter": s.selector, "operation": s.operation, "values": list(s.values)}
                for s in self.sweeps
            ],
            "means": self.means.tolist(),
            "worst": worst,
            "worst_at": list(at),
            "worst_10_percent": self.worst_share(),
            "threshold": threshold,
            "area_above": self.area_above(threshold),
            "diverged": self.diverged,
        }


def robustness_map(
    name: str,
    checkpoint: Checkpoint,
    task: Task,
    sweeps: Sequence[Sweep],
    *,
    episodes: int = 16,
    seed: int = 10_000,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RobustnessMap:
    """Let a policy play a task in every cell of a grid, with the same seeds in all of them.

    Args:
        name: What the policy is called.
        checkpoint: Whose policy plays, deterministically.
        task: What is played; the sweeps' changes come on top of its context.
        sweeps: One or two.
        episodes: Episodes per cell.
        seed: Seed of the first episode.
        n_threads: Threads that simulate; None takes all.
        progress: Called with the cells done and all of them.

    Raises:
        WarmstartError: There are other than one or two sweeps, a parameter is unknown or out of bounds, or
            the policy doesn't fit the task.
    """
    if len(sweeps) not in (1, 2):
        raise WarmstartError(f"A map is over one or two parameters, found {len(sweeps)}.")
    _check_different(sweeps, task)
    cells: list[Context] = [()]
    for sweep in sweeps:
        cells = [(*cell, change) for cell in cells for change in sweep.changes()]
    per_round = max(1, ENVS // episodes)
    returns: list[Floats] = []
    diverged = 0
    policy = checkpoint.policy()
    for first in range(0, len(cells), per_round):
        part = cells[first : first + per_round]
        env = make_vec(task, len(part) * episodes, n_threads=n_threads)
        seeds = [seed + episode for _ in part for episode in range(episodes)]
        contexts = [task.context + cell for cell in part for _ in range(episodes)]
        played, more = play_episodes(policy, env, seeds, contexts)
        returns.append(played.reshape(len(part), episodes))
        diverged += more
        if progress is not None:
            progress(first + len(part), len(cells))
    shape = tuple(len(sweep.values) for sweep in sweeps)
    return RobustnessMap(name, tuple(sweeps), np.concatenate(returns).reshape(*shape, episodes), diverged)


def _check_different(sweeps: Sequence[Sweep], task: Task) -> None:
    """Raise where two sweeps are about the same parameter."""
    names = [sweep.selector for sweep in sweeps]
    if len(set(names)) < len(names):
        raise WarmstartError(f"Expected two different parameters to sweep, found {names[0]} twice.")
    parameters = describe(task).parameters if len(sweeps) > 1 else None
    if parameters is not None:
        first, second = ({parameter.name for parameter in parameters.select(name)} for name in names)
        if first & second:
            raise WarmstartError(
                f"Expected two different parameters to sweep: {names[0]} and {names[1]} both mean "
                f"{min(first & second)}."
            )


def play_episodes(
    policy: Any, env: VectorEnv[Any, Any, Any], seeds: Sequence[int], contexts: Sequence[Context] = ()
) -> tuple[Floats, int]:
    """Let a policy play an episode in each environment, and close them.

    Args:
        policy: Of a checkpoint, or a function from observations to actions.
        env: The environments.
        seeds: Of their episodes. Shape: (n,).
        contexts: Their physics, where it isn't the task's. Shape: (n,).

    Returns:
        Undiscounted returns, shape (n,), and how many simulations diverged.

    Raises:
        WarmstartError: The policy doesn't fit, or a parameter is unknown or out of bounds.
    """
    try:
        with generators_kept():
            if contexts:
                env.set_context(contexts)  # type: ignore[attr-defined]
            seen = policy.wrap(env) if hasattr(policy, "wrap") else env
            returns, _ = play_once(policy, seen, list(seeds))
        return returns, int(getattr(env, "n_diverged", 0))
    finally:
        env.close()


def trained_on(sweeps: Sequence[Sweep], terms: Sequence[Term], task: Task) -> tuple[Span | None, ...]:
    """The range of each sweep's parameter that a policy was trained on."""
    parameters = describe(task).parameters
    return tuple(None if parameters is None else sweep.trained(terms, parameters) for sweep in sweeps)


def merge_maps(name: str, maps: Sequence[RobustnessMap]) -> RobustnessMap:
    """One map of several policies over the same grid, such as an arm's seeds: all their episodes together."""
    returns = np.concatenate([each.returns for each in maps], axis=-1)
    return RobustnessMap(name, maps[0].sweeps, returns, sum(each.diverged for each in maps))


def usual_threshold(nominal: float) -> float:
    """A return that counts as good: a fifth below the nominal one."""
    return nominal - 0.2 * abs(nominal)
