"""What SAC, TQC and CrossQ have in common: an entropy coefficient, learned or fixed."""

from typing import Any

import torch

from warmstart.agents.algorithms.base import Log
from warmstart.agents.algorithms.off_policy import OffPolicySeams, descend


class EntropySeams(OffPolicySeams):
    """Mixin before SB3's SAC, TQC or CrossQ."""

    log_ent_coef: torch.Tensor | None
    ent_coef_tensor: torch.Tensor
    ent_coef_optimizer: torch.optim.Adam | None
    target_entropy: Any

    def _coefficient(self, log: Log) -> torch.Tensor:
        """The coefficient for this gradient step."""
        found = self.ent_coef_tensor if self.log_ent_coef is None else torch.exp(self.log_ent_coef.detach())
        log.setdefault("ent_coef", []).append(found.item())
        return found

    def _step_coefficient(self, log_prob: torch.Tensor, log: Log) -> None:
        """The step of a learned coefficient, which stands still with the actor.

        Args:
            log_prob: Of the actor's present actions. Shape: (n, 1).
            log: Takes the loss.
        """
        rules = self.trainability
        if self.log_ent_coef is None or self.ent_coef_optimizer is None:
            return
        if rules is None or rules.multiplier(("log_ent_coef",), "actor", self.num_timesteps) > 0:
            loss = -(self.log_ent_coef * (log_prob + self.target_entropy).detach()).mean()
            log.setdefault("ent_coef_loss", []).append(loss.item())
            descend(self.ent_coef_optimizer, loss)

    def _acted(self, data: Any, log: Log) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Actions in a minibatch's states, their log-probabilities (n, 1), and the coefficient."""
        if self.use_sde:
            self.policy.actor.reset_noise()
        actions, log_prob = self.policy.actor.action_log_prob(data.observations)
        log_prob = log_prob.reshape(-1, 1)
        ent_coef = self._coefficient(log)
        self._step_coefficient(log_prob, log)
        return actions, log_prob, ent_coef
