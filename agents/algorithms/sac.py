"""Soft actor-critic: SB3's, with seams."""

from typing import Any

import stable_baselines3
import torch
from typing_extensions import override

from warmstart.agents.algorithms.base import Log
from warmstart.agents.algorithms.off_policy import EntropySeams


class SAC(EntropySeams, stable_baselines3.SAC):
    """SB3's SAC (Haarnoja et al. 2018, 1812.05905) whose seams a transfer method can use.

    The constructor takes what SB3's takes, and ``seams``, ``random_steps`` and ``matmul_precision``.
    """

    @override
    def _update_networks(self, data: Any, gradient_step: int, log: Log) -> None:
        actions, log_prob, ent_coef = self._acted(data, log)
        with torch.no_grad():
            next_actions, next_log_prob = self.actor.action_log_prob(data.next_observations)
            next_q = torch.cat(self.critic_target(data.next_observations, next_actions), dim=1)
            next_q = torch.min(next_q, dim=1, keepdim=True)[0] - ent_coef * next_log_prob.reshape(-1, 1)
        self._step_critic(data, next_q, 0.5, log)

        def actor_loss() -> torch.Tensor:
            q = torch.cat(self.critic(data.observations, actions), dim=1)
            return (ent_coef * log_prob - torch.min(q, dim=1, keepdim=True)[0]).mean()

        self._step_network("actor", actor_loss, data, log)
        if gradient_step % self.target_update_interval == 0:
            self._follow("critic", self.batch_norm_stats, self.batch_norm_stats_target)
