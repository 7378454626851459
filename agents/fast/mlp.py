"""An MLP actor and critic with Gaussian actions, the usual policy, without autograd's overhead.

Forward and backward pass are written out with the operations that torch's autograd performs, in its order
and on tensors of the same shapes, but into buffers that are kept. So the results equal SB3's bit for bit,
at a third of the time; tests hold that.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

aten: Any = torch.ops.aten
HALF_LOG_2PI = math.log(math.sqrt(2 * math.pi))
ENTROPY_CONSTANT = 0.5 + 0.5 * math.log(2 * math.pi)


def is_plain_mlp(policy: nn.Module) -> bool:
    """Whether a policy is one that this module can compute: SB3's MLP with Gaussian actions, on the CPU."""
    if type(policy) is not ActorCriticPolicy or not isinstance(policy.observation_space, spaces.Box):
        return False
    if len(policy.observation_space.shape) != 1 or len(policy.action_space.shape or ()) != 1:
        return False
    if type(policy.features_extractor) is not FlattenExtractor:
        return False
    if type(policy.action_dist) is not DiagGaussianDistribution or policy.action_dist.action_dim < 2:
        return False
    networks = (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net)
    if any(len(network) == 0 or layers_of(network) is None for network in networks):
        return False
    hooked = any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in policy.modules())
    return not hooked and all(
        p.dtype == torch.float32 and p.device.type == "cpu" for p in policy.parameters()
    )


def layers_of(network: nn.Sequential) -> tuple[list[nn.Linear], type[nn.Module]] | None:
    """The linear layers of a network and the nonlinearity after each; ``None`` if it is of another form."""
    modules = list(network)
    linear, activations = modules[0::2], modules[1::2]
    kinds = {type(activation) for activation in activations}
    dense = [layer for layer in linear if type(layer) is nn.Linear]
    regular = len(dense) == len(linear) == len(activations)
    if not regular or len(kinds) != 1 or not kinds <= {nn.Tanh, nn.ReLU}:
        return None
    if any(layer.bias is None or min(layer.weight.shape) < 2 for layer in dense):
        return None
    return dense, kinds.pop()


class Branch:
    """Actor or critic: hidden layers, and an output layer without nonlinearity.

    It holds on to the parameters' memory: make another when a parameter's ``data`` is replaced.

    Args:
        hidden: SB3's ``policy_net`` or ``value_net``.
        head: SB3's ``action_net`` or ``value_net``.
        rows: Size of a batch.
        beside: A branch that is done with its buffers when this one starts; sharing keeps them in the cache.
    """

    hidden: list[torch.Tensor]
    """What each hidden layer gives. Shapes: (rows, width)."""
    back: list[torch.Tensor]
    """Gradients by these. Shapes: (rows, width)."""

    def __init__(
        self, hidden: nn.Sequential, head: nn.Linear, rows: int, beside: "Branch | None" = None
    ) -> None:
        known = layers_of(hidden)
        assert known is not None
        linear, activation = known
        self.tanh = activation is nn.Tanh
        layers = [*linear, head]
        self.weights = [layer.weight.detach() for layer in layers]
        self.transposed = [weight.t() for weight in self.weights]
        self.biases = [layer.bias.detach() for layer in layers]
        self.outputs = head.out_features
        widths = [layer.out_features for layer in layers]
        self.out = torch.empty(rows, widths[-1])
        if beside is not None and [x.shape[1] for x in beside.hidden] == widths[:-1]:
            self.hidden, self.back = beside.hidden, beside.back
        else:
            self.hidden = [torch.empty(rows, width) for width in widths[:-1]]
            self.back = [torch.empty(rows, width) for width in widths[:-1]]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs for a batch. Shape: (rows, inputs) to (rows, outputs)."""
        x = inputs
        for bias, weight, hidden in zip(self.biases, self.transposed, self.hidden, strict=False):
            torch.addmm(bias, x, weight, out=hidden)
            x = torch.tanh(hidden, out=hidden) if self.tanh else torch.clamp_min(hidden, 0, out=hidden)
        return torch.addmm(self.biases[-1], x, self.transposed[-1], out=self.out)

    def backward(
        self, inputs: torch.Tensor, gradient: torch.Tensor, out: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        """Gradients of the weights and biases.

        Args:
            inputs: What ``forward`` was given. Shape: (rows, inputs).
            gradient: Of the loss by the outputs. Shape: (rows, outputs).
            out: Where the gradient of each layer's weight, shape (width, inputs), and bias, shape (width,),
                goes.
        """
        for index in range(len(self.weights) - 1, -1, -1):
            x = self.hidden[index - 1] if index else inputs
            weight, bias = out[index]
            torch.sum(gradient, 0, out=bias)
            torch.mm(gradient.t(), x, out=weight)
            if index == 0:
                return
            back = torch.mm(gradient, self.weights[index], out=self.back[index - 1])
            if self.tanh:
                gradient = aten.tanh_backward.grad_input(back, x, grad_input=back)
            else:
                gradient = aten.threshold_backward.grad_input(back, x, 0, grad_input=back)


class MlpActor:
    """What a rollout asks of the policy: sampled actions, values and log-probabilities.

    Args:
        policy: A policy that ``is_plain_mlp``.
        rows: Number of environments.
    """

    def __init__(self, policy: ActorCriticPolicy, rows: int) -> None:
        self.policy = policy
        self.rows = rows
        self.actor = Branch(policy.mlp_extractor.policy_net, policy.action_net, rows)  # type: ignore[arg-type]
        self.critic = Branch(policy.mlp_extractor.value_net, policy.value_net, rows, self.actor)
        self._set_noise()

    @torch.no_grad()
    def act(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sample actions as ``ActorCriticPolicy.forward`` does, from torch's global generator.

        Args:
            observations: Of any floating type. Shape: (rows, inputs).

        Returns:
            Actions (rows, actions), values (rows, 1) and log-probabilities (rows,).
        """
        if self.policy.log_std._version != self._version:
            self._set_noise()
        x = observations.float()
        values = self.critic.forward(x).clone()
        mean = self.actor.forward(x)
        actions = torch.empty_like(mean).normal_().mul_(self.std).add_(mean)
        quotient = actions - mean
        quotient.mul_(quotient).div_(self.var)
        log_probs = torch.add(self.log_scale, quotient, alpha=0.5).add_(HALF_LOG_2PI).sum(dim=1).neg_()
        return actions, values, log_probs

    def _set_noise(self) -> None:
        log_std = self.policy.log_std
        self._version = log_std._version
        self.std = torch.ones(self.rows, self.actor.outputs) * log_std.detach().exp()
        self.var, self.log_scale = self.std * self.std, self.std.log()


