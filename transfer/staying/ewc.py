"""Elastic weight consolidation (Kirkpatrick et al. 2017, 1612.00796)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.terms import ParameterPenalty
from warmstart.agents.algorithms.trainability import named_entries
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Count, NonNegative
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext, matchings
from warmstart.transfer.carry.matching import Matching
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.fine_tuning import FineTune
from warmstart.transfer.teaching.rollouts import roll


@register_method
@dataclass(frozen=True)
class EWC(FineTune):
    """Fine-tune with ``coefficient/2 · Σ F (w − w₀)²``: what matters to the source's actions moves least.

    F is the diagonal of the Fisher information of the carried actor on states that the source visits in its
    own task: the mean squared gradient of the log-probability of actions drawn from the policy (for TD3 of
    unit Gaussians around its actions), divided by its mean, so that the coefficient means what L2-SP's does.
    """

    name: ClassVar[str] = "ewc"
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
        assert isinstance(model, SeamAgent)
        assert source is not None
        seed = int(context.generator.integers(2**31))
        played = roll(source, self.fisher_steps, seed)
        seen = in_target(played.observations, model, matchings(model, source, context)[0])
        (term,) = (t for t in model.seams.loss_terms if isinstance(t, ParameterPenalty))
        term.anchor(model, fisher(model, seen, seed))
        report.add_notes([f"F: estimated on {len(seen):,} states that the source visits in {source.task}."])
        return report


def in_target(observations: NDArray[Any], model: BaseAlgorithm, matching: Matching) -> NDArray[Any]:
    """Observations of the source as a model's policy takes them; what is new is at its mean.

    Args:
        observations: Of the source, not standardised. Shape: (n, source dimensions).
        model: The model.
        matching: Which is which.

    Returns:
        Shape: (n, target dimensions).
    """
    wrapper = model.get_vec_normalize_env()
    if matching.identity:
        found: Any = observations
    else:
        moments: Any = None if wrapper is None or not wrapper.norm_obs else wrapper.obs_rms
        mean = None if moments is None else moments.mean
        found = np.tile(np.zeros(len(matching.target)) if mean is None else mean, (len(observations), 1))
        for t, s in matching.matched:
            found[:, t] = observations[:, s] / matching.ratios[t]
    return np.asarray(found if wrapper is None else wrapper.normalize_obs(found), np.float32)


def fisher(model: BaseAlgorithm, observations: NDArray[Any], seed: int) -> dict[str, torch.Tensor]:
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
        for row in torch.as_tensor(observations, device=model.device):
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
        mean, log_std, latent = policy.actor.get_action_dist_params(observation)
        normal = torch.distributions.Normal(mean, log_std.exp())
        if policy.actor.use_sde:
            normal = policy.actor.action_dist.proba_distribution(mean, log_std, **latent).distribution
    found: torch.Tensor = normal.log_prob(normal.sample()).sum()
    return found
