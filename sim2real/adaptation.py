"""Rapid motor adaptation: a policy that infers the physics from how the world answers.

RMA (Kumar et al. 2021, 2107.04034) has two phases. A teacher is trained whose actor reads a code
z = mu(context) of the true physics; then an adaptation module phi learns to tell z from the last observations
and actions, on rollouts of the policy that acts by phi's own guesses. What results needs no privileged input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from torch.nn import functional

from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.checkpoint import Checkpoint, library_versions
from warmstart.agents.evaluation import generators_kept
from warmstart.agents.observing.history import AdaptationExtractor, ObservationHistory
from warmstart.agents.observing.privileged import POLICY, PRIVILEGED, ContextExtractor, PrivilegedEnv
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.hooks import Perturbation
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.student import (
    checked_teacher,
    history_normalizer,
    part_of,
    student_kwargs,
    student_of,
)
from warmstart.sim2real.world import resolved, training_world
from warmstart.sim2real.world_config import WorldConfig

Array = NDArray[Any]
STRIDE = 4
"""Steps between two histories that phi learns from: neighbours have all but one of their frames in common."""


@dataclass(frozen=True)
class Adapted:
    """How far an adaptation has come."""

    iteration: int
    """Number of the rollout, from 1."""
    iterations: int
    """How many there are."""
    steps: int
    """Environment steps taken so far."""
    error: float
    """Mean squared error of the code on this rollout, before phi was fitted to it."""
    relative_error: float
    """The same as a share of the code's variance over the rollout: a constant guess has 1 at best."""


def teacher_seams(latent_dim: int = 8, hidden: Sequence[int] = (64, 32)) -> Seams:
    """What makes a PPO agent a teacher, for `build_agent`, in a ``PrivilegedObservation(who="both")``.

    Args:
        latent_dim: Numbers of the code z.
        hidden: Widths of the hidden layers of its encoder mu.
    """
    settings = {"latent_dim": latent_dim, "hidden": list(hidden)}
    return Seams(
        policy_kwargs={
            "features_extractor_class": ContextExtractor,
            "features_extractor_kwargs": settings,
        }
    )


