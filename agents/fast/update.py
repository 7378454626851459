"""PPO's update for the policies that ``warmstart.agents.fast.mlp`` computes."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from warmstart.agents.fast.compiled import compiled
from warmstart.agents.fast.flat_adam import AdamState, FlatAdam, Run, adam, clip, count, is_plain_adam
from warmstart.agents.fast.flat_rules import Factored, Product, Pull, flat_mask, flat_pull, products
from warmstart.agents.fast.loss import Aim, LossSettings, Minibatch, gradient
from warmstart.agents.fast.mlp import Layers, MlpActor, first_rows, is_plain_mlp, layers

BUFFERED = ("observations", "actions", "values", "log_probs", "advantages", "returns")


def fast_actor(policy: ActorCriticPolicy, rows: int) -> MlpActor | None:
    """What samples actions in rollouts of so many environments sooner; None for policies it can't compute."""
    return MlpActor(policy, rows) if is_plain_mlp(policy) else None


def fast_update(
    model: PPO, last: "MlpUpdate | None", factors: Mapping[str, Factored] | None = None
) -> "MlpUpdate | None":
    """What updates a model sooner; None where autograd has to.

    Args:
        model: The agent.
        last: The same of its last update, whose buffers are used again where they fit.
        factors: By parameter, what it moves by.
    """
    if not is_plain_mlp(model.policy) or not is_plain_adam(model.policy.optimizer):
        return None
    factors = factors or {}
    return last if last is not None and last.fits(factors) else MlpUpdate(model, factors)


class MlpUpdate:
    """The buffers of an update, kept from one to the next.

    Args:
        model: The agent whose policy is updated; its policy ``is_plain_mlp``, its optimizer
            ``is_plain_adam``.
        factors: By parameter, what it moves by.
    """

    def __init__(self, model: PPO, factors: Mapping[str, Factored]) -> None:
        self.model, self.factors = model, factors
        policy, optimizer = model.policy, model.policy.optimizer
        self.adam = FlatAdam(optimizer, self._parameters(factors))  # type: ignore[arg-type]
        pairs = zip(self.adam.parameters, self.adam.gradients, strict=True)
        gradients = {id(parameter): where for parameter, where in pairs}
        extractor: Any = policy.mlp_extractor
        self._rows = model.batch_size
        self.actor = layers(extractor.policy_net, policy.action_net, self._rows, gradients)  # type: ignore[arg-type]
        self.critic = layers(extractor.value_net, policy.value_net, self._rows, gradients)
        self.log_std, self.by_log_std = policy.log_std.detach(), gradients[id(policy.log_std)]

    def fits(self, factors: Mapping[str, Factored]) -> bool:
        """Whether the buffers are still those of the model's parameters and of what they move by."""
        same = self.adam.holds(self.model.policy.optimizer, self._parameters(factors))
        return same and self._rows == self.model.batch_size

    def _parameters(self, factors: Mapping[str, Factored]) -> list[torch.nn.Parameter]:
        both = (factor for each in factors.values() for factor in (each.up, each.down))
        return [*self.model.policy.parameters(), *both]

    def run(
        self,
        clip_range: float,
        clip_range_vf: float | None = None,
        again: Callable[[], None] | None = None,
        aims: Mapping[str, Aim] | None = None,
        pulls: Mapping[str, Mapping[torch.nn.Parameter, tuple[torch.Tensor, torch.Tensor]]] | None = None,
        masks: Mapping[str, torch.Tensor] | None = None,
        keep: torch.Tensor | None = None,
    ) -> dict[str, list[float]]:
        """Pass over the rollout ``n_epochs`` times.

        Args:
            clip_range: How far the probability ratio may leave 1.
            clip_range_vf: How far values may leave the old ones; None for any.
            again: Called before each pass but the first, to change what the rollout holds.
            aims: By name, what the policy is pulled to in each row of the flattened rollout.
            pulls: By name, the anchor of each parameter and the weights of its squared distance.
            masks: By parameter, 0 where an entry doesn't move.
            keep: Which rows of the flattened rollout take part; all by default. Shape: (rows,).

        Returns:
            What SB3 logs the means of: a number for each minibatch, of the KL divergence for those of the
            last pass.
        """
        model = self.model
        defaults = model.policy.optimizer.defaults
        beta1, beta2 = defaults["betas"]
        data = flattened(model.rollout_buffer)
        bound = math.inf if clip_range_vf is None else clip_range_vf
        settings = LossSettings(clip_range, bound, model.ent_coef, model.vf_coef, model.normalize_advantage)
        stop_at = math.inf if model.target_kl is None else 1.5 * model.target_kl
        aims, flat = aims or {}, {name: flat_pull(self.adam, pull) for name, pull in (pulls or {}).items()}
        named = dict(model.policy.named_parameters())
        held = [flat_mask(self.adam, {named[name]: mask for name, mask in masks.items()})] if masks else []
        factored = {named[name]: each for name, each in self.factors.items()}
        moves = [p.requires_grad and p not in factored for p in self.adam.parameters]
        trainable = [where for where, moved in zip(self.adam.gradients, moves, strict=True) if moved]
        runs, counters = self.adam.runs(moves)
        summed = products(self.adam, factored)
        passes: list[torch.Tensor] = []
        done, stop = 0, False
        with torch.no_grad():
            for epoch in range(model.n_epochs):
                if epoch and again is not None:
                    again()
                    data = flattened(model.rollout_buffer)
                order = torch.from_numpy(np.random.permutation(len(data.returns)))  # noqa: NPY002
                order = order if keep is None else order[keep[order]]
                statistics, steps, stop = one_pass(
                    data,
                    order,
                    self._rows,
                    self.actor,
                    self.critic,
                    self.log_std,
                    self.by_log_std,
                    settings,
                    self.adam.state,
                    runs,
                    done,
                    trainable,
                    model.max_grad_norm,
                    beta1,
                    beta2,
                    defaults["eps"],
                    stop_at,
                    list(aims.values()),
                    list(flat.values()),
                    held,
                    summed,
                )
                passes.append(statistics)
                done += steps
                model._n_updates += 1
                if stop:
                    break
        count(runs, counters, done)
        found = torch.cat(passes).double().t().tolist()
        policy_loss, value_loss, entropy_loss, clipped, divergence = found[:5]
        total = policy_loss[-1] + model.ent_coef * entropy_loss[-1] + model.vf_coef * value_loss[-1]
        return dict(zip((*aims, *flat), found[5:], strict=True)) | {
            "policy_gradient_loss": policy_loss,
            "value_loss": value_loss,
            "entropy_loss": entropy_loss,
            "clip_fraction": clipped,
            "approx_kl": divergence[-len(passes[-1]) :],
            "loss": [total + sum(values[-1] for values in found[5:])],
        }


