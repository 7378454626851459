"""PPO's minibatch update as one function for ``torch.compile``, where a training is long enough.

The formulas are those of ``warmstart.agents.fast.mlp`` with fewer, fused operations: the same results but for
rounding. The first compilation on a machine takes some 20 s, later ones in any process 3 to 4 s (torch
keeps what it compiled).
"""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from warmstart.agents.fast.flat_adam import FlatAdam

if TYPE_CHECKING:
    from warmstart.agents.fast.mlp import LossSettings, Minibatch

log = logging.getLogger(__name__)

WORTHWHILE = 100_000_000
"""Transitions times passes from which ``compile="auto"`` compiles: what it saves then exceeds what it
takes."""

Step = Callable[..., torch.Tensor]
_state = {"failed": False}


def compilation_wanted(compile: bool | Literal["auto"], total_timesteps: int, n_epochs: int) -> bool:
    """Whether to compile: as asked, or for ``auto`` where the training is long enough to gain by it."""
    if _state["failed"]:
        return False
    return compile is True or (compile == "auto" and total_timesteps * n_epochs >= WORTHWHILE)


def has_compiler() -> bool:
    """Whether a C++ compiler is found, as ``torch.compile`` needs one on a CPU."""
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"]))


def give_up(reason: str) -> None:
    """Say once that updates won't be compiled in this process, and why."""
    if not _state["failed"]:
        log.warning("Updates are not compiled, which is slower but otherwise the same: %s", reason)
    _state["failed"] = True


@dataclass(frozen=True)
class Shapes:
    """Where everything lies in the flat parameter tensor."""

    spans: tuple[tuple[int, int, tuple[int, ...]], ...]
    """Offset, number of elements and shape of each parameter."""
    log_std: int
    """Index of the logarithm of the standard deviation."""
    actor: tuple[tuple[int, int], ...]
    """Indices of weight and bias of the actor's layers."""
    critic: tuple[tuple[int, int], ...]
    """Indices of weight and bias of the critic's layers."""
    tanh: bool
    """Whether the nonlinearity is tanh, else ReLU."""


class CompiledStep:
    """One minibatch: loss, gradient, clipping and Adam's step in one function.

    Args:
        function: The compiled function.
        adam: The parameters and moments it changes.
        key: Settings that are compiled in.
        rows: Size of a minibatch.
    """

    def __init__(self, function: Step, adam: FlatAdam, key: tuple[Any, ...], rows: int) -> None:
        self.function = function
        self.adam = adam
        self.key = key
        self.rows = rows
        self.ready = False

    @classmethod
    def make(
        cls,
        policy: ActorCriticPolicy,
        adam: FlatAdam,
        settings: "LossSettings",
        rows: int,
        max_grad_norm: float,
    ) -> "CompiledStep | None":
        """Prepare a compiled step; ``None``, with a message, where that is impossible.

        Args:
            policy: A policy that ``is_plain_mlp``.
            adam: Its optimizer.
            settings: Coefficients of the loss; the clip range may change later, the others are compiled in.
            rows: Size of a minibatch.
            max_grad_norm: Bound on the gradient's norm.
        """
        if not has_compiler():
            give_up(
                "no C++ compiler was found (install g++, or set CXX); pass compile=False to silence this."
            )
            return None
        function = update_function(shapes_of(policy, adam), adam, settings, rows, max_grad_norm)
        compiled: Any = torch.compile(function, fullgraph=True, dynamic=False)
        return cls(compiled, adam, cls.settings_key(settings, max_grad_norm), rows)

    @staticmethod
    def settings_key(settings: "LossSettings", max_grad_norm: float) -> tuple[Any, ...]:
        """What a change of needs another compilation."""
        return (settings.ent_coef, settings.vf_coef, settings.normalize_advantage, max_grad_norm)

    def serves(self, settings: "LossSettings", rows: int, max_grad_norm: float) -> bool:
        """Whether these settings are the compiled ones."""
        return self.rows == rows and self.key == self.settings_key(settings, max_grad_norm)

    @torch.no_grad()
    def attempt(self, batch: "Minibatch", clip_range: float, rate: float, step: int) -> torch.Tensor | None:
        """Do one step; the first compiles.

        Args:
            batch: ``rows`` transitions.
            clip_range: PPO's.
            rate: Learning rate.
            step: Adam steps taken before.

        Returns:
            What ``MlpLoss.gradient`` returns, shape (5,); ``None``, with a message and nothing done, where
            the compilation failed.
        """
        adam = self.adam
        beta1, beta2 = adam.optimizer.defaults["betas"]
        scalars = torch.tensor(
            [clip_range, rate / (1 - beta1 ** (step + 1)), (1 - beta2 ** (step + 1)) ** 0.5]
        )
        data = (batch.observations, batch.actions, batch.log_probs, batch.advantages, batch.returns)
        arguments = (adam.flat, adam.exp_avg, adam.exp_avg_sq, scalars, *data)
        if self.ready:
            return self.function(*arguments)
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor import config

        log.info("Compiling the update: some 20 s the first time on a machine, 3 to 4 s later.")
        try:
            with config.patch(compile_threads=1):
                result = self.function(*arguments)
        except (TorchDynamoException, OSError, RuntimeError) as error:
            give_up(f"{type(error).__name__}: {str(error).splitlines()[0]}")
            return None
        self.ready = True
        return result


