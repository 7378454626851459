"""Twin delayed deep deterministic policy gradient: SB3's, with seams."""

from typing import Any

import stable_baselines3
import torch
from typing_extensions import override

from warmstart.agents.algorithms.base import Log
from warmstart.agents.algorithms.off_policy import OffPolicySeams


class TD3(OffPolicySeams, stable_baselines3.TD3):
    """SB3's TD3 (Fujimoto et al. 2018, 1802.09477) whose seams a transfer method can use.

    The constructor takes what SB3's takes, and ``seams``, ``random_steps`` and ``matmul_precision``.
    """

    @override
    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        super().train(gradient_steps, batch_size)

    @override
    def _update_networks(self, data: Any, gradient_step: int, log: Log) -> None:
        with torch.no_grad():
            noise = data.actions.clone().data.normal_(0, self.target_policy_noise)
            noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
            next_actions = (self.actor_target(data.next_observations) + noise).clamp(-1, 1)
            next_q = torch.cat(self.critic_target(data.next_observations, next_actions), dim=1)
            next_q = torch.min(next_q, dim=1, keepdim=True)[0]
        self._step_critic(data, next_q, 1.0, log)

        def actor_loss() -> torch.Tensor:
            return -self.critic.q1_forward(data.observations, self.actor(data.observations)).mean()

        if self._n_updates % self.policy_delay == 0:
            self._step_network("actor", actor_loss, data, log)
            self._follow("critic", self.critic_batch_norm_stats, self.critic_batch_norm_stats_target)
            self._follow("actor", self.actor_batch_norm_stats, self.actor_batch_norm_stats_target)
