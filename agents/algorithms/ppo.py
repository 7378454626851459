"""Proximal policy optimisation from rollout to update: SB3's, with seams, and the same results sooner."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import explained_variance, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv
from torch.nn import functional
from typing_extensions import override

from warmstart.agents.algorithms.base import Log, SeamAgent
from warmstart.agents.algorithms.seams import GuideActions, Seams
from warmstart.agents.algorithms.terms import ActionTerm, ParameterPenalty
from warmstart.agents.algorithms.trainability import Trainability, any_trains
from warmstart.agents.fast.loss import Aim
from warmstart.agents.fast.mlp import is_plain_mlp
from warmstart.agents.fast.update import MlpUpdate, fast_actor, fast_update, flattened


class PPO(SeamAgent, stable_baselines3.PPO):
    """SB3's PPO (Schulman et al. 2017, 1707.06347) whose seams a transfer method can use.

    The constructor takes what SB3's takes, ``seams``, and ``recompute_advantages``: values and advantages are
    computed anew before each pass but the first (Andrychowicz et al. 2020, 2006.05990). Results are SB3's bit
    for bit where neither is used. Two functions of `warmstart.agents.fast` give the same bits sooner for the
    usual policy; without them and the lines that call them here, everything works.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        *args: Any,
        seams: Seams | None = None,
        recompute_advantages: bool = False,
        **kwargs: Any,
    ) -> None:
        self._update: MlpUpdate | None = None
        self._left_out: NDArray[np.bool_] | None = None
        self.recompute_advantages = recompute_advantages
        super().__init__(policy, env, *args, seams=seams, **kwargs)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Collect a rollout as SB3 does, with less overhead, and with the guide's actions where it acts.

        Args:
            env: The training environment.
            callback: Called at each step.
            rollout_buffer: What is filled.
            n_rollout_steps: Steps per environment.

        Returns:
            False if the callback ended training.
        """
        self._begin_rollout()
        assert self._last_obs is not None
        assert self._last_episode_starts is not None
        self.policy.set_training_mode(False)
        n_steps = 0
        rollout_buffer.reset()
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        actor = fast_actor(self.policy, env.num_envs)
        self._left_out = None

        while n_steps < n_rollout_steps:
            if self.use_sde and self.sde_sample_freq > 0 and n_steps % self.sde_sample_freq == 0:
                self.policy.reset_noise(env.num_envs)
            obs_tensor = obs_as_tensor(self._last_obs, self.device)  # type: ignore[arg-type]
            if actor is not None:
                assert isinstance(obs_tensor, torch.Tensor)
                action_tensor, values, log_probs = actor.act(obs_tensor)
            else:
                with torch.no_grad():
                    action_tensor, values, log_probs = self.policy(obs_tensor)
            actions = action_tensor.cpu().numpy()
            guide = self._guide_actions()
            if guide is not None and guide.mask.any():
                actions = self._guided(guide, actions)
                log_probs = self._guided_log_probs(guide, obs_tensor, actions, log_probs)
                if not guide.learn:
                    if self._left_out is None:
                        self._left_out = np.zeros((n_rollout_steps, env.num_envs), bool)
                    self._left_out[n_steps] = guide.mask

            clipped_actions = actions
            if isinstance(self.action_space, spaces.Box):
                if self.policy.squash_output:
                    clipped_actions = self.policy.unscale_action(clipped_actions)
                else:
                    clipped_actions = np.clip(actions, self.action_space.low, self.action_space.high)
            new_obs, rewards, dones, infos = env.step(clipped_actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            n_steps += 1
            if isinstance(self.action_space, spaces.Discrete):
                actions = actions.reshape(-1, 1)
            if dones.any():
                self._bootstrap_timeouts(rewards, dones, infos)
            rollout_buffer.add(
                self._last_obs,  # type: ignore[arg-type]
                actions,
                rewards,
                self._last_episode_starts,
                values,
                log_probs,
            )
            self._last_obs = new_obs  # type: ignore[assignment]
            self._last_episode_starts = dones

        with torch.no_grad():
            values = self.policy.predict_values(obs_as_tensor(new_obs, self.device))  # type: ignore[arg-type]
        rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        self._tell_episodes()
        return True

    def _bootstrap_timeouts(
        self, rewards: NDArray[Any], dones: NDArray[Any], infos: list[dict[str, Any]]
    ) -> None:
        """Add the value of the last state of episodes that ran out of time (SB3 #633)."""
        for index in np.flatnonzero(dones):
            info = infos[index]
            if info.get("terminal_observation") is None or not info.get("TimeLimit.truncated", False):
                continue
            terminal_obs = self.policy.obs_to_tensor(info["terminal_observation"])[0]
            with torch.no_grad():
                rewards[index] += self.gamma * self.policy.predict_values(terminal_obs)[0]

    @override
    def _guided(self, guide: GuideActions, actions: NDArray[Any]) -> NDArray[Any]:
        scaled = super()._guided(guide, actions)
        if self.policy.squash_output:
            scaled[guide.mask] = self.policy.scale_action(scaled[guide.mask])
        return scaled

    def _guided_log_probs(
        self, guide: GuideActions, obs_tensor: Any, actions: NDArray[Any], log_probs: torch.Tensor
    ) -> torch.Tensor:
        """Log-probabilities of actions of which some are the guide's. Shape: (n_envs,).

        Unless the guide gives others, these are the learner's own of the guide's actions: the surrogate's
        ratio then starts at 1, and its trust region is one around the learner, not around the guide.
        """
        if guide.log_probs is None:
            with torch.no_grad():
                acted = torch.as_tensor(actions, device=self.device)
                own = self.policy.get_distribution(obs_tensor).log_prob(acted)
        else:
            own = torch.as_tensor(guide.log_probs, device=self.device)
        return torch.where(torch.as_tensor(guide.mask, device=self.device), own, log_probs)

    def train(self) -> None:
        """Update the policy from the rollout: ``n_epochs`` passes over it in minibatches."""
        if self.trainability is not None:
            self.trainability.apply(self.policy, self.num_timesteps)
        if not any_trains(self.policy):
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        clip_range_vf = None
        if self.clip_range_vf is not None:
            clip_range_vf = self.clip_range_vf(self._current_progress_remaining)  # type: ignore[operator]
            self.logger.record("train/clip_range_vf", clip_range_vf)
        again = self._recompute if self.recompute_advantages else None
        rows = None if self._left_out is None else ~self._left_out.swapaxes(0, 1).reshape(-1)
        if rows is None or rows.any():
            closed = self._in_closed_form()
            rules = self.trainability or Trainability(())
            self._update = None if closed is None else fast_update(self, self._update, rules.factors)
            if closed is None or self._update is None:
                log = self._update_by_autograd(clip_range, clip_range_vf, again, rows)
            else:
                aims, pulls = closed
                keep = None if rows is None else torch.from_numpy(rows)
                log = self._update.run(clip_range, clip_range_vf, again, aims, pulls, rules.masks, keep)
            self._log_means(log)
        buffer = self.rollout_buffer
        explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        self.logger.record("train/explained_variance", explained)
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", torch.exp(self.policy.log_std).mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)

    def _in_closed_form(self) -> tuple[dict[str, Aim], dict[str, Any]] | None:
        """The loss terms as targets for each row of the rollout and penalties on parameters, if they are."""
        aims: dict[str, Aim] = {}
        pulls: dict[str, Any] = {}
        terms = self.seams.loss_terms
        if not terms:
            return aims, pulls
        known = all(type(term).loss in (ActionTerm.loss, ParameterPenalty.loss) for term in terms)
        if not known or not is_plain_mlp(self.policy):
            return None
        parameters = dict(self.policy.named_parameters())
        for term in terms:
            if isinstance(term, ParameterPenalty):
                if term.coefficient:
                    pulls[term.name] = {
                        parameters[name]: (start, term.coefficient * weight)
                        for name, (start, weight) in term.anchors.items()
                    }
            elif isinstance(term, ActionTerm):
                coefficient = term.coefficient(self)
                if coefficient:
                    with torch.no_grad():
                        found = term.targets(self, flattened(self.rollout_buffer).observations)
                    aims[term.name] = Aim(found.mean, found.log_std, coefficient * found.weight)
        return aims, pulls

    def _minibatches(self, rows: NDArray[np.bool_] | None) -> Iterator[Any]:
        """One pass over the rollout in minibatches of the rows that take part (all by default)."""
        if rows is None:
            yield from self.rollout_buffer.get(self.batch_size)
            return
        if isinstance(self.rollout_buffer.observations, dict):
            next(self.rollout_buffer.get(1))  # flattens it
        else:
            flattened(self.rollout_buffer)
        order = np.random.permutation(len(rows))  # noqa: NPY002
        order = order[rows[order]]
        for start in range(0, len(order), self.batch_size):
            yield self.rollout_buffer._get_samples(order[start : start + self.batch_size])

    def _recompute(self) -> None:
        """Compute values, advantages and returns of the rollout, which a pass has flattened, anew."""
        buffer = self.rollout_buffer
        assert buffer.generator_ready
        shape = (buffer.n_envs, buffer.buffer_size)
        with torch.no_grad():
            stored, latest = (
                obs_as_tensor(each, self.device)  # type: ignore[arg-type]
                for each in (buffer.observations, self._last_obs)
            )
            values, last = self.policy.predict_values(stored), self.policy.predict_values(latest)
        buffer.values = values.cpu().numpy().reshape(shape).T
        buffer.advantages = np.empty_like(buffer.values)
        dones: Any = self._last_episode_starts
        buffer.compute_returns_and_advantage(last_values=last, dones=dones)
        for name in ("values", "advantages", "returns"):
            setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))

    def _update_by_autograd(
        self,
        clip_range: float,
        clip_range_vf: float | None,
        again: Callable[[], None] | None,
        rows: NDArray[np.bool_] | None,
    ) -> Log:
        """Pass over the rollout in minibatches, for any policy and with the loss seam's terms."""
        log: Log = {}
        stop = False
        for epoch in range(self.n_epochs):
            log["approx_kl"] = []
            if epoch and again is not None:
                again()
            for data in self._minibatches(rows):
                loss, divergence = self._loss(data, clip_range, clip_range_vf, log)
                loss = self._with_terms(loss, None, data, log)
                log["loss"] = [loss.item()]
                stop = self.target_kl is not None and divergence > 1.5 * self.target_kl
                if stop:
                    break
                self.policy.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._hold()
                torch.nn.utils.clip_grad_norm_(self._moving(), self.max_grad_norm)
                self.policy.optimizer.step()
            self._n_updates += 1
            if stop:
                break
        return log

    def _loss(
        self, data: Any, clip_range: float, clip_range_vf: float | None, log: Log
    ) -> tuple[torch.Tensor, float]:
        """PPO's loss of a minibatch (1707.06347, equation 9), and its approximate KL divergence.

        Args:
            data: The minibatch, as SB3's rollout buffer gives it. Shapes: (batch, …).
            clip_range: How far the probability ratio may leave 1.
            clip_range_vf: How far values may leave the old ones; None for any.
            log: Takes what is logged.
        """
        discrete = isinstance(self.action_space, spaces.Discrete)
        actions = data.actions.long().flatten() if discrete else data.actions
        values, log_prob, entropy = self.policy.evaluate_actions(data.observations, actions)
        values = values.flatten()
        advantages = data.advantages
        if self.normalize_advantage and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        log_ratio = log_prob - data.old_log_prob
        ratio = torch.exp(log_ratio)
        bounded = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
        policy_loss = -torch.min(advantages * ratio, advantages * bounded).mean()
        if clip_range_vf is not None:
            change = torch.clamp(values - data.old_values, -clip_range_vf, clip_range_vf)
            values = data.old_values + change
        value_loss = functional.mse_loss(data.returns, values)
        entropy_loss = -torch.mean(-log_prob if entropy is None else entropy)
        with torch.no_grad():
            divergence = torch.mean((torch.exp(log_ratio) - 1) - log_ratio).item()
            clipped = torch.mean((torch.abs(ratio - 1) > clip_range).float()).item()
        for name, value in (
            ("policy_gradient_loss", policy_loss.item()),
            ("value_loss", value_loss.item()),
            ("entropy_loss", entropy_loss.item()),
            ("clip_fraction", clipped),
            ("approx_kl", divergence),
        ):
            log.setdefault(name, []).append(value)
        return policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss, divergence

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_update", "_left_out"]
