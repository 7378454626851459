"""Whether a graph acts as the policy that it was made of, in the task, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.envs.wrappers import PassingWrapper
from warmstart.sim2real.deployment.runtime.contract import Contract, Statistics
from warmstart.sim2real.export.fronts import ACTION, OBSERVATION

Array = NDArray[Any]
Actions = Mapping[str, Array]
LONGEST = 10_000
"""Steps of an episode that are compared at most."""


class Graph:
    """A graph that acts for several environments, and remembers what it has to from step to step.

    Args:
        model: Path or bytes of the graph.
        contract: What it takes and gives.
        n: Environments.
        keep: Inputs of single environments that are kept, evenly over the steps so far.

    Attributes:
        kept: Those.
    """

    def __init__(self, model: str | bytes, contract: Contract, n: int, keep: int = 0) -> None:
        self.session, self.contract, self.n = open_session(model), contract, n
        self.kept: list[dict[str, Array]] = []
        self._keep, self._every, self._steps = keep, 1, 0
        self._states = {each.input: np.zeros((n, *each.shape), each.dtype) for each in contract.states}

    def act(self, raw: Mapping[str, Array], begins: Array) -> Array:
        """One step.

        Args:
            raw: Observations by signal. Shapes: (n, *signal).
            begins: Which environments begin an episode. Shape: (n,).

        Returns:
            Shape: (n, *action).
        """
        given = {each.name: np.asarray(raw[each.name], each.dtype) for each in self.contract.observations}
        if self.contract.begins is not None:
            given |= {**self._states, self.contract.begins: begins.astype(np.float32)}
        self._note(given)
        names = [self.contract.action.name, *(each.output for each in self.contract.states)]
        action, *states = self.session.run(names, given)
        self._states = dict(zip(self._states, states, strict=True))
        return np.asarray(action)

    def _note(self, given: Mapping[str, Array]) -> None:
        """Keep one environment's part, the more seldom the longer it goes on."""
        if self._keep and self._steps % self._every == 0:
            i = (self._steps // self._every) % self.n
            self.kept.append({name: values[i : i + 1].copy() for name, values in given.items()})
            if len(self.kept) > self._keep:
                self.kept, self._every = self.kept[::2], 2 * self._every
        self._steps += 1


def open_session(model: str | bytes) -> Any:
    """An onnxruntime session on the CPU that computes in one thread.

    Raises:
        WarmstartError: The package is missing, or it can't run the graph.
    """
    try:
        import onnxruntime
    except ImportError:
        raise WarmstartError("This needs onnxruntime: pip install 'warmstart[deploy]'.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise WarmstartError(f"onnxruntime can't run the graph: {error}") from error


class RawObservations(PassingWrapper):
    """Keeps what a task shows before a policy's wrapper makes something of it."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.seen: Any = None

    @override
    def reset(self, **kwargs: Any) -> Any:
        found = super().reset(**kwargs)
        self.seen = found[0]
        return found

    @override
    def step(self, actions: Any) -> Any:
        found = super().step(actions)
        self.seen = found[0]
        return found


@dataclass(frozen=True)
class Comparison:
    """A graph beside its policy."""

    observations: int
    """That both were given."""
    largest: float
    """Largest difference of an action, as a share of its range (of 1 without limits)."""
    differing: float
    """Share of observations at which an action differs at all."""
    returns: Array
    """Undiscounted return of each environment's first episode, as far as it was played. Shape: (n,)."""
    rows: dict[str, Array]
    """What the graph took, by signal without images, and the actions that it gave. Shapes: (n, size)."""

    @property
    def statistics(self) -> dict[str, Statistics]:
        """Of each number that it took or gave."""
        return {name: _moments(rows) for name, rows in self.rows.items()}

    def joined(self, other: "Comparison") -> "Comparison":
        """Both together."""
        n = self.observations + other.observations
        differing = self.differing * self.observations + other.differing * other.observations
        return Comparison(
            n,
            max(self.largest, other.largest),
            differing / n,
            np.concatenate((self.returns, other.returns)),
            {name: np.concatenate((rows, other.rows[name])) for name, rows in self.rows.items()},
        )


def compare(
    graph: Graph,
    policy: Policy,
    env: VectorEnv[Any, Any, Any],
    seed: int,
    *,
    driven: bool = True,
    steps: int = LONGEST,
) -> Comparison:
    """Play the first episode of every environment, and ask both for every action.

    Args:
        graph: Acts; begins anew.
        policy: Is asked the same.
        env: A task's environments, as they are.
        seed: Of the first environment; the next ones have the next.
        driven: Whether the graph's actions are taken, and not the policy's.
        steps: Of each episode at most.
    """
    tap = RawObservations(env)
    played = policy.wrap(tap)
    n, values = env.num_envs, getattr(env, "action_values", None)
    seeds: Any = [seed + i for i in range(n)]
    observations, _ = played.reset(seed=seeds)
    running, begins, returns = np.ones(n, bool), np.ones(n, bool), np.zeros(n)
    largest, differing = 0.0, 0
    kept: dict[str, list[Array]] = {}
    signals = [each.name for each in graph.contract.observations if each.dtype != "uint8"]
    for _ in range(steps):
        raw = as_signals(tap.seen, graph.contract)
        acted, wanted = graph.act(raw, begins), policy.predict(observations)
        meant = wanted if values is None else _meant(values, wanted)
        gaps = (np.abs(acted - meant) / _ranges(graph.contract)).reshape(n, -1)[running]
        largest, differing = max(largest, float(gaps.max())), differing + int((gaps > 0).any(1).sum())
        for name, each in (*((name, raw[name]) for name in signals), (ACTION, acted)):
            kept.setdefault(name, []).append(np.asarray(each, np.float64).reshape(n, -1)[running])
        taken: Any = acted if driven and values is None else wanted
        observations, rewards, terminations, truncations, _ = played.step(taken)
        returns[running] += rewards[running]
        begins = np.asarray(terminations) | np.asarray(truncations)
        running &= ~begins
        if not running.any():
            break
    rows = {name: np.concatenate(parts) for name, parts in kept.items()}
    seen = len(rows[ACTION])
    return Comparison(seen, largest, differing / seen, returns, rows)


def as_signals(seen: Any, contract: Contract) -> dict[str, Array]:
    """A task's observations by the names of a graph's inputs."""
    if isinstance(seen, dict):
        missing = [each.name for each in contract.observations if each.name not in seen]
        if missing:
            raise WarmstartError(f"The task doesn't show {', '.join(missing)}, which the policy takes.")
        return {each.name: seen[each.name] for each in contract.observations}
    return {OBSERVATION: np.asarray(seen)}


def _meant(values: Array, choices: Array) -> Array:
    """What choices stand for, in a task with ``action_bins``. Shape: (n, actions)."""
    return np.take_along_axis(values[None], choices.reshape(len(choices), -1)[:, :, None], 2)[:, :, 0]


def _ranges(contract: Contract) -> Array:
    """The range of each action. Shape: that of the action."""
    action = contract.action
    pairs = [(each.low, each.high) for each in action.dimensions]
    wide = [1.0 if low is None or high is None else max(high - low, 1e-9) for low, high in pairs]
    return np.reshape(wide, action.shape) if action.dtype == "float32" else np.ones(action.shape)


def _moments(rows: Array) -> Statistics:
    columns = (rows.mean(0), rows.std(0), rows.min(0), rows.max(0))
    return Statistics(*(tuple(map(float, each)) for each in columns))
