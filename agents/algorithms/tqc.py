"""Truncated quantile critics: sb3-contrib's, with seams."""

from typing import Any

import sb3_contrib
import torch
from sb3_contrib.common.utils import quantile_huber_loss
from typing_extensions import override

from warmstart.agents.algorithms.base import Log
from warmstart.agents.algorithms.off_policy import EntropySeams


class TQC(EntropySeams, sb3_contrib.TQC):
    """sb3-contrib's TQC (Kuznetsov et al. 2020, 2005.04269) whose seams a transfer method can use.

    The constructor takes what sb3-contrib's takes, and ``seams``, ``random_steps`` and ``matmul_precision``.
    """

    @override
    def _update_networks(self, data: Any, gradient_step: int, log: Log) -> None:
        actions, log_prob, ent_coef = self._acted(data, log)
        target = target_quantiles(self, data, ent_coef)

        def actor_loss() -> torch.Tensor:
            q = self.critic(data.observations, actions).mean(dim=2).mean(dim=1, keepdim=True)
            loss: torch.Tensor = (ent_coef * log_prob - q).mean()
            return loss

        self._step_network("critic", lambda: quantile_loss(self, data, target), data, log)
        self._step_network("actor", actor_loss, data, log)
        if gradient_step % self.target_update_interval == 0:
            self._follow("critic", self.batch_norm_stats, self.batch_norm_stats_target)


def quantile_loss(model: sb3_contrib.TQC, data: Any, target: torch.Tensor) -> torch.Tensor:
    """Loss of the critics' quantiles (equation 9 of the paper) against those of `target_quantiles`."""
    found = model.critic(data.observations, data.actions)
    loss: torch.Tensor = quantile_huber_loss(found, target, sum_over_quantiles=False)
    return loss


def target_quantiles(model: sb3_contrib.TQC, data: Any, ent_coef: torch.Tensor) -> torch.Tensor:
    """What the critics' quantiles are moved to, the largest cut off. Shape: (n, 1, quantiles kept)."""
    discounts = data.discounts if data.discounts is not None else model.gamma
    kept = model.critic.quantiles_total - model.top_quantiles_to_drop_per_net * model.critic.n_critics
    with torch.no_grad():
        actions, log_prob = model.actor.action_log_prob(data.next_observations)
        quantiles = model.critic_target(data.next_observations, actions)
        quantiles, _ = torch.sort(quantiles.reshape(len(data.rewards), -1))
        target = quantiles[:, :kept] - ent_coef * log_prob.reshape(-1, 1)
        found: torch.Tensor = data.rewards + (1 - data.dones) * discounts * target
    return found.unsqueeze(dim=1)
