"""What PPO, SAC and TD3 have in common here: the seams, put onto SB3's algorithms without changing them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.algorithms.seams import EpisodeBatch, GuideActions, LossBatch, Observations, Seams
from warmstart.agents.algorithms.trainability import Trainability, named_entries, regroup, set_group_rates


class SeamAgent(BaseAlgorithm):
    """Mixin before an SB3 algorithm; with empty seams every result equals SB3's bit for bit."""

    seams: Seams
    trainability: Trainability | None

    def __init__(self, policy: Any, env: Any, *args: Any, seams: Seams | None = None, **kwargs: Any) -> None:
        self.seams = seams if seams is not None else Seams()
        self.trainability = self.seams.trainability
        self._finished: list[tuple[float, int, int]] = []
        self._episode_steps: NDArray[np.int64] | None = None
        # SB3 writes into the dictionary it is given.
        kwargs["policy_kwargs"] = {**(kwargs.get("policy_kwargs") or {}), **self.seams.policy_kwargs}
        super().__init__(policy, env, *args, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()  # type: ignore[safe-super]
        if self.seams.initialise is not None:
            self.seams.initialise(self)
        if self.trainability is not None:
            self.set_trainability(self.trainability)

    def set_trainability(self, trainability: Trainability | None) -> None:
        """Decide anew which parameters train; Adam's moments stay.

        Args:
            trainability: The rules; ``None`` lets every parameter train at the agent's learning rate.

        Raises:
            WarmstartError: If a rule matches no parameter.
        """
        if trainability is not None:
            trainability.check(self.policy)
        self.trainability = trainability
        regroup(self, trainability)
        if trainability is not None:
            trainability.apply(self.policy, self.num_timesteps)
        else:
            for entry in named_entries(self.policy):
                entry.parameter.requires_grad_(True)

    def _update_learning_rate(self, optimizers: list[torch.optim.Optimizer] | torch.optim.Optimizer) -> None:
        super()._update_learning_rate(optimizers)
        if self.trainability is None:
            return
        self.trainability.apply(self.policy, self.num_timesteps)
        rate = float(self.lr_schedule(self._current_progress_remaining))
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            set_group_rates(optimizer, rate, self.trainability, self.num_timesteps)

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: NDArray[Any] | None = None) -> None:
        super()._update_info_buffer(infos, dones)
        if self._episode_steps is not None:
            self._episode_steps += 1
            if dones is not None:
                self._episode_steps[dones] = 0
        if self.seams.feedback and dones is not None and dones.any():
            for index in np.flatnonzero(dones):
                episode = infos[index].get("episode")
                if episode is not None:
                    self._finished.append((float(episode["r"]), int(episode["l"]), int(index)))

    def _tell_episodes(self) -> None:
        """Hand the episodes of the last rollout to the feedback seam."""
        if not self._finished:
            return
        returns, lengths, env_ids = zip(*self._finished, strict=True)
        self._finished.clear()
        batch = EpisodeBatch(
            np.asarray(returns, np.float64),
            np.asarray(lengths, np.int64),
            np.asarray(env_ids, np.int64),
            self.num_timesteps,
        )
        for listener in self.seams.feedback:
            listener.on_episodes(batch)

    def _guide_actions(self) -> GuideActions | None:
        """What the experience seam wants done in place of the agent's own actions."""
        if self.seams.experience is None:
            return None
        if self._episode_steps is None or len(self._episode_steps) != self.n_envs:
            self._episode_steps = np.zeros(self.n_envs, np.int64)
        observations: Observations
        if self._vec_normalize_env is not None:
            observations = self._vec_normalize_env.get_original_obs()
        else:
            assert self._last_obs is not None
            observations = self._last_obs
        return self.seams.experience.guide(observations, self._episode_steps, self.num_timesteps)

    def _added_losses(
        self, part: str | None, observations: Any, actions: torch.Tensor, sums: dict[str, list[float]]
    ) -> torch.Tensor | None:
        """Sum of the loss terms of one part (``None``: of all), noted by name for the log."""
        terms = [term for term in self.seams.loss_terms if part is None or term.part == part]
        if not terms:
            return None
        batch = LossBatch(observations, actions, self.num_timesteps)
        losses = [term.loss(self, batch) for term in terms]
        for term, loss in zip(terms, losses, strict=True):
            sums.setdefault(term.name, []).append(loss.item())
        return torch.stack(losses).sum()

    def _log_terms(self, sums: Mapping[str, list[float]]) -> None:
        for name, values in sums.items():
            self.logger.record(f"train/{name}", float(np.mean(values)))

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "seams", "_finished", "_episode_steps"]
