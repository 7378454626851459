"""PPO's update with added loss terms, by autograd, for any policy."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.utils import explained_variance
from torch.nn import functional

if TYPE_CHECKING:
    from warmstart.agents.algorithms.ppo import PPO


def train_with_terms(model: "PPO") -> None:
    """SB3's ``PPO.train`` with the terms of the loss seam added to the loss."""
    policy: Any = model.policy
    policy.set_training_mode(True)
    model._update_learning_rate(policy.optimizer)
    clip_range = model.clip_range(model._current_progress_remaining)  # type: ignore[operator]
    clip_range_vf = None
    if model.clip_range_vf is not None:
        clip_range_vf = model.clip_range_vf(model._current_progress_remaining)  # type: ignore[operator]
    means: dict[str, list[float]] = {}
    terms: dict[str, list[float]] = {}
    for _ in range(model.n_epochs):
        stop = False
        means["approx_kl"] = []
        for data in model.rollout_buffer.get(model.batch_size):
            actions = data.actions
            if isinstance(model.action_space, spaces.Discrete):
                actions = actions.long().flatten()
            loss, divergence = surrogate(model, data, actions, clip_range, clip_range_vf, means)
            added = model._added_losses(None, data.observations, data.actions, terms)
            loss = loss if added is None else loss + added
            means["loss"] = [loss.item()]
            if model.target_kl is not None and divergence > 1.5 * model.target_kl:
                stop = True
                break
            policy.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(policy.parameters(), model.max_grad_norm)
            policy.optimizer.step()
        model._n_updates += 1
        if stop:
            break
    buffer = model.rollout_buffer
    for name, values in means.items():
        model.logger.record(f"train/{name}", float(np.mean(values)))
    explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
    model.logger.record("train/explained_variance", explained)
    model.logger.record("train/n_updates", model._n_updates, exclude="tensorboard")
    model.logger.record("train/clip_range", clip_range)
    model._log_terms(terms)


def surrogate(
    model: "PPO",
    data: Any,
    actions: torch.Tensor,
    clip_range: float,
    clip_range_vf: float | None,
    means: dict[str, list[float]],
) -> tuple[torch.Tensor, float]:
    """PPO's own loss of a minibatch (1707.06347, equation 9), and its approximate KL divergence."""
    values, log_prob, entropy = model.policy.evaluate_actions(data.observations, actions)
    values = values.flatten()
    advantages = data.advantages
    if model.normalize_advantage and len(advantages) > 1:
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
        means.setdefault(name, []).append(value)
    return policy_loss + model.ent_coef * entropy_loss + model.vf_coef * value_loss, divergence