@dataclass(frozen=True)
class Minibatch:
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


class MlpLoss:
    """PPO's loss and its gradient for minibatches of one size.

    Args:
        model: An agent whose policy ``is_plain_mlp``.
        rows: Size of a minibatch.
    """

    def __init__(self, model: PPO, rows: int) -> None:
        policy = model.policy
        self.model = model
        self.actor = Branch(policy.mlp_extractor.policy_net, policy.action_net, rows)  # type: ignore[arg-type]
        self.critic = Branch(policy.mlp_extractor.value_net, policy.value_net, rows, self.actor)
        self.rows = rows
        self.log_std = policy.log_std.detach()
        self.ones = torch.ones(rows, self.actor.outputs)
        self.seed = torch.tensor(-1.0) / rows
        self.half, self.zero = self.seed / 2, torch.tensor(0.0)
        names = {id(p): i for i, p in enumerate(policy.parameters())}
        self._log_std = names[id(policy.log_std)]

        def indices(hidden: Any, head: Any) -> list[tuple[int, int]]:
            layers = [*list(hidden)[::2], head]
            return [(names[id(layer.weight)], names[id(layer.bias)]) for layer in layers]

        self._actor_layers = indices(policy.mlp_extractor.policy_net, policy.action_net)
        self._critic_layers = indices(policy.mlp_extractor.value_net, policy.value_net)

    @torch.no_grad()
    def gradient(self, batch: Minibatch, clip_range: float, gradients: list[torch.Tensor]) -> torch.Tensor:
        """Gradient of PPO's loss (1707.06347, equation 9) by every parameter.

        Where autograd's order of operations is left, it is by a factor that is a power of two, by a sign, or
        by terms of which all but one are zero: none of these rounds.

        Args:
            batch: The minibatch.
            clip_range: How far the probability ratio may leave 1.
            gradients: Where the gradients go, in the order of ``policy.parameters()``.

        Returns:
            Policy loss, value loss, entropy loss, fraction clipped and approximate KL divergence. Shape:
            (5,).
        """
        n, model = self.rows, self.model
        values = self.critic.forward(batch.observations).view(-1)
        value_loss = nn.functional.mse_loss(batch.returns, values)
        factor = torch.tensor(model.vf_coef)
        by_value = aten.mse_loss_backward(factor, values, batch.returns, 1).unsqueeze(1)
        self.critic.backward(
            batch.observations, by_value, [(gradients[w], gradients[b]) for w, b in self._critic_layers]
        )
        mean = self.actor.forward(batch.observations)
        row = self.log_std.exp()
        std = self.ones * row
        log_scale = std.log()
        var = std * std
        difference = batch.actions - mean
        quotient = difference * difference
        quotient.div_(var)
        log_prob = torch.add(log_scale, quotient, alpha=0.5).add_(HALF_LOG_2PI).sum(dim=1).neg_()
        entropy_loss = -torch.mean((ENTROPY_CONSTANT + log_scale).sum(dim=1))
        advantages = batch.advantages
        if model.normalize_advantage and n > 1:
            advantages = (advantages - advantages.mean()).div_(advantages.std() + 1e-8)
        log_ratio = log_prob.sub_(batch.log_probs)
        ratio = torch.exp(log_ratio)
        bounded = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
        loss_1, loss_2 = advantages * ratio, advantages * bounded
        policy_loss = -torch.min(loss_1, loss_2).mean()
        excess = ratio - 1
        divergence = (excess - log_ratio).mean()
        clipped = torch.mean((excess.abs_() > clip_range).float())

        whole = (loss_1 < loss_2).logical_or_(bounded == ratio)
        share = torch.where(whole, self.seed, torch.where(loss_1 == loss_2, self.half, self.zero))
        by_log_prob = share.mul_(advantages).mul_(ratio).unsqueeze(1) * self.ones
        by_mean = (by_log_prob / var).mul_(difference)
        by_std = quotient.div_(var).mul_(by_log_prob).mul_(std)
        rest = by_log_prob.div_(std)
        if model.ent_coef != 0:
            rest = rest - (torch.full((n, 1), -model.ent_coef) / n).expand_as(std) / std
        by_std.sub_(rest)
        gradients[self._log_std].copy_(by_std.sum(0, keepdim=True).view(-1) * row)
        self.actor.backward(
            batch.observations, by_mean, [(gradients[w], gradients[b]) for w, b in self._actor_layers]
        )
        return torch.stack((policy_loss, value_loss, entropy_loss, clipped, divergence))
