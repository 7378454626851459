"""PPO's update for the policies that ``warmstart.agents.fast.mlp`` computes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from warmstart.agents.fast.flat_adam import FlatAdam, is_plain_adam
from warmstart.agents.fast.mlp import Minibatch, MlpActor, MlpLoss, is_plain_mlp


def fast_actor(policy: ActorCriticPolicy, rows: int) -> MlpActor | None:
    """What samples actions in rollouts of so many environments sooner; None for policies it can't compute."""
    return MlpActor(policy, rows) if is_plain_mlp(policy) else None


def fast_update(model: PPO, last: "MlpUpdate | None") -> "MlpUpdate | None":
    """What updates a model sooner; None where autograd has to.

    Args:
        model: The agent.
        last: The same of its last update, whose buffers are used again where they fit.
    """
    if model.clip_range_vf is not None or not is_plain_mlp(model.policy):
        return None
    if not is_plain_adam(model.policy.optimizer):
        return None
    return last if last is not None and last.fits() else MlpUpdate(model)


BUFFERED = ("observations", "actions", "values", "log_probs", "advantages", "returns")


class MlpUpdate:
    """The buffers of an update, kept from one to the next.

    Args:
        model: The agent whose policy is updated; its policy ``is_plain_mlp``, its optimizer
            ``is_plain_adam``.
    """

    def __init__(self, model: PPO) -> None:
        self.model = model
        optimizer: Any = model.policy.optimizer
        self.adam = FlatAdam(optimizer, list(model.policy.parameters()))
        self._losses: dict[int, MlpLoss] = {}

    def fits(self) -> bool:
        """Whether the buffers are still those of the model's parameters."""
        policy = self.model.policy
        return self.adam.holds(policy.optimizer, list(policy.parameters()))

    def run(self, clip_range: float) -> dict[str, list[float]]:
        """Pass over the rollout ``n_epochs`` times.

        Args:
            clip_range: How far the probability ratio may leave 1.

        Returns:
            What SB3 logs the means of: a number for each minibatch, of the KL divergence for those of the
            last pass.
        """
        model, adam = self.model, self.adam
        trainable = [g for g, p in zip(adam.gradients, adam.parameters, strict=True) if p.requires_grad]
        runs = adam.segments()
        data = flattened(model.rollout_buffer)
        statistics: list[torch.Tensor] = []
        done, last_epoch, stop = 0, 0, False
        for _ in range(model.n_epochs):
            last_epoch = len(statistics)
            for batch in minibatches(data, model.batch_size):
                values = self._loss(len(batch.returns)).gradient(batch, clip_range, adam.gradients)
                statistics.append(values)
                if model.target_kl is not None and values[4].item() > 1.5 * model.target_kl:
                    stop = True
                    break
                adam.clip(model.max_grad_norm, trainable)
                for run in runs:
                    adam.step(run, done)
                done += 1
            model._n_updates += 1
            if stop:
                break
        adam.count(runs, done)
        policy_loss, value_loss, entropy_loss, clipped, divergence = (
            torch.stack(statistics).double().t().tolist()
        )
        return {
            "policy_gradient_loss": policy_loss,
            "value_loss": value_loss,
            "entropy_loss": entropy_loss,
            "clip_fraction": clipped,
            "approx_kl": divergence[last_epoch:],
            "loss": [policy_loss[-1] + model.ent_coef * entropy_loss[-1] + model.vf_coef * value_loss[-1]],
        }

    def _loss(self, rows: int) -> MlpLoss:
        loss = self._losses.get(rows)
        if loss is None:
            loss = self._losses[rows] = MlpLoss(self.model, rows)
        return loss


def flattened(buffer: RolloutBuffer) -> tuple[torch.Tensor, ...]:
    """A full rollout as float32 tensors: observations, actions, log-probabilities, advantages, returns.

    The buffer is flattened in place, as SB3's ``get`` does.

    Returns:
        Shapes: (rows, inputs), (rows, actions) and three times (rows,), rows being steps * environments.
    """
    if not buffer.generator_ready:
        for name in BUFFERED:
            setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))
        buffer.generator_ready = True
    vectors = (buffer.log_probs, buffer.advantages, buffer.returns)
    return (
        torch.from_numpy(buffer.observations).float(),
        torch.from_numpy(buffer.actions).float(),
        *(torch.from_numpy(values).flatten() for values in vectors),
    )


def minibatches(data: tuple[torch.Tensor, ...], batch_size: int) -> Iterator[Minibatch]:
    """One pass over a rollout in random order, drawn from NumPy's global generator as SB3 does.

    Args:
        data: What `flattened` gives. Shapes: (rows, …).
        batch_size: Rows of a minibatch; the last may have fewer.
    """
    order = torch.from_numpy(np.random.permutation(len(data[0])))  # noqa: NPY002
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        yield Minibatch(*(values.index_select(0, indices) for values in data))
