"""Evaluation that doesn't disturb training: own environments, paired seeds, generators put back."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.seams import EvaluationResult
from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import World, make_env

LONGEST = 10_000
"""Steps after which an episode without a time limit counts as endless."""
Actor = Policy | Callable[[Any], NDArray[Any]]


class Evaluator:
    """Environments kept for repeated evaluation of one task with the same seeds."""

    def __init__(
        self, task: Task | World, episodes: int = 16, seed: int = 10_000, n_threads: int = 1
    ) -> None:
        if episodes < 1:
            raise WarmstartError(f"An evaluation needs at least one episode, found {episodes}.")
        self.task = task
        self.episodes = episodes
        self.seed = seed
        self.n_threads = n_threads
        self._env: VectorEnv[Any, Any, Any] | None = None

    def run(self, policy: Actor, *, deterministic: bool = True) -> EvaluationResult:
        """Let a policy play one episode per environment.

        Args:
            policy: A ``Policy``, or a function from observations (episodes, …) to actions (episodes, …).
            deterministic: Whether a ``Policy`` takes its mean action.
        """
        start = time.perf_counter()
        with generators_kept():
            random.seed(self.seed)
            np.random.seed(self.seed % 2**32)  # noqa: NPY002
            torch.manual_seed(self.seed)
            if self._env is None:
                env = make_env(self.task, self.episodes, self.seed, n_threads=self.n_threads)
                seen = policy.vision if isinstance(policy, Policy) else None
                self._env = env if seen is None else seen.wrap(env)
            before = getattr(self._env, "n_diverged", 0)
            seeds = range(self.seed, self.seed + self.episodes)
            played = policy.told(self._env) if isinstance(policy, Policy) else self._env
            returns, lengths = play_once(policy, played, seeds, deterministic)
        took, diverged = time.perf_counter() - start, getattr(self._env, "n_diverged", 0) - before
        return EvaluationResult(returns, lengths, seconds=took, diverged=int(diverged))

    def close(self) -> None:
        """Close the environments."""
        if self._env is not None:
            self._env.close()
            self._env = None


def play_once(
    policy: Actor, env: VectorEnv[Any, Any, Any], seeds: Sequence[int], deterministic: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Play the first episode of every environment.

    Args:
        policy: A ``Policy``, or a function from observations (n, …) to actions (n, …).
        env: As the policy observes it, which ``Policy.wrap`` makes of a task's environments.
        seeds: One for each environment.
        deterministic: Whether a ``Policy`` takes its mean action.

    Returns:
        Undiscounted returns and lengths in steps. Shapes: (n,).

    Raises:
        WarmstartError: An episode goes on and on, and the task has no time limit.
    """
    returns = np.zeros(env.num_envs)
    lengths = np.zeros(env.num_envs, np.int64)
    running = np.ones(env.num_envs, bool)
    each: Any = list(seeds)  # Gymnasium takes a list, its annotation says one number
    observations, _ = env.reset(seed=each)
    while running.any():
        acts = (
            policy.predict(observations, deterministic)
            if isinstance(policy, Policy)
            else policy(observations)
        )
        observations, rewards, terminations, truncations, _ = env.step(acts)
        returns[running] += rewards[running]
        lengths[running] += 1
        running &= ~(terminations | truncations)
        if running.any() and lengths.max() >= LONGEST and getattr(env, "time_limit", None) is None:
            task = getattr(env, "task", None)
            option = task.with_options(time_limit=1000) if isinstance(task, Task) else "the option time_limit"
            raise WarmstartError(
                f"{task or env}: an episode hasn't ended within {LONGEST:,} steps, and the task has no time "
                f"limit: it might never. Give it one, in steps: {option}."
            )
    return returns, lengths


def evaluate(
    policy: Actor,
    task: Task | str | World,
    episodes: int = 16,
    seed: int = 10_000,
    deterministic: bool = True,
    n_threads: int = 1,
) -> EvaluationResult:
    """Let a policy play a task, one environment per episode, with the seeds ``seed``, ``seed + 1``, ….

    The global generators of Python, NumPy and torch are as before afterwards.

    Args:
        policy: A ``Policy``, or a function from observations (episodes, …) to actions (episodes, …).
        task: What to play: a task, or a world that makes its own environments.
        episodes: Number of episodes.
        seed: Seed of the first.
        deterministic: Whether a ``Policy`` takes its mean action.
        n_threads: Threads that simulate.
    """
    parsed = Task.parse(task) if isinstance(task, str) else task
    with generators_kept(), closing(Evaluator(parsed, episodes, seed, n_threads)) as evaluator:
        return evaluator.run(policy, deterministic=deterministic)


