"""Twin delayed deep deterministic policy gradient: SB3's, with seams."""

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.utils import polyak_update
from torch.nn import functional

from warmstart.agents.algorithms.off_policy import OffPolicySeams, any_trains, follow
from warmstart.agents.algorithms.sac import step


class TD3(OffPolicySeams, stable_baselines3.TD3):
    """SB3's TD3 (Fujimoto et al. 2018, 1802.09477) whose seams a transfer method can use.

    The constructor takes what SB3's takes, and ``seams`` and ``random_steps``.
    """

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Do gradient steps on the replay buffer."""
        if self._plain:
            super().train(gradient_steps, batch_size)
        else:
            self._train_with_seams(gradient_steps, batch_size)

    def _train_with_seams(self, gradient_steps: int, batch_size: int) -> None:
        """SB3's update with loss terms, and without the steps of what is frozen."""
        self.policy.set_training_mode(True)
        self._update_learning_rate([self.actor.optimizer, self.critic.optimizer])
        losses: dict[str, list[float]] = {}
        terms: dict[str, list[float]] = {}
        moves_actor, moves_critic = any_trains(self.actor), any_trains(self.critic)
        for _ in range(gradient_steps):
            self._n_updates += 1
            assert self.replay_buffer is not None
            data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            discounts = data.discounts if data.discounts is not None else self.gamma
            with torch.no_grad():
                noise = data.actions.clone().data.normal_(0, self.target_policy_noise)
                noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
                next_actions = (self.actor_target(data.next_observations) + noise).clamp(-1, 1)
                next_q = torch.cat(self.critic_target(data.next_observations, next_actions), dim=1)
                next_q = torch.min(next_q, dim=1, keepdim=True)[0]
                target_q = data.rewards + (1 - data.dones) * discounts * next_q

            if moves_critic:
                current_q = self.critic(data.observations, data.actions)
                critic_loss = sum(
                    (functional.mse_loss(q, target_q) for q in current_q), torch.zeros((), device=self.device)
                )
                added = self._added_losses("critic", data.observations, data.actions, terms)
                critic_loss = critic_loss if added is None else critic_loss + added
                losses.setdefault("critic_loss", []).append(critic_loss.item())
                step(self.critic.optimizer, critic_loss)

            if self._n_updates % self.policy_delay == 0:
                if moves_actor:
                    q_pi = self.critic.q1_forward(data.observations, self.actor(data.observations))
                    actor_loss = -q_pi.mean()
                    added = self._added_losses("actor", data.observations, data.actions, terms)
                    actor_loss = actor_loss if added is None else actor_loss + added
                    losses.setdefault("actor_loss", []).append(actor_loss.item())
                    step(self.actor.optimizer, actor_loss)
                follow(self.critic, self.critic_target, self.tau)
                follow(self.actor, self.actor_target, self.tau)
                polyak_update(self.critic_batch_norm_stats, self.critic_batch_norm_stats_target, 1.0)
                polyak_update(self.actor_batch_norm_stats, self.actor_batch_norm_stats_target, 1.0)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, values in losses.items():
            self.logger.record(f"train/{name}", float(np.mean(values)))
        self._log_terms(terms)
