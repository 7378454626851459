"""What SAC and TD3 have in common here: who acts in the first steps, a seeded replay buffer, the update."""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback, RolloutReturn
from stable_baselines3.common.utils import polyak_update
from torch.nn import functional
from typing_extensions import override

from warmstart.agents.algorithms.base import Log, SeamAgent
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.trainability import any_trains


class OffPolicySeams(SeamAgent, OffPolicyAlgorithm):
    """Mixin before SB3's SAC or TD3.

    ``random_steps`` separates what SB3's ``learning_starts`` mixes: a warm agent should gather experience
    before its first gradient step (``learning_starts``) but with its own policy, not uniformly at random
    (SB3 #1916, #435).
    """

    looks_at_parameters = False  # an update follows each step, and the next one's losses tell
    random_steps: int | None
    matmul_precision: str | None
    policy: Any

    def __init__(
        self,
        policy: Any,
        env: Any,
        *args: Any,
        seams: Seams | None = None,
        random_steps: int | None = None,
        matmul_precision: str | None = None,
        **kwargs: Any,
    ) -> None:
        experience = seams.experience if seams is not None else None
        if experience is not None and experience.random_steps is not None:
            random_steps = experience.random_steps
        self.random_steps = random_steps
        self.matmul_precision = matmul_precision
        self._buffer_seeded = False
        super().__init__(policy, env, *args, seams=seams, **kwargs)

    def _setup_learn(
        self, total_timesteps: int, callback: MaybeCallback = None, *args: Any, **kwargs: Any
    ) -> Any:
        prepared = super()._setup_learn(total_timesteps, callback, *args, **kwargs)
        if self.seams.experience is not None and not self._buffer_seeded:
            self._buffer_seeded = True
            self.seams.experience.seed_buffer(self)
        return prepared

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        random_steps = learning_starts if self.random_steps is None else self.random_steps
        actions, stored = super()._sample_action(random_steps, action_noise, n_envs)
        guide = self._guide_actions()
        if guide is not None and guide.mask.any():
            actions, stored = self._guided(guide, actions), stored.copy()
            stored[guide.mask] = self.policy.scale_action(actions[guide.mask])
        return actions, stored

    @override
    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        self._begin_rollout()
        rollout = super().collect_rollouts(*args, **kwargs)
        self._tell_episodes()
        return rollout

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Do gradient steps on the replay buffer.

        SB3's own update, unless there are loss terms or rules of what trains: then the same arithmetic with
        the terms, and without the steps of what is frozen. Matrix products have the ``matmul_precision``
        that was given, or else torch's own.
        """
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.matmul_precision or before)
        try:
            if self.trainability is None and not self.seams.loss_terms:
                super().train(gradient_steps, batch_size)
            else:
                self._train(gradient_steps, batch_size)
        finally:
            torch.set_float32_matmul_precision(before)

    def _train(self, gradient_steps: int, batch_size: int) -> None:
        self.policy.set_training_mode(True)
        found = (
            self.policy.actor.optimizer,
            self.policy.critic.optimizer,
            vars(self).get("ent_coef_optimizer"),
        )
        self._update_learning_rate([optimizer for optimizer in found if optimizer is not None])
        log: Log = {}
        for gradient_step in range(gradient_steps):
            self._n_updates += 1
            assert self.replay_buffer is not None
            data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            self._update_networks(data, gradient_step, log)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self._log_means(log)

    def _update_networks(self, data: Any, gradient_step: int, log: Log) -> None:
        """Update critic, actor and targets by one minibatch; notes what is logged."""
        raise NotImplementedError(f"{type(self).__name__} has no _update_networks(data, gradient_step, log).")

    def _step_critic(self, data: Any, next_q: torch.Tensor, weight: float, log: Log) -> None:
        """Move the critic towards the reward and the discounted value of the next state (n, 1)."""
        discounts = data.discounts if data.discounts is not None else self.gamma
        target_q = data.rewards + (1 - data.dones) * discounts * next_q

        def loss() -> torch.Tensor:
            current_q = self.policy.critic(data.observations, data.actions)
            errors = (functional.mse_loss(q, target_q) for q in current_q)
            return weight * sum(errors, torch.zeros((), device=self.device))

        self._step_network("critic", loss, data, log)

    def _step_network(self, part: str, loss: Callable[[], torch.Tensor], data: Any, log: Log) -> None:
        """One gradient step of actor or critic by its loss and loss terms, unless all of it is frozen."""
        network = getattr(self.policy, part)
        if any_trains(network):
            value = self._with_terms(loss(), part, data, log)
            log.setdefault(f"{part}_loss", []).append(value.item())
            descend(network.optimizer, value, self._hold)

    def _follow(self, part: str, statistics: list[torch.Tensor], target: list[torch.Tensor]) -> None:
        """Move a target network towards its network, except where that is frozen.

        Without the exception a frozen parameter's target would still change by rounding.

        Args:
            part: The network, ``actor`` or ``critic``.
            statistics: Its batch normalisation's, which the target's become.
            target: The target's.
        """
        network, follower = getattr(self.policy, part), getattr(self.policy, f"{part}_target")
        pairs = zip(network.parameters(), follower.parameters(), strict=True)
        moving = [(own, theirs) for own, theirs in pairs if own.requires_grad]
        polyak_update([own for own, _ in moving], [theirs for _, theirs in moving], self.tau)
        polyak_update(statistics, target, 1.0)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_buffer_seeded"]


class EntropySeams(OffPolicySeams):
    """Mixin before SB3's SAC, TQC or CrossQ: an entropy coefficient, learned or fixed."""

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


def descend(optimizer: torch.optim.Optimizer, loss: Any, hold: Callable[[], None] | None = None) -> None:
    """One gradient step; ``hold`` changes the gradient before it is taken."""
    optimizer.zero_grad()
    loss.backward()
    if hold is not None:
        hold()
    optimizer.step()