def shapes_of(policy: ActorCriticPolicy, adam: FlatAdam) -> Shapes:
    """Describe a plain MLP policy's flat parameters."""
    index = {id(p): i for i, p in enumerate(adam.parameters)}

    def layers(hidden: Any, head: Any) -> tuple[tuple[int, int], ...]:
        return tuple((index[id(layer.weight)], index[id(layer.bias)]) for layer in [*list(hidden)[::2], head])

    network = policy.mlp_extractor.policy_net
    return Shapes(
        tuple((s.start, p.numel(), tuple(p.shape)) for s, p in zip(adam.spans, adam.parameters, strict=True)),
        index[id(policy.log_std)],
        layers(network, policy.action_net),
        layers(policy.mlp_extractor.value_net, policy.value_net),
        isinstance(list(network)[1], torch.nn.Tanh),
    )


def update_function(
    shapes: Shapes, adam: FlatAdam, settings: "LossSettings", rows: int, max_grad_norm: float
) -> Step:
    """The function to compile; it changes the flat parameters and moments in place.

    The gradient of the surrogate by the log-probability is ``-A r / n`` where the clipping doesn't bind,
    else 0; that of a Gaussian's log-density by its mean ``(a - μ) / σ²`` and by its log σ ``((a - μ) / σ)²
    - 1``.
    """
    from warmstart.agents.fast.mlp import ENTROPY_CONSTANT, HALF_LOG_2PI

    beta1, beta2 = adam.optimizer.defaults["betas"]
    eps = adam.optimizer.defaults["eps"]
    size = adam.flat.numel()
    ent_coef, vf_coef = settings.ent_coef, settings.vf_coef
    normalize = settings.normalize_advantage and rows > 1

    def forward(parameters: Sequence[torch.Tensor], layers: Any, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        inputs = [x]
        for weight, bias in layers[:-1]:
            x = torch.addmm(parameters[bias], x, parameters[weight].t())
            x = torch.tanh(x) if shapes.tanh else torch.relu(x)
            inputs.append(x)
        weight, bias = layers[-1]
        return torch.addmm(parameters[bias], x, parameters[weight].t()), inputs

    def backward(parameters: Any, layers: Any, inputs: Any, gradient: torch.Tensor, out: list[Any]) -> None:
        for k in range(len(layers) - 1, -1, -1):
            weight, bias = layers[k]
            out[weight], out[bias] = gradient.t().mm(inputs[k]), gradient.sum(0)
            if k:
                slope = 1 - inputs[k] * inputs[k] if shapes.tanh else (inputs[k] > 0).float()
                gradient = gradient.mm(parameters[weight]) * slope

    def flattened(gradients: list[Any]) -> torch.Tensor:
        parts, end = [], 0
        for (offset, count, _), gradient in zip(shapes.spans, gradients, strict=True):
            if offset > end:
                parts.append(torch.zeros(offset - end))
            parts.append(gradient.reshape(-1))
            end = offset + count
        return torch.cat([*parts, torch.zeros(size - end)] if end < size else parts)

    def update(
        flat: torch.Tensor,
        exp_avg: torch.Tensor,
        exp_avg_sq: torch.Tensor,
        scalars: torch.Tensor,
        observations: torch.Tensor,
        actions: torch.Tensor,
        old_log_probs: torch.Tensor,
        advantages: torch.Tensor,
        returns: torch.Tensor,
    ) -> torch.Tensor:
        clip, rate, root_correction = scalars[0], scalars[1], scalars[2]
        parameters = [flat[o : o + n].view(shape) for o, n, shape in shapes.spans]
        mean, actor_inputs = forward(parameters, shapes.actor, observations)
        values, critic_inputs = forward(parameters, shapes.critic, observations)
        log_std = parameters[shapes.log_std]
        inverse_std = torch.exp(-log_std)
        deviation = (actions - mean) * inverse_std
        log_probs = (-0.5 * deviation * deviation - log_std - HALF_LOG_2PI).sum(1)
        if normalize:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        log_ratio = log_probs - old_log_probs
        ratio = log_ratio.exp()
        loss_1 = advantages * ratio
        loss_2 = advantages * torch.clamp(ratio, 1 - clip, 1 + clip)
        error = values[:, 0] - returns

        free = (loss_1 <= loss_2) | ((ratio >= 1 - clip) & (ratio <= 1 + clip))
        by_log_prob = torch.where(free, loss_1 * (-1.0 / rows), 0.0).unsqueeze(1)
        gradients: list[Any] = [None] * len(shapes.spans)
        gradients[shapes.log_std] = (by_log_prob * (deviation * deviation - 1)).sum(0) - ent_coef
        backward(parameters, shapes.actor, actor_inputs, by_log_prob * deviation * inverse_std, gradients)
        by_value = (error * (2 * vf_coef / rows)).unsqueeze(1)
        backward(parameters, shapes.critic, critic_inputs, by_value, gradients)
        gradient = flattened(gradients)
        gradient = gradient * torch.clamp(max_grad_norm / (gradient.norm() + 1e-6), max=1.0)

        exp_avg.lerp_(gradient, 1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        flat.sub_(rate * exp_avg / (exp_avg_sq.sqrt() / root_correction + eps))
        return torch.stack(
            (
                -torch.minimum(loss_1, loss_2).mean(),
                (error * error).mean(),
                -(ENTROPY_CONSTANT + log_std).sum(),
                ((ratio - 1).abs() > clip).float().mean(),
                ((ratio - 1) - log_ratio).mean(),
            )
        )

    return update
