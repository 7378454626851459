"""Elastic weight consolidation (Kirkpatrick et al. 2017, 1612.00796)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from stable_baselines3 import TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.base import part
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.terms import ParameterPenalty, before_squashing
from warmstart.agents.algorithms.trainability import named_entries
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Count, NonNegative
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import SHIFTS, register_method
from warmstart.transfer.methods.fine_tuning import FineTune
from warmstart.transfer.replaying.datasets import recorded
from warmstart.transfer.teaching.teacher import standardised


@register_method
@dataclass(frozen=True)
class EWC(FineTune):
    """Fine-tune with ``coefficient/2 · Σ F (w − w₀)²``: what matters to the source's actions moves least.

    F is the diagonal of the Fisher information of the carried actor on states that the source visits in its
    own task: the mean squared gradient of the log-probability of actions drawn from the policy (for TD3 of
    unit Gaussians around its actions), divided by its mean, so that the coefficient means what L2-SP's does.
    """

    name: ClassVar[str] = "ewc"
    serves: ClassVar[tuple[str, ...]] = SHIFTS
    title: ClassVar[str] = "elastic weight consolidation"
    paper: ClassVar[str] = "1612.00796"
    fills: ClassVar[tuple[str, ...]] = ("initialise", "loss terms")
    needs_seed: ClassVar[bool] = True

    coefficient: NonNegative = 0.01
    """λ: of the weighted squared distance."""

    fisher_steps: Count = 2_000
    """Steps of the source in its own task on which F is estimated; they aren't steps of the target."""

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        return Seams(loss_terms=(ParameterPenalty("ewc", self.coefficient),) if self.coefficient else ())

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        report = super().initialise(model, source, context)
        if not self.coefficient:
            return report
        steps = recorded(None, self.fisher_steps, source, model, context)
        seed = int(context.generator.integers(2**31))
        weights = fisher(model, standardised(model, steps.taken.observations), seed)
        part(model, ParameterPenalty).anchor(model, weights)
        report.add_notes([f"F: estimated on {note}" for note in steps.notes])
        return report


def fisher(model: BaseAlgorithm, observations: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """The diagonal of the actor's Fisher information, of mean one.

    Args:
        model: The agent.
        observations: As its policy takes them. Shape: (n, …).
        seed: Of the actions that are drawn.

    Returns:
        By parameter of the actor.

    Raises:
        WarmstartError: No gradient reaches the actor.
    """
    policy: Any = model.policy
    found = [e for e in named_entries(policy) if not e.target and e.role in ("actor", "shared")]
    squares = {entry.names[0]: torch.zeros_like(entry.parameter) for entry in found}
    parameters = [entry.parameter for entry in found]
    policy.set_training_mode(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for row in observations:
            gradients = torch.autograd.grad(_log_prob(model, row[None]), parameters, allow_unused=True)
            for square, gradient in zip(squares.values(), gradients, strict=True):
                if gradient is not None:
                    square += gradient**2
    mean = torch.cat([square.reshape(-1) for square in squares.values()]).mean()
    if not mean > 0:
        raise WarmstartError("The source's actions depend on no parameter: there is nothing to consolidate.")
    return {name: square / mean for name, square in squares.items()}


def _log_prob(model: BaseAlgorithm, observation: torch.Tensor) -> torch.Tensor:
    """Log-probability of an action that the policy draws. Shape: ()."""
    policy: Any = model.policy
    if isinstance(model, TD3):
        mean = policy.actor(observation)
        drawn = mean.detach() + torch.randn_like(mean)
        squares: torch.Tensor = ((drawn - mean) ** 2).sum()
        return -squares / 2
    if hasattr(policy, "mlp_extractor"):
        normal = policy.get_distribution(observation).distribution
    else:
        mean, log_std = before_squashing(policy.actor, observation)
        normal = torch.distributions.Normal(mean, log_std.exp())
    found: torch.Tensor = normal.log_prob(normal.sample()).sum()
    return found
