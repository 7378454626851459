"""A teacher in an agent's seams: a term that pulls to what it would do, and a guide that acts for it."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.seams import Experience, GuideActions, Observations, TensorObservations
from warmstart.agents.algorithms.terms import ActionTargets, ActionTerm
from warmstart.transfer.teaching.fading import Fading
from warmstart.transfer.teaching.teacher import Teacher


class TeacherTerm(ActionTerm):
    """``coefficient · KL(teacher ‖ student)``, the mean over teachers (Schmitt et al. 2018, 1803.03835).

    Args:
        coefficient: At the beginning.
        fading: How it ends.
    """

    name = "teacher_kl"

    def __init__(self, coefficient: float, fading: Fading) -> None:
        self.weight, self.fading = coefficient, fading
        self.teachers: list[Teacher] = []

    @override
    def coefficient(self, model: BaseAlgorithm) -> float:
        return self.weight * self.fading.share(model) if self.teachers else 0.0

    @override
    def targets(self, model: BaseAlgorithm, observations: TensorObservations) -> ActionTargets:
        found = [teacher.targets(model, observations) for teacher in self.teachers]
        if len(found) == 1:
            return found[0]
        if isinstance(model.action_space, spaces.Discrete):
            mean = torch.stack([each.mean.exp() for each in found]).mean(0).log()
            return ActionTargets(mean, mean, found[0].weight)
        return together(found)


def together(found: list[ActionTargets]) -> ActionTargets:
    """One target whose divergence has the gradient of the mean divergence from several Gaussians.

    With weights w, means m and variances v it has the mean Σwm/Σw and the variance Σw(v + m²)/Σw less the
    mean's square: the divergence is linear in both moments.
    """
    weight = torch.stack([each.weight for each in found])
    total = weight.sum(0)
    shares = weight / total.clamp(min=1e-12)
    mean = (shares * torch.stack([each.mean for each in found])).sum(0)
    second = torch.stack([(2 * each.log_std).exp() + each.mean**2 for each in found])
    log_std = ((shares * second).sum(0) - mean**2).clamp(min=1e-12).log() / 2
    return ActionTargets(mean, log_std, total / len(found))


class Guide(Experience):
    """Lets a teacher act where and while it is asked to, and remembers what it saw.

    Args:
        learn: Whether PPO learns from the steps.
    """

    def __init__(self, learn: bool = False) -> None:
        self.teacher: Teacher | None = None
        self.learn = learn
        self.alone = False
        self.seen: list[Any] = []

    def mask(self, episode_steps: NDArray[np.int64], step: int) -> NDArray[np.bool_]:
        """Where it acts. Shape: (n_envs,)."""
        del step
        return np.full(len(episode_steps), self.alone)

    @override
    def guide(
        self, observations: Observations, episode_steps: NDArray[np.int64], step: int
    ) -> GuideActions | None:
        mask = self.mask(episode_steps, step)
        if self.teacher is None or not mask.any():
            return None
        actions = self.teacher.act(observations)
        if self.alone:
            self.seen.append(observations)
        return GuideActions(actions, mask, learn=self.learn)
