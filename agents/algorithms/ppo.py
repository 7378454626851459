"""Proximal policy optimisation: SB3's, with seams, and the same results sooner."""

from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.off_policy import any_trains
from warmstart.agents.algorithms.ppo_terms import train_with_terms
from warmstart.agents.algorithms.seams import GuideActions, Seams
from warmstart.agents.fast.flat_adam import is_plain_adam
from warmstart.agents.fast.mlp import LossSettings, MlpActor, is_plain_mlp
from warmstart.agents.fast.update import MlpUpdate
from warmstart.core.errors import WarmstartError


class PPO(SeamAgent, stable_baselines3.PPO):
    """SB3's PPO (Schulman et al. 2017, 1707.06347) whose seams a transfer method can use.

    The constructor takes what SB3's takes, and ``seams``.
    """

    def __init__(self, policy: Any, env: Any, *args: Any, seams: Seams | None = None, **kwargs: Any) -> None:
        self._update: MlpUpdate | None = None
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
        assert self._last_obs is not None
        assert self._last_episode_starts is not None
        self.policy.set_training_mode(False)
        n_steps = 0
        rollout_buffer.reset()
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        actor = MlpActor(self.policy, env.num_envs) if is_plain_mlp(self.policy) else None

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
                actions, log_probs = self._guided(guide, obs_tensor, actions, log_probs)

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

    def _guided(
        self, guide: GuideActions, obs_tensor: Any, actions: NDArray[Any], log_probs: torch.Tensor
    ) -> tuple[NDArray[Any], torch.Tensor]:
        """Put the guide's actions in, with their log-probabilities.

        Unless the guide gives others, these are the learner's own of the guide's actions: the surrogate's
        ratio then starts at 1, and its trust region is one around the learner, not around the guide.
        """
        if guide.actions.shape != actions.shape:
            raise WarmstartError(
                f"The guide's actions have the shape {guide.actions.shape}, expected {actions.shape}."
            )
        taken = guide.actions
        if isinstance(self.action_space, spaces.Box):
            taken = np.clip(taken, self.action_space.low, self.action_space.high)
            if self.policy.squash_output:
                taken = self.policy.scale_action(taken)
        actions = actions.copy()
        actions[guide.mask] = taken[guide.mask]
        if guide.log_probs is None:
            with torch.no_grad():
                acted = torch.as_tensor(actions, device=self.device)
                own = self.policy.get_distribution(obs_tensor).log_prob(acted)
        else:
            own = torch.as_tensor(guide.log_probs, device=self.device)
        return actions, torch.where(torch.as_tensor(guide.mask, device=self.device), own, log_probs)

    def train(self) -> None:
        """Update the policy from the rollout."""
        if self.trainability is not None:
            self.trainability.apply(self.policy, self.num_timesteps)
            if not any_trains(self.policy):
                return
        if self.seams.loss_terms:
            train_with_terms(self)
        elif (
            self.clip_range_vf is None and is_plain_mlp(self.policy) and is_plain_adam(self.policy.optimizer)
        ):
            self._train_mlp()
        else:
            super().train()

    def _train_mlp(self) -> None:
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        if self._update is None or not self._update.fits():
            self._update = MlpUpdate(self)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        self._update.run(LossSettings(clip_range, self.ent_coef, self.vf_coef, self.normalize_advantage))

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_update"]
