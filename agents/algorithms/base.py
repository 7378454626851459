"""What PPO, SAC and TD3 have in common here: the seams, put onto SB3's algorithms without changing them."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from warmstart.agents.algorithms.seams import EpisodeBatch, GuideActions, LossBatch, Seams
from warmstart.agents.algorithms.trainability import Trainability, named_entries, regroup, set_group_rates
from warmstart.core.errors import WarmstartError

_FINITE = ("loss", "approx_kl")
"""How the names of logged values end that are finite as long as all is well."""
Log = dict[str, list[float]]
"""What an update measured in each minibatch, by name; the means are logged."""


Part = TypeVar("Part")


class SeamAgent(BaseAlgorithm):
    """Mixin before an SB3 algorithm; with empty seams every result equals SB3's bit for bit."""

    seams: Seams
    trainability: Trainability | None
    looks_at_parameters = True
    """Whether parameters are seen to be finite after each update, as its losses always are."""
    before_rollout: Callable[[], None] | None = None
    """Called between two rollouts, where nothing is half done."""
    unseen: Any = None
    """What of its observations it never reads, `checkpoints.unseen.Unseen`; None for nothing."""

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

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """Learn as SB3 does; where numbers aren't finite, the last update's too, say whose they are."""
        try:
            learnt = super().learn(*args, **kwargs)  # type: ignore[safe-super]
        except ValueError:
            self._check_finite(parameters=True)
            raise
        self._check_finite(parameters=True)
        return learnt

    def _begin_rollout(self) -> None:
        self._check_finite(self.looks_at_parameters)
        if self.before_rollout is not None:
            self.before_rollout()

    def _check_finite(self, parameters: bool) -> None:
        """See that the last update gave finite losses, and parameters if they are looked at.

        Raises:
            WarmstartError: It didn't; names the loss, the first tensor and the step.
        """
        logged = getattr(self, "_logger", None)
        values = {} if logged is None else logged.name_to_value
        losses = (name for name in values if name.startswith("train/") and name.endswith(_FINITE))
        loss = next((name for name in losses if not math.isfinite(values[name])), None)
        looked_at = self.policy.parameters() if parameters else ()
        if loss is None and all(bool(torch.isfinite(each.sum())) for each in looked_at):
            return
        parts = self.policy.named_parameters()
        named = [(f"{name}.grad", each.grad) for name, each in self.policy.named_parameters()]
        found = next(
            (name for name, each in (*parts, *named) if each is not None and not torch.isfinite(each).all()),
            None,
        )
        said = [f"{loss} is {values[loss]}"] if loss is not None else []
        said += [f"{found} holds numbers that aren't finite"] if found is not None else []
        raise WarmstartError(
            f"The update at step {self.num_timesteps:,} failed: {', '.join(said)}. Training was stopped; "
            "what was kept before is whole. A smaller learning rate, or smaller rewards and observations, "
            "may help."
        )

    def _hold(self) -> None:
        """Take the gradients of single entries that don't move, and give factors theirs."""
        if self.trainability is not None:
            self.trainability.hold(self.policy)

    def _moving(self) -> list[torch.nn.Parameter]:
        """The policy's parameters, and the factors that some of them move by."""
        factors = [] if self.trainability is None else self.trainability.factor_parameters
        return [*self.policy.parameters(), *factors]

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
        numbers = np.array(returns, np.float64), np.array(lengths, np.int64), np.array(env_ids, np.int64)
        batch = EpisodeBatch(*numbers, self.num_timesteps)
        for listener in self.seams.feedback:
            listener.on_episodes(batch)

    def _guide_actions(self) -> GuideActions | None:
        """What the experience seam wants done in place of the agent's own actions."""
        if self.seams.experience is None:
            return None
        if self._episode_steps is None or len(self._episode_steps) != self.n_envs:
            self._episode_steps = np.zeros(self.n_envs, np.int64)
        normalizer = self._vec_normalize_env
        observations: Any = self._last_obs if normalizer is None else normalizer.get_original_obs()
        return self.seams.experience.guide(observations, self._episode_steps, self.num_timesteps)

    def _guided(self, guide: GuideActions, actions: NDArray[Any]) -> NDArray[Any]:
        """The guide's actions where it acts, within the range, and the agent's elsewhere.

        Args:
            guide: What acts where.
            actions: The agent's. Shape: (n_envs, actions), or (n_envs,) for Discrete.
        """
        if guide.actions.shape != actions.shape:
            raise WarmstartError(
                f"The guide's actions have the shape {guide.actions.shape}, expected {actions.shape}."
            )
        actions, taken, space = actions.copy(), guide.actions, self.action_space
        if isinstance(space, spaces.Box):
            taken = np.clip(taken, space.low, space.high)
        actions[guide.mask] = taken[guide.mask]
        return actions

    def _with_terms(self, loss: torch.Tensor, part: str | None, data: Any, log: Log) -> torch.Tensor:
        """A minibatch's loss plus the loss terms of one part (``None``: of all)."""
        terms = [term for term in self.seams.loss_terms if part is None or term.part == part]
        if not terms:
            return loss
        batch = LossBatch(data.observations, data.actions, self.num_timesteps)
        added = [term.loss(self, batch) for term in terms]
        for term, value in zip(terms, added, strict=True):
            log.setdefault(term.name, []).append(value.item())
        return loss + torch.stack(added).sum()

    def _log_means(self, log: Log) -> None:
        for name, values in log.items():
            self.logger.record(f"train/{name}", float(np.mean(values)))

    def _excluded_save_params(self) -> list[str]:
        return [
            *super()._excluded_save_params(),
            "seams",
            "_finished",
            "_episode_steps",
            "unseen",
            "before_rollout",
        ]


def parts(model: BaseAlgorithm, kind: type[Part]) -> list[Part]:
    """The parts of a kind among an agent's seams, each once; none of a plain SB3 model."""
    if not isinstance(model, SeamAgent):
        return []
    seams = model.seams
    every = {id(part): part for part in (*seams.loss_terms, seams.experience, *seams.feedback)}
    return [part for part in every.values() if isinstance(part, kind)]


def part(model: BaseAlgorithm, kind: type[Part]) -> Part:
    """The only part of a kind among an agent's seams.

    Raises:
        WarmstartError: There is none: it is a plain SB3 model, or was built for another method.
    """
    found = parts(model, kind)
    if len(found) != 1:
        raise WarmstartError(
            f"{type(model).__name__} has no {kind.__name__} among its seams: warmstart's own, which takes "
            "the same arguments, gets it from warm_start."
        )
    return found[0]
