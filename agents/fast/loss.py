"""PPO's loss for Gaussian actions and its gradient, written out."""

import math
from typing import NamedTuple

import torch
from torch.nn import functional

from warmstart.agents.fast.compiled import compiled
from warmstart.agents.fast.mlp import Layers, backward, forward


class LossSettings(NamedTuple):
    """What PPO's loss is weighed and bounded with, in SB3's names."""

    clip_range: float
    clip_range_vf: float
    """Infinity clips nothing."""
    ent_coef: float
    vf_coef: float
    normalize_advantage: bool


class Minibatch(NamedTuple):
    """Part of a rollout."""

    observations: torch.Tensor
    """Shape: (rows, inputs)."""
    actions: torch.Tensor
    """Shape: (rows, actions)."""
    log_probs: torch.Tensor
    """Of the policy that acted. Shape: (rows,)."""
    advantages: torch.Tensor
    """Shape: (rows,)."""
    returns: torch.Tensor
    """Shape: (rows,)."""
    values: torch.Tensor
    """Of the critic when it acted. Shape: (rows,)."""


class Aim(NamedTuple):
    """A Gaussian for each row that the policy's is pulled to. Shape of each: (rows, actions)."""

    mean: torch.Tensor
    log_std: torch.Tensor
    weight: torch.Tensor
    """Of the divergence; the term's coefficient is in it."""


@compiled
def gradient(
    actor: Layers,
    critic: Layers,
    log_std: torch.Tensor,
    by_log_std: torch.Tensor,
    batch: Minibatch,
    settings: LossSettings,
    aims: list[Aim],
) -> torch.Tensor:
    """Gradient of PPO's loss (1707.06347, equation 9) by every parameter.

    Where autograd's order of operations is left, it is by a factor that is a power of two, by a sign, or
    by terms of which all but one are zero: none of these rounds.

    Args:
        actor: The actor, with buffers of the minibatch's rows.
        critic: The same of the critic.
        log_std: Logarithm of the actions' standard deviation. Shape: (actions,).
        by_log_std: Where the gradient by it goes. Shape: (actions,).
        batch: The minibatch.
        settings: Weights and bounds.
        aims: What the policy is pulled to besides: the mean of ``weight · KL(aim ‖ policy)`` over the rows.

    Returns:
        Policy loss, value loss, entropy loss, fraction clipped and approximate KL divergence, then the
        divergence from each aim. Shape: (5 + aims,).
    """
    n = batch.returns.size(0)
    values = forward(critic, batch.observations).view(-1)
    factor = torch.tensor(settings.vf_coef)
    if settings.clip_range_vf < math.inf:
        change = values - batch.values
        bound = settings.clip_range_vf
        values = batch.values + torch.clamp(change, -bound, bound)
        by_value = torch.ops.aten.mse_loss_backward(factor, values, batch.returns, 1)
        by_value = torch.where(change.abs() <= bound, by_value, torch.zeros_like(by_value))
    else:
        by_value = torch.ops.aten.mse_loss_backward(factor, values, batch.returns, 1)
    value_loss = functional.mse_loss(batch.returns, values)
    backward(critic, batch.observations, by_value.unsqueeze(1))

    mean = forward(actor, batch.observations)
    ones = torch.ones_like(mean)
    row = log_std.exp()
    std = ones * row
    log_scale = std.log()
    var = std * std
    difference = batch.actions - mean
    quotient = difference * difference
    quotient.div_(var)
    half_log_2pi = math.log(math.sqrt(2 * math.pi))
    log_prob = torch.add(log_scale, quotient, alpha=0.5).add_(half_log_2pi).sum(dim=1).neg_()
    entropy_loss = -torch.mean((0.5 + 0.5 * math.log(2 * math.pi) + log_scale).sum(dim=1))
    advantages = batch.advantages
    if settings.normalize_advantage and n > 1:
        advantages = (advantages - advantages.mean()).div_(advantages.std() + 1e-8)
    log_ratio = log_prob.sub_(batch.log_probs)
    ratio = torch.exp(log_ratio)
    bounded = torch.clamp(ratio, 1 - settings.clip_range, 1 + settings.clip_range)
    loss_1, loss_2 = advantages * ratio, advantages * bounded
    policy_loss = -torch.min(loss_1, loss_2).mean()
    excess = ratio - 1
    divergence = (excess - log_ratio).mean()
    clipped = torch.mean((excess.abs_() > settings.clip_range).float())

    seed = torch.tensor(-1.0) / n
    whole = (loss_1 < loss_2).logical_or_(bounded == ratio)
    share = torch.where(whole, seed, torch.where(loss_1 == loss_2, seed / 2, torch.zeros_like(seed)))
    by_log_prob = share.mul_(advantages).mul_(ratio).unsqueeze(1) * ones
    by_mean = (by_log_prob / var).mul_(difference)
    by_std = quotient.div_(var).mul_(by_log_prob).mul_(std)
    rest = by_log_prob.div_(std)
    if settings.ent_coef != 0:
        rest = rest - (torch.full((n, 1), -settings.ent_coef) / n).expand_as(std) / std
    by_std.sub_(rest)
    by_log_std.copy_(by_std.sum(0, keepdim=True).view(-1) * row)
    found = [policy_loss, value_loss, entropy_loss, clipped, divergence]
    for aim in aims:
        gap = mean - aim.mean
        spread = (torch.exp(2 * aim.log_std) + gap * gap) / var
        by_mean.add_(aim.weight * gap / var / n)
        by_log_std.add_((aim.weight * (1 - spread)).sum(0) / n)
        found.append((aim.weight * (log_scale - aim.log_std + 0.5 * (spread - 1))).sum(1).mean())
    backward(actor, batch.observations, by_mean)
    return torch.stack(found)
