"""An MLP actor and critic with Gaussian actions, the usual policy, without autograd's overhead.

Forward and backward pass are written out with the operations that torch's autograd performs, in its order
and on tensors of the same shapes, but into buffers that are kept. So the results equal SB3's bit for bit,
at a third of the time; tests hold that.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from warmstart.agents.fast.compiled import compiled


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


class Layers(NamedTuple):
    """The tensors of a network: parameters, and buffers for a batch of so many rows."""

    weights: list[torch.Tensor]
    """Of each layer, the output layer last. Shapes: (width, inputs)."""
    biases: list[torch.Tensor]
    """Shapes: (width,)."""
    by_weight: list[torch.Tensor]
    """Where the gradients go. Shapes: (width, inputs)."""
    by_bias: list[torch.Tensor]
    """The same. Shapes: (width,)."""
    hidden: list[torch.Tensor]
    """What each hidden layer gives. Shapes: (rows, width)."""
    back: list[torch.Tensor]
    """Gradients by these. Shapes: (rows, width)."""
    out: torch.Tensor
    """What the network gives. Shape: (rows, outputs)."""
    tanh: bool
    """Whether tanh stands between the layers, else ReLU."""


def layers(
    hidden: nn.Sequential, head: nn.Linear, rows: int, gradients: Mapping[int, torch.Tensor] | None = None
) -> Layers:
    """The tensors of actor or critic, which hold on to the parameters' memory.

    Args:
        hidden: SB3's ``policy_net`` or ``value_net``.
        head: SB3's ``action_net`` or ``value_net``.
        rows: Size of a batch.
        gradients: Where the gradient of each parameter goes, by the parameter's ``id``; None computes none.
    """
    known = layers_of(hidden)
    assert known is not None
    linear, activation = [*known[0], head], known[1]
    weights, biases = [layer.weight for layer in linear], [layer.bias for layer in linear]
    widths = [layer.out_features for layer in linear]
    to = gradients or {}
    return Layers(
        [weight.detach() for weight in weights],
        [bias.detach() for bias in biases],
        [to[id(weight)] for weight in weights if to],
        [to[id(bias)] for bias in biases if to],
        [torch.empty(rows, width) for width in widths[:-1]],
        [torch.empty(rows if to else 0, width) for width in widths[:-1]],
        torch.empty(rows, widths[-1]),
        activation is nn.Tanh,
    )


@compiled
def first_rows(network: Layers, rows: int) -> Layers:
    """The same network with buffers for fewer rows."""
    hidden = [buffer.narrow(0, 0, rows) for buffer in network.hidden]
    back = [buffer.narrow(0, 0, rows) for buffer in network.back]
    out = network.out.narrow(0, 0, rows)
    return Layers(
        network.weights,
        network.biases,
        network.by_weight,
        network.by_bias,
        hidden,
        back,
        out,
        network.tanh,
    )


@compiled
def forward(network: Layers, inputs: torch.Tensor) -> torch.Tensor:
    """Outputs for a batch. Shape: (rows, inputs) to (rows, outputs)."""
    x = inputs
    for index in range(len(network.hidden)):
        hidden = network.hidden[index]
        torch.addmm(network.biases[index], x, network.weights[index].t(), out=hidden)
        x = torch.tanh(hidden, out=hidden) if network.tanh else torch.clamp_min(hidden, 0, out=hidden)
    return torch.addmm(network.biases[-1], x, network.weights[-1].t(), out=network.out)


@compiled
def backward(network: Layers, inputs: torch.Tensor, by_out: torch.Tensor) -> None:
    """Gradients of weights and biases, from what `forward` left in the buffers.

    Args:
        network: The network.
        inputs: What ``forward`` was given. Shape: (rows, inputs).
        by_out: Gradient of the loss by the outputs. Shape: (rows, outputs).
    """
    gradient = by_out
    last = len(network.weights) - 1
    for step in range(last + 1):
        index = last - step
        x = network.hidden[index - 1] if index > 0 else inputs
        torch.sum(gradient, [0], out=network.by_bias[index])
        torch.mm(gradient.t(), x, out=network.by_weight[index])
        if index > 0:
            back = network.back[index - 1]
            torch.mm(gradient, network.weights[index], out=back)
            if network.tanh:
                gradient = torch.ops.aten.tanh_backward(back, x, grad_input=back)
            else:
                gradient = torch.ops.aten.threshold_backward(back, x, 0, grad_input=back)


@compiled
def sample(
    actor: Layers,
    critic: Layers,
    x: torch.Tensor,
    std: torch.Tensor,
    var: torch.Tensor,
    log_scale: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Actions (rows, actions), values (rows, 1) and log-probabilities (rows,) for some observations.

    Args:
        actor: The actor.
        critic: The critic.
        x: The observations. Shape: (rows, inputs).
        std: Standard deviations of the actions. Shape: (rows, actions), as the next two.
        var: Their squares.
        log_scale: Their logarithms.
    """
    values = forward(critic, x).clone()
    mean = forward(actor, x)
    actions = torch.empty_like(mean).normal_().mul_(std).add_(mean)
    quotient = actions - mean
    quotient.mul_(quotient).div_(var)
    log_probs = (
        torch.add(log_scale, quotient, alpha=0.5).add_(math.log(math.sqrt(2 * math.pi))).sum(dim=1).neg_()
    )
    return actions, values, log_probs


class MlpActor:
    """What a rollout asks of the policy: sampled actions, values and log-probabilities.

    Args:
        policy: A policy that ``is_plain_mlp``.
        rows: Number of environments.
    """

    def __init__(self, policy: ActorCriticPolicy, rows: int) -> None:
        self.policy = policy
        self.rows = rows
        self.actor = layers(policy.mlp_extractor.policy_net, policy.action_net, rows)  # type: ignore[arg-type]
        self.critic = layers(policy.mlp_extractor.value_net, policy.value_net, rows)
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
        return sample(self.actor, self.critic, observations.float(), self.std, self.var, self.log_scale)

    def _set_noise(self) -> None:
        log_std = self.policy.log_std
        self._version = log_std._version
        self.std = torch.ones(self.rows, self.actor.out.shape[1]) * log_std.detach().exp()
        self.var, self.log_scale = self.std * self.std, self.std.log()
