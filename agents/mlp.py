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
    if len(policy.observation_space.shape) != 1 or type(policy.features_extractor) is not FlattenExtractor:
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

    Args:
        hidden: SB3's ``policy_net`` or ``value_net``.
        head: SB3's ``action_net`` or ``value_net``.
        rows: Size of a batch.
    """

    def __init__(self, hidden: nn.Sequential, head: nn.Linear, rows: int) -> None:
        known = layers_of(hidden)
        assert known is not None
        linear, activation = known
        self.tanh = activation is nn.Tanh
        self.layers = [*linear, head]
        widths = [layer.out_features for layer in self.layers]
        self.before = [torch.empty(rows, width) for width in widths]
        self.after = [torch.empty(rows, width) for width in widths[:-1]]
        self.back = [torch.empty(rows, width) for width in widths[:-1]]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs for a batch. Shape: (rows, outputs)."""
        x = inputs
        for layer, before, after in zip(self.layers, self.before, self.after, strict=False):
            torch.addmm(layer.bias, x, layer.weight.t(), out=before)
            x = torch.tanh(before, out=after) if self.tanh else torch.clamp_min(before, 0, out=after)
        head = self.layers[-1]
        return torch.addmm(head.bias, x, head.weight.t(), out=self.before[-1])

    def backward(
        self, inputs: torch.Tensor, gradient: torch.Tensor, out: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        """Gradients of the weights and biases.

        Args:
            inputs: What ``forward`` was given. Shape: (rows, inputs).
            gradient: Of the loss by the outputs. Shape: (rows, outputs).
            out: Where the gradient of each layer's weight and bias goes.
        """
        for index in range(len(self.layers) - 1, -1, -1):
            x = self.after[index - 1] if index else inputs
            weight, bias = out[index]
            torch.sum(gradient, 0, out=bias)
            torch.mm(gradient.t(), x, out=weight)
            if index == 0:
                return
            back = torch.mm(gradient, self.layers[index].weight, out=self.back[index - 1])
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
        self.critic = Branch(policy.mlp_extractor.value_net, policy.value_net, rows)

    @torch.no_grad()
    def act(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sample actions as ``ActorCriticPolicy.forward`` does, from torch's global generator.

        Args:
            observations: Of any floating type. Shape: (rows, inputs).

        Returns:
            Actions (rows, actions), values (rows, 1) and log-probabilities (rows,).
        """
        x = observations.float()
        values = self.critic.forward(x)
        mean = self.actor.forward(x)
        std = torch.ones_like(mean) * self.policy.log_std.exp()
        actions = mean + torch.empty_like(mean).normal_() * std
        return actions, values.clone(), gaussian_log_prob(actions, mean, std)


def gaussian_log_prob(actions: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Log-density of independent Gaussians, in the order of torch's ``Normal``. Shape: (rows,)."""
    return (-((actions - mean) ** 2) / (2 * std**2) - std.log() - HALF_LOG_2PI).sum(dim=1)


@dataclass(frozen=True)
class LossSettings:
    """Coefficients of PPO's loss."""

    clip_range: float
    ent_coef: float
    vf_coef: float
    normalize_advantage: bool


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
        policy: A policy that ``is_plain_mlp``.
        rows: Size of a minibatch.
    """

    def __init__(self, policy: ActorCriticPolicy, rows: int) -> None:
        self.policy = policy
        self.actor = Branch(policy.mlp_extractor.policy_net, policy.action_net, rows)  # type: ignore[arg-type]
        self.critic = Branch(policy.mlp_extractor.value_net, policy.value_net, rows)
        self.rows = rows
        self.ones = torch.ones(rows, self.actor.layers[-1].out_features)
        names = {id(p): i for i, p in enumerate(policy.parameters())}
        self._log_std = names[id(policy.log_std)]
        self._actor_layers = [(names[id(s.weight)], names[id(s.bias)]) for s in self.actor.layers]
        self._critic_layers = [(names[id(s.weight)], names[id(s.bias)]) for s in self.critic.layers]

    @torch.no_grad()
    def gradient(
        self, batch: Minibatch, settings: LossSettings, gradients: list[torch.Tensor]
    ) -> torch.Tensor:
        """Gradient of PPO's loss (1707.06347, equation 9) by every parameter.

        Args:
            batch: The minibatch.
            settings: Coefficients.
            gradients: Where the gradients go, in the order of ``policy.parameters()``.

        Returns:
            Policy loss, value loss, entropy loss, fraction clipped and approximate KL divergence. Shape:
            (5,).
        """
        n, clip = self.rows, settings.clip_range
        mean = self.actor.forward(batch.observations)
        values = self.critic.forward(batch.observations).flatten()
        log_std = self.policy.log_std
        row = log_std.exp()
        std = self.ones * row
        log_scale = std.log()
        double_var = 2 * std**2
        difference = batch.actions - mean
        quotient = -(difference**2) / double_var
        log_prob = (quotient - log_scale - HALF_LOG_2PI).sum(dim=1)
        entropy_loss = -torch.mean((ENTROPY_CONSTANT + log_scale).sum(dim=1))
        advantages = batch.advantages
        if settings.normalize_advantage and n > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        log_ratio = log_prob - batch.log_probs
        ratio = torch.exp(log_ratio)
        loss_1 = advantages * ratio
        loss_2 = advantages * torch.clamp(ratio, 1 - clip, 1 + clip)
        policy_loss = -torch.min(loss_1, loss_2).mean()
        value_loss = nn.functional.mse_loss(batch.returns, values)
        clipped = torch.mean((torch.abs(ratio - 1) > clip).float())
        divergence = torch.mean((ratio - 1) - log_ratio)

        seed = torch.full((n,), -1.0) / n
        tied, half = loss_1 == loss_2, seed / 2
        chosen = torch.where(tied, half, seed)
        by_1 = chosen.masked_fill(loss_1 > loss_2, 0) * advantages
        by_2 = chosen.masked_fill(loss_1 < loss_2, 0) * advantages
        by_2 = by_2 * ((ratio >= 1 - clip) & (ratio <= 1 + clip))
        by_log_prob = ((by_1 + by_2) * ratio).unsqueeze(1).expand_as(mean)
        by_quotient = by_log_prob / double_var
        by_mean = by_quotient * (2 * difference)
        by_double_var = -by_log_prob * (quotient / double_var)
        by_std = (torch.full((n,), -settings.ent_coef) / n).unsqueeze(1).expand_as(mean) / std
        by_std = by_std - by_log_prob / std
        by_std = by_std + (by_double_var * 2) * (2 * std)
        gradients[self._log_std].copy_((by_std * self.ones).sum(0, keepdim=True).view(-1) * row)
        self.actor.backward(
            batch.observations, by_mean, [(gradients[w], gradients[b]) for w, b in self._actor_layers]
        )
        factor = torch.tensor(settings.vf_coef)
        by_value = aten.mse_loss_backward(factor, values, batch.returns, 1).unsqueeze(1)
        self.critic.backward(
            batch.observations, by_value, [(gradients[w], gradients[b]) for w, b in self._critic_layers]
        )
        return torch.stack((policy_loss, value_loss, entropy_loss, clipped, divergence))
