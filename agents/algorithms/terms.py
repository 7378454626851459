"""Loss terms in closed form: a pull on parameters, and a pull towards a distribution of actions.

Most transfer methods that add to the loss add one of these. Their gradients are written out, so that PPO's
update without Python between operations serves them, too; SAC, TD3, TQC and CrossQ take them by autograd.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from gymnasium import spaces
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.nn import functional
from typing_extensions import override

from warmstart.agents.algorithms.seams import LossBatch, LossTerm, TensorObservations
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError


class ParameterPenalty(LossTerm):
    """``coefficient / 2 · Σ weight · (parameter − anchor)²`` over the parameters that were anchored.

    Args:
        name: Under which it is logged.
        coefficient: Of the sum; 0 leaves the term out of the update altogether.
        part: The network whose parameters it is about.
    """

    def __init__(self, name: str, coefficient: float, part: Literal["actor", "critic"] = "actor") -> None:
        self.name, self.part, self.coefficient = name, part, coefficient
        self.anchors: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def anchor(self, model: BaseAlgorithm, weights: Mapping[str, torch.Tensor]) -> None:
        """Pull parameters to where they are now.

        Args:
            model: The agent.
            weights: By parameter, each of its shape; 0 leaves an entry free.
        """
        own = dict(model.policy.named_parameters())
        self.anchors = {name: (own[name].detach().clone(), weight) for name, weight in weights.items()}

    @override
    def loss(self, model: BaseAlgorithm, batch: LossBatch) -> torch.Tensor:
        own = dict(model.policy.named_parameters())
        pairs = ((own[name], *held) for name, held in self.anchors.items())
        parts = [(weight * (p - start) ** 2).sum() for p, start, weight in pairs if p.requires_grad]
        return self.coefficient / 2 * torch.stack(parts).sum() if parts else torch.zeros(())

    @override
    def state_dict(self) -> State:
        return {"anchors": self.anchors}

    @override
    def load_state_dict(self, state: State) -> None:
        self.anchors = state["anchors"]


class ActionTargets(NamedTuple):
    """What an agent's distribution of actions is pulled towards, in the numbers of its own network.

    PPO: its Gaussian's, not clipped. SAC, TQC, CrossQ: before the squashing. TD3: the action in [-1, 1].
    """

    mean: torch.Tensor
    """Shape: (rows, actions); of a discrete space the log-probabilities."""
    log_std: torch.Tensor
    """Shape: (rows, actions). Unused by TD3 and for discrete actions."""
    weight: torch.Tensor
    """0 where nothing is known. Shape: (rows, actions), or (rows, 1) for discrete actions."""


class ActionTerm(LossTerm):
    """``coefficient · KL(target ‖ agent)``, the mean over a minibatch; half the squared distance for TD3."""

    part = "actor"

    def coefficient(self, model: BaseAlgorithm) -> float:
        """Its weight now; 0 leaves the term out of the update altogether."""
        raise NotImplementedError(f"{type(self).__name__} has no coefficient(model).")

    def targets(self, model: BaseAlgorithm, observations: TensorObservations) -> ActionTargets:
        """Where to.

        Args:
            model: The agent.
            observations: As its policy takes them. Shape: (rows, …).
        """
        raise NotImplementedError(f"{type(self).__name__} has no targets(model, observations).")

    @override
    def loss(self, model: BaseAlgorithm, batch: LossBatch) -> torch.Tensor:
        coefficient = self.coefficient(model)
        if coefficient == 0:
            return torch.zeros(())
        with torch.no_grad():
            targets = self.targets(model, batch.observations)
        return coefficient * divergence(model, batch.observations, targets)


def divergence(
    model: BaseAlgorithm, observations: TensorObservations, targets: ActionTargets
) -> torch.Tensor:
    """Mean divergence of an agent's distribution of actions from targets. Shape: ().

    Raises:
        WarmstartError: The agent is none of PPO, SAC, TD3, TQC and CrossQ.
    """
    policy: Any = model.policy
    if isinstance(model, TD3):
        gaps: torch.Tensor = policy.actor(observations) - targets.mean
        return (targets.weight * gaps**2).sum(1).mean() / 2
    if isinstance(model, PPO):
        distribution = policy.get_distribution(observations).distribution
        if isinstance(model.action_space, spaces.Discrete):
            own: torch.Tensor = functional.log_softmax(distribution.logits, 1)
            return (targets.weight * targets.mean.exp() * (targets.mean - own)).sum(1).mean()
        mean, log_std = distribution.mean, distribution.stddev.log()
    elif isinstance(model, SAC | TQC | CrossQ):
        mean, log_std = before_squashing(policy.actor, observations)
    else:
        raise WarmstartError(f"{type(model).__name__} has no distribution of actions that is known here.")
    var: torch.Tensor = (2 * log_std).exp()
    spread: torch.Tensor = ((2 * targets.log_std).exp() + (mean - targets.mean) ** 2) / var
    each: torch.Tensor = log_std - targets.log_std + (spread - 1) / 2
    return (targets.weight * each).sum(1).mean()


def before_squashing(actor: Any, observations: TensorObservations) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log σ of an actor's Gaussian before the squashing (SAC, TQC, CrossQ), with gSDE, too.

    Args:
        actor: The actor.
        observations: As its policy takes them. Shape: (rows, …).

    Returns:
        Shapes: (rows, actions).
    """
    mean, log_std, latent = actor.get_action_dist_params(observations)
    if actor.use_sde:
        distribution = actor.action_dist.proba_distribution(mean, log_std, **latent).distribution
        return distribution.mean, distribution.stddev.log()
    return mean, log_std