@compiled
def one_pass(
    data: Minibatch,
    order: torch.Tensor,
    batch_size: int,
    actor: Layers,
    critic: Layers,
    log_std: torch.Tensor,
    by_log_std: torch.Tensor,
    settings: LossSettings,
    state: AdamState,
    runs: list[Run],
    done: int,
    trainable: list[torch.Tensor],
    max_grad_norm: float,
    beta1: float,
    beta2: float,
    eps: float,
    stop_at: float,
    aims: list[Aim],
    pulls: list[Pull],
    masks: list[torch.Tensor],
    products: list[Product],
) -> tuple[torch.Tensor, int, bool]:
    """Pass over a rollout once, a gradient step for each minibatch.

    Args:
        data: The rollout.
        order: Its rows, in the order in which minibatches take them. Shape: (rows,).
        batch_size: Rows of a minibatch; the last may have fewer.
        actor: The actor, with buffers for a minibatch and places for gradients.
        critic: The same of the critic.
        log_std: Logarithm of the actions' standard deviation. Shape: (actions,).
        by_log_std: Where the gradient by it goes. Shape: (actions,).
        settings: The loss's weights and bounds.
        state: Adam's tensors.
        runs: What is trained, with its learning rates.
        done: Steps done since the runs were made.
        trainable: Gradients that count in the norm.
        max_grad_norm: The largest norm.
        beta1: Adam's.
        beta2: Adam's.
        eps: Adam's.
        stop_at: KL divergence from which on the pass ends before its gradient is used.
        aims: What the policy is pulled to in each row of the rollout.
        pulls: Penalties on the parameters.
        masks: What the gradient is multiplied with, if anything. Shape: (size,).
        products: Weights that move by factors.

    Returns:
        What `gradient` gives for each minibatch, and the penalties, shape (minibatches, 5 + …), the steps
        done and whether the pass was ended.
    """
    statistics: list[torch.Tensor] = []
    steps, rows = 0, order.size(0)
    for start in range(0, rows, batch_size):
        indices = order[start : start + batch_size]
        n = indices.size(0)
        if n < batch_size:
            actor, critic = first_rows(actor, n), first_rows(critic, n)
        batch = Minibatch(
            data.observations.index_select(0, indices),
            data.actions.index_select(0, indices),
            data.log_probs.index_select(0, indices),
            data.advantages.index_select(0, indices),
            data.returns.index_select(0, indices),
            data.values.index_select(0, indices),
        )
        drawn = [
            Aim(
                aim.mean.index_select(0, indices),
                aim.log_std.index_select(0, indices),
                aim.weight.index_select(0, indices),
            )
            for aim in aims
        ]
        found = gradient(actor, critic, log_std, by_log_std, batch, settings, drawn)
        for pull in pulls:
            away = state.parameters - pull.anchor
            by_parameters = pull.weight * away
            state.gradient.add_(by_parameters)
            found = torch.cat((found, (by_parameters * away).sum().div_(2).view(1)))
        for mask in masks:
            state.gradient.mul_(mask)
        for product in products:
            torch.mm(product.by_weight, product.down.t(), out=product.by_up).mul_(product.scale)
            torch.mm(product.up.t(), product.by_weight, out=product.by_down).mul_(product.scale)
        statistics.append(found)
        if stop_at < math.inf and found[4].item() > stop_at:
            return torch.stack(statistics), steps, True
        clip(state.gradient, trainable, max_grad_norm)
        for run in runs:
            adam(state, run, done + steps, beta1, beta2, eps)
        for product in products:
            torch.addmm(product.base, product.up, product.down, alpha=product.scale, out=product.weight)
        steps += 1
    return torch.stack(statistics), steps, False


def flattened(buffer: RolloutBuffer) -> Minibatch:
    """A full rollout as float32 tensors. The buffer is flattened in place, as SB3's ``get`` does."""
    if not buffer.generator_ready:
        for name in BUFFERED:
            setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))
        buffer.generator_ready = True
    vectors = (buffer.log_probs, buffer.advantages, buffer.returns, buffer.values)
    return Minibatch(
        torch.from_numpy(buffer.observations).float(),
        torch.from_numpy(buffer.actions).float(),
        *(torch.from_numpy(values).flatten() for values in vectors),
    )
