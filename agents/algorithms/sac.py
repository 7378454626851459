"""Soft actor-critic: SB3's, with seams."""

from typing import Any

import stable_baselines3
import torch
from typing_extensions import override

from warmstart.agents.algorithms.base import Log
from warmstart.agents.algorithms.off_policy import OffPolicySeams, descend


class SAC(OffPolicySeams, stable_baselines3.SAC):
    """SB3's SAC (Haarnoja et al. 2018, 1812.05905) whose seams a transfer method can use.

    The constructor takes what SB3's takes, and ``seams`` and ``random_steps``.
    """

    @override
    def _update_networks(self, data: Any, gradient_step: int, log: Log) -> None:
        if self.use_sde:
            self.actor.reset_noise()
        actions, log_prob = self.actor.action_log_prob(data.observations)
        log_prob = log_prob.reshape(-1, 1)
        ent_coef = self._entropy_coefficient(log_prob, log)
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

    def _entropy_coefficient(self, log_prob: torch.Tensor, log: Log) -> torch.Tensor:
        """The coefficient for this step, and the step of a learned one, which stands still with the actor."""
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            log.setdefault("ent_coef", []).append(float(self.ent_coef_tensor))
            return self.ent_coef_tensor
        ent_coef = torch.exp(self.log_ent_coef.detach())
        log.setdefault("ent_coef", []).append(ent_coef.item())
        rules = self.trainability
        if rules is None or rules.multiplier(("log_ent_coef",), "actor", self.num_timesteps) > 0:
            assert isinstance(self.target_entropy, float)
            loss = -(self.log_ent_coef * (log_prob + self.target_entropy).detach()).mean()
            log.setdefault("ent_coef_loss", []).append(loss.item())
            descend(self.ent_coef_optimizer, loss)
        return ent_coef
