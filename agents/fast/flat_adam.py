"""Adam over all parameters at once, with torch's own state and bit for bit torch's own results.

torch's Adam on a CPU takes some nine small operations per parameter. Here the parameters and their moments
are views into four flat tensors, so that the nine operations are done once; every element undergoes the same
operations in the same order.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from warmstart.agents.fast.compiled import compiled

ALIGNMENT = 16
"""Floats: every parameter starts on a 64-byte boundary, as tensors of their own do, since BLAS kernels may
depend on it."""


def is_plain_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer is torch's Adam without any of its options."""
    plain: dict[str, Any] = {"weight_decay": 0, "amsgrad": False, "maximize": False, "capturable": False}
    plain |= {"differentiable": False, "fused": None, "foreach": None, "decoupled_weight_decay": False}
    return type(optimizer) is torch.optim.Adam and all(
        group.get(name, value) == value for group in optimizer.param_groups for name, value in plain.items()
    )


class AdamState(NamedTuple):
    """All parameters in one tensor, beside their gradients and moments. Shape of each: (size,)."""

    parameters: torch.Tensor
    gradient: torch.Tensor
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    scratch: torch.Tensor


class Run(NamedTuple):
    """Neighbouring parameters that share a learning rate and the number of steps taken."""

    start: int
    size: int
    learning_rate: float
    steps: int


@compiled
def clip(gradient: torch.Tensor, trainable: list[torch.Tensor], max_norm: float) -> None:
    """``clip_grad_norm_``: scale the gradient where the norm of ``trainable`` exceeds ``max_norm``.

    Args:
        gradient: Of all parameters. Shape: (size,).
        trainable: The parts of it that count, each of its parameter's shape.
        max_norm: The largest norm.
    """
    norms = [torch.linalg.vector_norm(part) for part in trainable]
    total = torch.linalg.vector_norm(torch.stack(norms))
    gradient.mul_(torch.clamp(max_norm / (total + 1e-6), max=1.0))


@compiled
def adam(state: AdamState, run: Run, done: int, beta1: float, beta2: float, eps: float) -> None:
    """One Adam step of a run (Kingma & Ba, 1412.6980), in the order of torch's own operations.

    Args:
        state: The tensors.
        run: The parameters to change.
        done: Steps done since the run was made.
        beta1: Decay of the gradient's average.
        beta2: Decay of the squared gradient's average.
        eps: What is added to the denominator.
    """
    gradient = state.gradient.narrow(0, run.start, run.size)
    exp_avg = state.exp_avg.narrow(0, run.start, run.size)
    exp_avg_sq = state.exp_avg_sq.narrow(0, run.start, run.size)
    scratch = state.scratch.narrow(0, run.start, run.size)
    exp_avg.lerp_(gradient, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    count = float(run.steps + done + 1)
    bias_correction1, bias_correction2 = 1 - beta1**count, 1 - beta2**count
    torch.sqrt(exp_avg_sq, out=scratch)
    scratch.div_(bias_correction2**0.5).add_(eps)
    parameters = state.parameters.narrow(0, run.start, run.size)
    parameters.addcdiv_(exp_avg, scratch, value=-(run.learning_rate / bias_correction1))


class FlatAdam:
    """Flat views of an Adam optimizer's parameters, gradients and moments.

    Args:
        optimizer: A plain Adam (see ``is_plain_adam``) whose parameters are float32 on the CPU.
        parameters: The parameters in the order in which gradient norms are summed.
    """

    def __init__(self, optimizer: torch.optim.Adam, parameters: list[nn.Parameter]) -> None:
        self.optimizer = optimizer
        self.parameters = parameters
        offsets, size = [], 0
        for parameter in parameters:
            offsets.append(size)
            size += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        self.state = AdamState(*(torch.zeros(size) for _ in range(5)))
        self.spans = [slice(o, o + p.numel()) for o, p in zip(offsets, parameters, strict=True)]
        for span, parameter in zip(self.spans, parameters, strict=True):
            view = self.state.parameters[span].view(parameter.shape)
            view.copy_(parameter.data)
            parameter.data = view
            state = optimizer.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)
            for name, flat in (("exp_avg", self.state.exp_avg), ("exp_avg_sq", self.state.exp_avg_sq)):
                moment = flat[span].view(parameter.shape)
                if name in state:
                    moment.copy_(state[name])
                state[name] = moment
        self.gradients = [
            self.state.gradient[s].view(p.shape) for s, p in zip(self.spans, parameters, strict=True)
        ]
        self._ends = [*offsets[1:], size]

    def holds(self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> bool:
        """Whether the views are still those of the optimizer: loading or replacing tensors unties them."""
        if optimizer is not self.optimizer or len(parameters) != len(self.parameters):
            return False
        start, moments = self.state.parameters.data_ptr(), self.state.exp_avg.data_ptr()
        for parameter, known, span in zip(parameters, self.parameters, self.spans, strict=True):
            state = optimizer.state.get(parameter)
            if parameter is not known or not state or parameter.data_ptr() != start + 4 * span.start:
                return False
            if state["exp_avg"].data_ptr() != moments + 4 * span.start:
                return False
        return True

    def runs(self, moves: Sequence[bool]) -> tuple[list[Run], list[list[Any]]]:
        """Runs of the parameters that move, and the step tensors of the parameters of each."""
        rates = {id(p): float(g["lr"]) for g in self.optimizer.param_groups for p in g["params"]}
        runs: list[Run] = []
        counters: list[list[Any]] = []
        broken = True
        for parameter, span, end, moved in zip(self.parameters, self.spans, self._ends, moves, strict=True):
            if not moved:
                broken = True
                continue
            counter = self.optimizer.state[parameter]["step"]
            rate, steps = rates[id(parameter)], int(counter.item())
            if not broken and runs[-1][2:] == (rate, steps):
                runs[-1] = Run(runs[-1].start, end - runs[-1].start, rate, steps)
                counters[-1].append(counter)
            else:
                runs.append(Run(span.start, end - span.start, rate, steps))
                counters.append([counter])
            broken = False
        return runs, counters


def count(runs: list[Run], counters: list[list[Any]], done: int) -> None:
    """Note the steps done in torch's own state."""
    for run, each in zip(runs, counters, strict=True):
        for counter in each:
            counter.fill_(run.steps + done)