def distill(
    teacher: Checkpoint,
    task: Task | str,
    randomize: str | Settings,
    *,
    seed: int,
    steps: int = 400_000,
    iterations: int = 20,
    frames: int = 16,
    n_envs: int = 64,
    epochs: int = 10,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    hidden: Sequence[int] = (128, 64),
    perturbations: Sequence[Perturbation] = (),
    n_threads: int = 1,
    progress: Callable[[Adapted], None] | None = None,
) -> Checkpoint:
    """Distil a teacher into a policy that infers the physics from its last observations and actions.

    Every iteration lets the student act deterministically in the randomized task, with its own guesses
    phi(history), and then fits phi to the teacher's codes mu(context) (2107.04034, section III-B) of all that
    was met so far, as in DAgger (1011.0686). Actor, critic and their hidden layers stay the teacher's. The
    same arguments give the same policy, bit for bit on one machine. Physics differs between episodes, so phi
    sees little of it where episodes are long: let many environments run.

    Args:
        teacher: A PPO checkpoint trained with `teacher_seams` and ``PrivilegedObservation(who="both")``.
        task: What to simulate.
        randomize: What differs between episodes: terms or a recipe's name, most often those of the teacher's
            training.
        seed: Of the environments, the draws, phi's initial weights and its minibatches.
        steps: Environment steps, all together.
        iterations: Rollouts, after each of which phi is fitted.
        frames: Observations that phi sees, the newest included.
        n_envs: Environments side by side.
        epochs: Passes over as much as a rollout holds, drawn from all rollouts so far.
        batch_size: Rows of a minibatch.
        learning_rate: Adam's.
        hidden: Widths of phi's hidden layers.
        perturbations: Change actions, simulations and observations.
        n_threads: Threads that simulate.
        progress: Called after each rollout, with phi's error on it.

    Returns:
        A checkpoint whose vision is a ``ObservationHistory``.

    Raises:
        WarmstartError: The checkpoint isn't such a teacher, doesn't fit the task, or a number makes no sense.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    sight = checked_teacher(teacher)
    length = steps // (iterations * n_envs) if min(iterations, n_envs) > 0 else 0
    if length < 1 or frames < 2:
        raise WarmstartError(
            f"Expected at least one step in each of {iterations} iterations of {n_envs} environments, and at "
            f"least 2 frames; found steps={steps} and frames={frames}."
        )
    world = training_world(resolved(WorldConfig(randomize=randomize), task), task, seed)
    simulated = make_vec(
        task,
        n_envs,
        seed,
        n_threads=n_threads,
        context_source=world.context_source,
        perturbations=perturbations,
    )
    vision = ObservationHistory(frames, actions=True)
    try:
        _check_spaces(teacher, simulated.single_observation_space, simulated.single_action_space, task)
        history = vision.wrap(simulated)
        env, layout = sight.wrap(history), history.observation_layout
        with generators_kept():
            torch.manual_seed(seed)
            student = student_of(teacher, history.single_observation_space, frames, hidden)
            pupil = _Student(teacher, student, env, frames, seed, learning_rate)
            for iteration in range(1, iterations + 1):
                inputs, codes = pupil.act(length)
                if progress is not None:
                    error = pupil.error(inputs, codes)
                    variance = float(codes.var(dim=0, correction=0).mean())
                    taken = iteration * length * n_envs
                    progress(Adapted(iteration, iterations, taken, error, error / max(variance, 1e-12)))
                pupil.fit(max(1, round(epochs * len(inputs) / batch_size)), batch_size)
    finally:
        simulated.close()
    return replace(
        teacher,
        tensors={name: value.detach().clone() for name, value in student.state_dict().items()},
        observation_space=student.observation_space,
        policy_kwargs=student_kwargs(teacher, frames, hidden),
        observation_layout=layout,
        normalizer=pupil.normalizer,
        task=str(task),
        steps=teacher.steps + iterations * length * n_envs,
        trainability=None,
        versions=library_versions(),
        vision=vision,
        path=None,
        format="warmstart",
    )


class _Student:
    """A student that acts, beside the teacher's encoder that knows the codes.

    Args:
        teacher: The checkpoint.
        student: The policy that acts.
        env: Observes the student's histories and the teacher's contexts.
        frames: Observations in a history.
        seed: Of the episodes and the minibatches.
        learning_rate: Adam's.
    """

    def __init__(
        self,
        teacher: Checkpoint,
        student: BasePolicy,
        env: PrivilegedEnv,
        frames: int,
        seed: int,
        learning_rate: float,
    ) -> None:
        self.student, self.env = student, env
        assert isinstance(student.features_extractor, AdaptationExtractor)
        self.extractor = student.features_extractor
        encoder: Any = teacher.policy().module
        self._mu: ContextExtractor = encoder.features_extractor
        self.normalizer = history_normalizer(teacher.normalizer, teacher.action_space, frames)
        self._contexts = part_of(teacher.normalizer, PRIVILEGED)
        self._optimizer = torch.optim.Adam(self.extractor.parameters(), lr=learning_rate)
        self._generator = np.random.default_rng(seed)
        self._met: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._observations, _ = env.reset(seed=seed)

    @torch.no_grad()
    def act(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Let the student act, and tell the codes of what it met at every `STRIDE`-th step.

        Args:
            length: Steps of every environment.

        Returns:
            Standardised histories (n, inputs) and codes (n, latent_dim).
        """
        self.student.set_training_mode(False)
        inputs, codes = [], []
        for step in range(length):
            histories = self._observations[POLICY]
            if self.normalizer is not None:
                histories = self.normalizer.apply(histories)
            if step % STRIDE == 0:
                contexts = self._observations[PRIVILEGED]
                if self._contexts is not None:
                    contexts = self._contexts.apply(contexts)
                inputs.append(torch.as_tensor(histories, dtype=torch.float32))
                codes.append(self._mu.latent({PRIVILEGED: torch.as_tensor(contexts, dtype=torch.float32)}))
            actions, _ = self.student.predict(histories, deterministic=True)
            self._observations = self.env.step(actions)[0]
        self._met.append((torch.cat(inputs), torch.cat(codes)))
        return self._met[-1]

    @torch.no_grad()
    def error(self, inputs: torch.Tensor, codes: torch.Tensor) -> float:
        """Mean squared error of the guessed codes."""
        return float(functional.mse_loss(self.extractor.latent(inputs), codes))

    def fit(self, updates: int, batch_size: int) -> None:
        """Fit phi to all codes so far, with minibatches drawn from every rollout alike."""
        for _ in range(updates):
            drawn = self._generator.integers(len(self._met), size=batch_size)
            parts = []
            for number, count in zip(*np.unique(drawn, return_counts=True), strict=True):
                inputs, codes = self._met[number]
                rows = torch.from_numpy(self._generator.integers(len(inputs), size=count))
                parts.append((inputs[rows], codes[rows]))
            histories, known = (torch.cat(each) for each in zip(*parts, strict=True))
            loss = functional.mse_loss(self.extractor.latent(histories), known)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()


def _check_spaces(teacher: Checkpoint, seen: spaces.Space[Any], done: spaces.Space[Any], task: Task) -> None:
    space = teacher.observation_space
    assert isinstance(space, spaces.Dict)
    if seen.shape != space[POLICY].shape or done != teacher.action_space:
        raise WarmstartError(
            f"The teacher takes observations of shape {space[POLICY].shape} and gives "
            f"{teacher.action_space}, {task} has {seen.shape} and {done}: distil it in the task it was "
            "trained in."
        )
