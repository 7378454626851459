"""A smaller network that acts as a policy does, learnt from it in the task by DAgger (1011.0686).

The student acts, the teacher says what it would have done, and the student is fitted to all that was met so
far. It observes exactly as the teacher does.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.utils import obs_as_tensor
from torch.nn import functional

from warmstart.agents.checkpoints.architecture import build_policy
from warmstart.agents.checkpoints.checkpoint import Checkpoint, library_versions
from warmstart.agents.checkpoints.recurrent import RECURRENT
from warmstart.agents.evaluation import generators_kept
from warmstart.agents.observing.asymmetric import ASYMMETRIC_POLICIES
from warmstart.agents.observing.base import StackedFrames
from warmstart.agents.observing.privileged import PrivilegedObservation
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec

Array = NDArray[Any]


@dataclass(frozen=True)
class Lesson:
    """How far a student has come."""

    iteration: int
    """Number of the rollout, from 1."""
    iterations: int
    """How many there are."""
    steps: int
    """Environment steps taken so far."""
    error: float
    """Root mean squared difference from the teacher's actions on this rollout before the fit, as a share of
    their range; of choices the share that differs."""


def small_student(
    teacher: Checkpoint,
    task: Task | str,
    widths: Sequence[int],
    *,
    seed: int = 0,
    steps: int = 100_000,
    iterations: int = 10,
    n_envs: int = 32,
    epochs: int = 20,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    progress: Callable[[Lesson], None] | None = None,
) -> Checkpoint:
    """Distil a policy into a multilayer perceptron of other widths.

    In the first rollout the teacher acts, in the others the student. The same arguments give the same
    student. Steps are simulated ones: a student costs no experience on a robot.

    Args:
        teacher: Observes vectors, or features of a frozen encoder.
        task: Where both act.
        widths: Units of the hidden layers.
        seed: Of the environments, the weights and the minibatches.
        steps: Environment steps, all together.
        iterations: Rollouts, after each of which the student is fitted.
        n_envs: Environments side by side.
        epochs: Passes over as much as a rollout holds, drawn from all rollouts so far.
        batch_size: Rows of a minibatch.
        learning_rate: Adam's, falling to nothing.
        progress: Called after each rollout.

    Returns:
        A checkpoint of ``ppo`` without a critic, which observes as the teacher does.

    Raises:
        WarmstartError: The teacher observes images with its own network, remembers by an LSTM, or the numbers
            make no sense.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    length = steps // (iterations * n_envs) if min(iterations, n_envs) > 0 else 0
    if length < 1 or not widths or min(widths) < 1:
        raise WarmstartError(
            f"Expected widths of at least 1 and a step in each of {iterations} iterations of {n_envs} "
            f"environments, found {tuple(widths)} and steps={steps}."
        )
    if isinstance(teacher.vision, StackedFrames) or teacher.algorithm == RECURRENT:
        what = "has an LSTM" if teacher.algorithm == RECURRENT else "reads images with a network of its own"
        raise WarmstartError(
            f"A student is a multilayer perceptron, and its teacher {what}: leave --student out."
        )
    kwargs: State = {"net_arch": {"pi": list(widths), "vf": []}, "activation": "relu"}
    if isinstance(teacher.vision, PrivilegedObservation):
        kwargs["policy_class"] = ASYMMETRIC_POLICIES["ppo"].__name__
    space = teacher.observation_space
    with generators_kept(), closing(make_vec(task, n_envs, seed, n_threads=1)) as simulated:
        torch.manual_seed(seed)
        made = build_policy("ppo", space, teacher.action_space, kwargs)
        student = replace(
            teacher,
            algorithm="ppo",
            tensors={name: value.detach().clone() for name, value in made.state_dict().items()},
            policy_kwargs=kwargs,
            hyperparameters={},
            trainability=None,
            critic=False,
            versions=library_versions(),
            path=None,
            format="warmstart",
        )
        pupil = _Pupil(teacher, student, simulated, seed, learning_rate, iterations)
        for iteration in range(1, iterations + 1):
            error = pupil.act(length, by_teacher=iteration == 1)
            if progress is not None:
                progress(Lesson(iteration, iterations, iteration * length * n_envs, error))
            pupil.fit(max(1, epochs * length * n_envs // batch_size), batch_size)
    held = pupil.student.module.state_dict()
    return replace(student, tensors={name: value.detach().clone() for name, value in held.items()})


class _Pupil:
    """A student beside its teacher, and what both met."""

    def __init__(
        self,
        teacher: Checkpoint,
        student: Checkpoint,
        simulated: Any,
        seed: int,
        learning_rate: float,
        iterations: int,
    ) -> None:
        self.teacher, self.student = teacher.policy(), student.policy()
        self.env = self.student.wrap(simulated)
        self.space: Any = teacher.action_space
        self.rng = np.random.default_rng(seed)
        actors = [p for name, p in self.student.module.named_parameters() if "value" not in name]
        self.optimizer = torch.optim.Adam(actors, learning_rate)
        self.decay = torch.optim.lr_scheduler.LinearLR(
            self.optimizer, 1.0, 1 / iterations, iterations - 1 or 1
        )
        self.seen: list[Any] = []
        self.meant: list[Array] = []
        self.now: Any = self.env.reset(seed=seed)[0]

    def act(self, length: int, by_teacher: bool) -> float:
        """Take steps and note what the teacher would do; returns how far the student is from it."""
        gaps = []
        for _ in range(length):
            meant, done = self.teacher.predict(self.now), self.student.predict(self.now)
            self.seen.append(
                {k: v.copy() for k, v in self.now.items()} if isinstance(self.now, dict) else self.now.copy()
            )
            self.meant.append(meant)
            gaps.append(self._gap(meant, done))
            self.now = self.env.step(meant if by_teacher else done)[0]
        return float(np.sqrt(np.mean(gaps)))

    def fit(self, updates: int, batch_size: int) -> None:
        """Fit the student to all that was met."""
        seen, meant = _stacked(self.seen), np.concatenate(self.meant)
        if self.student.normalizer is not None:
            seen = self.student.normalizer.apply(seen)
        module: Any = self.student.module
        for _ in range(updates):
            rows = self.rng.integers(len(meant), size=batch_size)
            part = {k: v[rows] for k, v in seen.items()} if isinstance(seen, dict) else seen[rows]
            given = obs_as_tensor(part, module.device)
            loss = self._loss(module.get_distribution(given).distribution, torch.as_tensor(meant[rows]))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.decay.step()

    def _gap(self, meant: Array, done: Array) -> float:
        if not isinstance(self.space, spaces.Box):
            return float((meant != done).mean())
        return float(np.square((meant - done) / (self.space.high - self.space.low)).mean())

    def _loss(self, guessed: Any, meant: torch.Tensor) -> torch.Tensor:
        """Squared difference as a share of the range, or the choices' negative log-likelihood."""
        if isinstance(self.space, spaces.Box):
            width = torch.as_tensor(self.space.high - self.space.low)
            return torch.square((guessed.mean - meant) / width).mean()
        if isinstance(guessed, list):  # one distribution for each of several choices
            parts = [
                functional.cross_entropy(each.logits, meant[:, i].long()) for i, each in enumerate(guessed)
            ]
            return torch.stack(parts).mean()
        if isinstance(self.space, spaces.MultiBinary):
            return functional.binary_cross_entropy_with_logits(guessed.logits, meant.float())
        return functional.cross_entropy(guessed.logits, meant.long())


def _stacked(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
    return np.concatenate(rows)


def widths_of(text: str) -> tuple[int, ...]:
    """Widths from a text such as ``32x32``.

    Raises:
        WarmstartError: It is none.
    """
    parts = text.lower().split("x")
    if not all(part.isdecimal() and 0 < int(part) <= 4096 for part in parts):
        raise WarmstartError(f"--student: expected widths as in 32x32, found {text!r}.")
    return tuple(map(int, parts))
