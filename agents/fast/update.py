"""PPO's update for the policies that ``warmstart.agents.fast.mlp`` computes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from warmstart.agents.fast.compiled import compiled
from warmstart.agents.fast.flat_adam import AdamState, FlatAdam, Run, adam, clip, count, is_plain_adam
from warmstart.agents.fast.loss import LossSettings, Minibatch, gradient
from warmstart.agents.fast.mlp import Layers, MlpActor, first_rows, is_plain_mlp, layers

BUFFERED = ("observations", "actions", "values", "log_probs", "advantages", "returns")


def fast_actor(policy: ActorCriticPolicy, rows: int) -> MlpActor | None:
    """What samples actions in rollouts of so many environments sooner; None for policies it can't compute."""
    return MlpActor(policy, rows) if is_plain_mlp(policy) else None


def fast_update(model: PPO, last: "MlpUpdate | None") -> "MlpUpdate | None":
    """What updates a model sooner; None where autograd has to.

    Args:
        model: The agent.
        last: The same of its last update, whose buffers are used again where they fit.
    """
    if not is_plain_mlp(model.policy) or not is_plain_adam(model.policy.optimizer):
        return None
    return last if last is not None and last.fits() else MlpUpdate(model)


class MlpUpdate:
    """The buffers of an update, kept from one to the next.

    Args:
        model: The agent whose policy is updated; its policy ``is_plain_mlp``, its optimizer
            ``is_plain_adam``.
    """

    def __init__(self, model: PPO) -> None:
        self.model = model
        policy, optimizer = model.policy, model.policy.optimizer
        self.adam = FlatAdam(optimizer, list(policy.parameters()))  # type: ignore[arg-type]
        pairs = zip(self.adam.parameters, self.adam.gradients, strict=True)
        gradients = {id(parameter): where for parameter, where in pairs}
        extractor: Any = policy.mlp_extractor
        self._rows = model.batch_size
        self.actor = layers(extractor.policy_net, policy.action_net, self._rows, gradients)  # type: ignore[arg-type]
        self.critic = layers(extractor.value_net, policy.value_net, self._rows, gradients)
        self.log_std, self.by_log_std = policy.log_std.detach(), gradients[id(policy.log_std)]

    def fits(self) -> bool:
        """Whether the buffers are still those of the model's parameters."""
        policy = self.model.policy
        same = self.adam.holds(policy.optimizer, list(policy.parameters()))
        return same and self._rows == self.model.batch_size

    def run(
        self,
        clip_range: float,
        clip_range_vf: float | None = None,
        again: Callable[[], None] | None = None,
    ) -> dict[str, list[float]]:
        """Pass over the rollout ``n_epochs`` times.

        Args:
            clip_range: How far the probability ratio may leave 1.
            clip_range_vf: How far values may leave the old ones; None for any.
            again: Called before each pass but the first, to change what the rollout holds.

        Returns:
            What SB3 logs the means of: a number for each minibatch, of the KL divergence for those of the
            last pass.
        """
        model = self.model
        pairs = zip(self.adam.gradients, self.adam.parameters, strict=True)
        trainable = [where for where, parameter in pairs if parameter.requires_grad]
        runs, counters = self.adam.runs()
        defaults = model.policy.optimizer.defaults
        beta1, beta2 = defaults["betas"]
        data = flattened(model.rollout_buffer)
        bound = math.inf if clip_range_vf is None else clip_range_vf
        settings = LossSettings(clip_range, bound, model.ent_coef, model.vf_coef, model.normalize_advantage)
        stop_at = math.inf if model.target_kl is None else 1.5 * model.target_kl
        passes: list[torch.Tensor] = []
        done, stop = 0, False
        with torch.no_grad():
            for epoch in range(model.n_epochs):
                if epoch and again is not None:
                    again()
                    data = flattened(model.rollout_buffer)
                order = torch.from_numpy(np.random.permutation(len(data.returns)))  # noqa: NPY002
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
                )
                passes.append(statistics)
                done += steps
                model._n_updates += 1
                if stop:
                    break
        count(runs, counters, done)
        policy_loss, value_loss, entropy_loss, clipped, divergence = torch.cat(passes).double().t().tolist()
        return {
            "policy_gradient_loss": policy_loss,
            "value_loss": value_loss,
            "entropy_loss": entropy_loss,
            "clip_fraction": clipped,
            "approx_kl": divergence[-len(passes[-1]) :],
            "loss": [policy_loss[-1] + model.ent_coef * entropy_loss[-1] + model.vf_coef * value_loss[-1]],
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

    Returns:
        What `gradient` gives for each minibatch, shape (minibatches, 5), the steps done and whether the pass
        was ended.
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
        found = gradient(actor, critic, log_std, by_log_std, batch, settings)
        statistics.append(found)
        if stop_at < math.inf and found[4].item() > stop_at:
            return torch.stack(statistics), steps, True
        clip(state.gradient, trainable, max_grad_norm)
        for run in runs:
            adam(state, run, done + steps, beta1, beta2, eps)
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
