"""Soft actor-critic: SB3's, with seams."""

from typing import Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.utils import polyak_update
from torch.nn import functional

from warmstart.agents.algorithms.off_policy import OffPolicySeams, any_trains, follow


class SAC(OffPolicySeams, stable_baselines3.SAC):
    """SB3's SAC (Haarnoja et al. 2018, 1812.05905) whose seams a transfer method can use.

    The constructor takes what SB3's takes, and ``seams`` and ``random_steps``.
    """

    @property
    def trains_ent_coef(self) -> bool:
        """Whether a learned entropy coefficient moves now: it stands still while the actor does."""
        if self.trainability is None:
            return True
        index = self.trainability.rule_index(("log_ent_coef",), "actor")
        return index is None or self.trainability.rules[index].at(self.num_timesteps) > 0

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Do gradient steps on the replay buffer."""
        if self._plain:
            super().train(gradient_steps, batch_size)
        else:
            self._train_with_seams(gradient_steps, batch_size)

    def _train_with_seams(self, gradient_steps: int, batch_size: int) -> None:
        """SB3's update with loss terms, and without the steps of what is frozen."""
        self.policy.set_training_mode(True)
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        self._update_learning_rate(optimizers)
        losses: dict[str, list[float]] = {}
        terms: dict[str, list[float]] = {}
        moves_actor, moves_critic = any_trains(self.actor), any_trains(self.critic)
        for gradient_step in range(gradient_steps):
            assert self.replay_buffer is not None
            data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            discounts = data.discounts if data.discounts is not None else self.gamma
            if self.use_sde:
                self.actor.reset_noise()
            actions_pi, log_prob = self.actor.action_log_prob(data.observations)
            log_prob = log_prob.reshape(-1, 1)
            ent_coef = self._entropy_coefficient(log_prob, losses)
            with torch.no_grad():
                next_actions, next_log_prob = self.actor.action_log_prob(data.next_observations)
                next_q = torch.cat(self.critic_target(data.next_observations, next_actions), dim=1)
                next_q = torch.min(next_q, dim=1, keepdim=True)[0] - ent_coef * next_log_prob.reshape(-1, 1)
                target_q = data.rewards + (1 - data.dones) * discounts * next_q

            if moves_critic:
                current_q = self.critic(data.observations, data.actions)
                critic_loss = 0.5 * torch.stack([functional.mse_loss(q, target_q) for q in current_q]).sum()
                added = self._added_losses("critic", data.observations, data.actions, terms)
                critic_loss = critic_loss if added is None else critic_loss + added
                losses.setdefault("critic_loss", []).append(critic_loss.item())
                step(self.critic.optimizer, critic_loss)

            if moves_actor:
                q_pi = torch.cat(self.critic(data.observations, actions_pi), dim=1)
                actor_loss = (ent_coef * log_prob - torch.min(q_pi, dim=1, keepdim=True)[0]).mean()
                added = self._added_losses("actor", data.observations, data.actions, terms)
                actor_loss = actor_loss if added is None else actor_loss + added
                losses.setdefault("actor_loss", []).append(actor_loss.item())
                step(self.actor.optimizer, actor_loss)

            if gradient_step % self.target_update_interval == 0:
                follow(self.critic, self.critic_target, self.tau)
                polyak_update(self.batch_norm_stats, self.batch_norm_stats_target, 1.0)
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, values in losses.items():
            self.logger.record(f"train/{name}", float(np.mean(values)))
        self._log_terms(terms)

    def _entropy_coefficient(self, log_prob: torch.Tensor, losses: dict[str, list[float]]) -> torch.Tensor:
        """The coefficient for this step, and the step of a learned one."""
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            losses.setdefault("ent_coef", []).append(float(self.ent_coef_tensor))
            return self.ent_coef_tensor
        ent_coef = torch.exp(self.log_ent_coef.detach())
        losses.setdefault("ent_coef", []).append(ent_coef.item())
        if self.trains_ent_coef:
            assert isinstance(self.target_entropy, float)
            loss = -(self.log_ent_coef * (log_prob + self.target_entropy).detach()).mean()
            losses.setdefault("ent_coef_loss", []).append(loss.item())
            step(self.ent_coef_optimizer, loss)
        return ent_coef


def step(optimizer: torch.optim.Optimizer, loss: Any) -> None:
    """One gradient step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
