"""Adam over all parameters at once, with torch's own state and bit for bit torch's own results.

torch's Adam on a CPU takes some nine small operations per parameter. Here the parameters and their moments
are views into four flat tensors, so that the nine operations are done once; every element undergoes the same
operations in the same order.
"""

from typing import Any

import torch
from torch import nn

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
        self.flat, self.gradient, self.exp_avg, self.exp_avg_sq, self.scratch = (
            torch.zeros(size) for _ in range(5)
        )
        self.spans = [slice(o, o + p.numel()) for o, p in zip(offsets, parameters, strict=True)]
        for span, parameter in zip(self.spans, parameters, strict=True):
            view = self.flat[span].view(parameter.shape)
            view.copy_(parameter.data)
            parameter.data = view
            state = optimizer.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)
            for name, flat in (("exp_avg", self.exp_avg), ("exp_avg_sq", self.exp_avg_sq)):
                moment = flat[span].view(parameter.shape)
                if name in state:
                    moment.copy_(state[name])
                state[name] = moment
        self.gradients = [self.gradient[s].view(p.shape) for s, p in zip(self.spans, parameters, strict=True)]
        self._ends = [*offsets[1:], size]

    def holds(self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> bool:
        """Whether the views are still those of the optimizer: loading or replacing tensors unties them."""
        if optimizer is not self.optimizer or len(parameters) != len(self.parameters):
            return False
        start, moments = self.flat.data_ptr(), self.exp_avg.data_ptr()
        for parameter, known, span in zip(parameters, self.parameters, self.spans, strict=True):
            state = optimizer.state.get(parameter)
            if parameter is not known or not state or parameter.data_ptr() != start + 4 * span.start:
                return False
            if state["exp_avg"].data_ptr() != moments + 4 * span.start:
                return False
        return True

    def segments(self) -> list[tuple[slice, float, int, list[Any]]]:
        """Runs of trainable parameters that share learning rate and step count.

        Returns:
            For each run its span in the flat tensors, the learning rate, the steps taken and the
            parameters' step tensors.
        """
        rates = {id(p): float(g["lr"]) for g in self.optimizer.param_groups for p in g["params"]}
        runs: list[tuple[slice, float, int, list[Any]]] = []
        broken = True
        for parameter, span, end in zip(self.parameters, self.spans, self._ends, strict=True):
            if not parameter.requires_grad:
                broken = True
                continue
            counter = self.optimizer.state[parameter]["step"]
            rate, steps = rates[id(parameter)], int(counter.item())
            if not broken and runs[-1][1:3] == (rate, steps):
                start, _, _, counters = runs[-1]
                runs[-1] = (slice(start.start, end), rate, steps, [*counters, counter])
            else:
                runs.append((slice(span.start, end), rate, steps, [counter]))
            broken = False
        return runs

    def clip(self, max_norm: float, trainable: list[torch.Tensor]) -> None:
        """``clip_grad_norm_``: scale the gradient where the norm of ``trainable`` exceeds ``max_norm``.

        Args:
            max_norm: The largest norm.
            trainable: Those of ``gradients`` that count, each of its parameter's shape.
        """
        norms = [torch.linalg.vector_norm(gradient) for gradient in trainable]
        total = torch.linalg.vector_norm(torch.stack(norms))
        coefficient = max_norm / (total + 1e-6)
        self.gradient.mul_(torch.clamp(coefficient, max=1.0))

    def step(self, run: tuple[slice, float, int, list[Any]], done: int) -> None:
        """One Adam step of a run (Kingma & Ba, 1412.6980), in the order of torch's own operations.

        Args:
            run: One of ``segments``.
            done: Steps done since ``segments`` was called.
        """
        span, rate, steps, _ = run
        group = self.optimizer.defaults
        beta1, beta2 = group["betas"]
        gradient, exp_avg_sq, scratch = self.gradient[span], self.exp_avg_sq[span], self.scratch[span]
        exp_avg = self.exp_avg[span]
        exp_avg.lerp_(gradient, 1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        count = float(steps + done + 1)
        bias_correction1, bias_correction2 = 1 - beta1**count, 1 - beta2**count
        torch.sqrt(exp_avg_sq, out=scratch)
        scratch.div_(bias_correction2**0.5).add_(group["eps"])
        self.flat[span].addcdiv_(exp_avg, scratch, value=-(rate / bias_correction1))

    def count(self, runs: list[tuple[slice, float, int, list[Any]]], done: int) -> None:
        """Note the steps done in torch's own state."""
        for _, _, steps, counters in runs:
            for counter in counters:
                counter.fill_(steps + done)