class EvaluationCallback(BaseCallback):
    """Evaluates the deterministic policy on a fixed grid of steps.

    The grid is 0 (before any update), ``every``, 2 ``every``, … and the end of training.
    Training takes the same bits with and without it.

    Args:
        task: What to play.
        every: Distance between two grid points, in environment steps.
        total: Environment steps of training, the last grid point; ``None`` takes what ``learn`` was asked
            for.
        episodes: Episodes per evaluation.
        seed: Seed of the first episode, the same at every grid point.
        n_threads: Threads that simulate.
        on_result: Called with each result and the seconds of training up to it.
    """

    def __init__(
        self,
        task: Task | str | World,
        every: int,
        *,
        total: int | None = None,
        episodes: int = 16,
        seed: int = 10_000,
        n_threads: int = 1,
        on_result: Callable[[EvaluationResult, float], None] | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise WarmstartError(f"Evaluations have to be at least 1 step apart, found {every}.")
        parsed = Task.parse(task) if isinstance(task, str) else task
        self.evaluator = Evaluator(parsed, episodes, seed, n_threads)
        self.every = every
        self.total = total
        self.on_result = on_result
        self.results: list[EvaluationResult] = []
        self.next_point = 0
        self.evaluation_seconds = 0.0
        self._start = time.perf_counter()
        self._training = False

    @property
    def training_seconds(self) -> float:
        """Wall-clock seconds since training began, without those of evaluation."""
        return time.perf_counter() - self._start - self.evaluation_seconds

    def state_dict(self) -> State:
        """What continuing takes: the next grid point and the seconds spent."""
        return {
            "next_point": self.next_point,
            "training_seconds": self.training_seconds,
            "evaluation_seconds": self.evaluation_seconds,
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what ``state_dict`` returned."""
        self.next_point, self.evaluation_seconds = state["next_point"], state["evaluation_seconds"]
        self._training = True
        self._start = time.perf_counter() - state["training_seconds"] - state["evaluation_seconds"]

    def evaluate_start(self, model: BaseAlgorithm) -> None:
        """Evaluate at point 0 as the agent is, before its first rollout touches the normaliser.

        Without this call point 0 is evaluated when training starts, after the environment's first reset.
        """
        self.init_callback(model)
        self._evaluate(0)
        self.next_point = self.every

    def _on_training_start(self) -> None:
        if not self._training:
            self._start, self.evaluation_seconds = time.perf_counter(), 0.0
            self._training = True
        if self.total is None:
            self.total = self.model._total_timesteps
        self._catch_up()

    def _on_step(self) -> bool:
        self._catch_up()
        return True

    def _on_training_end(self) -> None:
        assert self.total is not None
        if self.num_timesteps >= self.total and self.next_point <= self.total:
            self._evaluate(self.total)
            self.next_point = self.total + 1
        self.evaluator.close()

    def _catch_up(self) -> None:
        """Evaluate at the last grid point that has been reached; the end waits for the last update."""
        assert self.total is not None
        reached = self.num_timesteps // self.every * self.every
        if reached >= self.next_point and reached < self.total:
            self._evaluate(reached)
            self.next_point = reached + self.every

    def _evaluate(self, point: int) -> None:
        start, training_seconds = time.perf_counter(), self.training_seconds
        modes = {module: module.training for module in self.model.policy.modules()}
        played = self.evaluator.run(Policy.from_model(self.model))
        for module, mode in modes.items():
            module.training = mode
        result = replace(played, step=point, timesteps=self.model.num_timesteps)
        self.results.append(result)
        if isinstance(self.model, SeamAgent):
            for listener in self.model.seams.feedback:
                listener.on_evaluation(result)
        if self.on_result is not None:
            self.on_result(result, training_seconds)
        self.evaluation_seconds += time.perf_counter() - start


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put the global generators of Python, NumPy and torch back to where they were."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    cpu = torch.random.get_rng_state()
    initialised = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if initialised else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.random.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
