"""CrossQ: sb3-contrib's, with seams."""

from typing import Any

import sb3_contrib
import torch
from sb3_contrib.common.torch_layers import BatchRenorm
from torch import nn
from torch.nn import functional
from typing_extensions import override

from warmstart.agents.algorithms.base import Log
from warmstart.agents.algorithms.off_policy import EntropySeams


class CrossQ(EntropySeams, sb3_contrib.CrossQ):
    """sb3-contrib's CrossQ (Bhatt et al. 2024, 1902.05605) whose seams a transfer method can use.

    It has no target networks; its batch renormalisation sees both minibatches at once. A frozen network's
    statistics stand still. The constructor takes what sb3-contrib's takes, and ``seams``, ``random_steps``
    and ``matmul_precision``.
    """

    @override
    def _update_networks(self, data: Any, gradient_step: int, log: Log) -> None:
        del gradient_step
        if self.use_sde:
            self.actor.reset_noise()
        ent_coef = self._coefficient(log)
        following = next_actions(self, data)
        self._step_network("critic", lambda: joint_loss(self, data, ent_coef, *following), data, log)
        if self._n_updates % self.policy_delay:
            return
        renormalise(self.actor)
        actions, log_prob = self.actor.action_log_prob(data.observations)
        log_prob = log_prob.reshape(-1, 1)
        self.actor.set_bn_training_mode(False)
        self._step_coefficient(log_prob, log)

        def actor_loss() -> torch.Tensor:
            self.critic.set_bn_training_mode(False)
            q = torch.cat(self.critic(data.observations, actions), dim=1)
            return (ent_coef * log_prob - torch.min(q, dim=1, keepdim=True)[0]).mean()

        self._step_network("actor", actor_loss, data, log)


def next_actions(model: sb3_contrib.CrossQ, data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Actions in the next states and their log-probabilities. Shapes: (n, actions) and (n,)."""
    with torch.no_grad():
        model.actor.set_bn_training_mode(False)
        actions, log_prob = model.actor.action_log_prob(data.next_observations)
    return actions, log_prob


def joint_loss(
    model: sb3_contrib.CrossQ,
    data: Any,
    ent_coef: torch.Tensor,
    actions: torch.Tensor,
    log_prob: torch.Tensor,
) -> torch.Tensor:
    """Loss of the critics, which see this and the next states in one batch: its statistics are of both.

    Args:
        model: The agent.
        data: A minibatch of n transitions.
        ent_coef: The entropy coefficient.
        actions: In the next states. Shape: (n, actions).
        log_prob: Of these. Shape: (n,).
    """
    discounts = data.discounts if data.discounts is not None else model.gamma
    observations = torch.cat([data.observations, data.next_observations], dim=0)
    renormalise(model.critic)
    q = torch.cat(model.critic(observations, torch.cat([data.actions, actions], dim=0)), dim=1)
    model.critic.set_bn_training_mode(False)
    current, following = torch.split(q, len(data.rewards), dim=0)
    with torch.no_grad():
        least, _ = torch.min(following.detach(), dim=1, keepdim=True)
        least = least - ent_coef * log_prob.reshape(-1, 1)
        target = data.rewards + (1 - data.dones) * discounts * least
    errors = (functional.mse_loss(each, target) for each in current.T[..., None])
    return 0.5 * sum(errors, torch.zeros((), device=model.device))


def renormalise(network: nn.Module) -> None:
    """Let batch renormalisation use and update a batch's statistics, but for layers that are frozen."""
    for module in network.modules():
        if isinstance(module, BatchRenorm):
            module.train(module.scale.requires_grad)
