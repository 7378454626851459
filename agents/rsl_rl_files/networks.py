"""A multilayer perceptron and its observations' statistics among the tensors of rsl_rl's models."""

import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.core.bounds import show
from warmstart.core.errors import WarmstartError

Tensors = dict[str, torch.Tensor]
Layers = tuple[tuple[torch.Tensor, torch.Tensor], ...]
"""Weight, of shape (outputs, inputs), and bias, of shape (outputs,), of every linear layer in order."""

ADDED_TO_STD = 1e-2
"""``eps`` of rsl_rl's ``EmpiricalNormalization``, which it adds to the standard deviation."""

STATISTICS = ("_mean", "_var", "_std", "count")

UNREAD = {
    "memory": "recurrent (memory_a, memory_c): its layers read an LSTM's or GRU's units",
    "rnn": "recurrent (rnn): its layers read an LSTM's or GRU's units",
    "actor_cnns": "convolutional (actor_cnns): it observes images",
    "cnns": "convolutional (cnns): it observes images",
    "student": "a student of distillation (student, teacher)",
    "teacher": "a student of distillation (student, teacher)",
}
"""Kinds of actors that can't be read, by how their tensors' names begin."""


@dataclass(frozen=True)
class Statistics:
    """What an ``EmpiricalNormalization`` knows."""

    mean: NDArray[np.float64]
    """Shape: (observations,)."""
    std: NDArray[np.float64]
    """Standard deviation, without what is added to it. Shape: (observations,)."""
    count: int
    """Observations behind them."""

    def agrees(self, other: "Statistics") -> bool:
        """Whether both are of the same observations, as far as numbers tell."""
        if self.mean.shape != other.mean.shape:
            return False
        apart = np.abs(self.mean - other.mean) > 1e-3 * (self.std + ADDED_TO_STD)
        return not apart.any() and np.allclose(self.std, other.std, rtol=1e-3, atol=1e-5)


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron, and how its inputs are standardised."""

    layers: Layers
    """Linear layers, an activation between each two."""
    statistics: Statistics | None
    """Of its observations; ``None`` where they are taken as they are."""

    @property
    def inputs(self) -> int:
        """Number of its observations."""
        return self.layers[0][0].shape[1]

    @property
    def widths(self) -> list[int]:
        """Units of its hidden layers."""
        return [len(bias) for _, bias in self.layers[:-1]]


def read_network(tensors: Tensors, name: str) -> Network:
    """The layers and the statistics among the tensors of a network, and nothing else.

    Raises:
        WarmstartError: A tensor is missing, unexpected, or of another shape or type.
    """
    prefix = "obs_normalizer."
    held = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    rest = {key: value for key, value in tensors.items() if not key.startswith(prefix)}
    layers = _layers(rest, name)
    return Network(layers, _statistics(held, layers[0][0].shape[1], name) if held else None)


def _layers(tensors: Tensors, name: str) -> Layers:
    found = {key: re.fullmatch(r"mlp\.(\d{1,4})\.(weight|bias)", key) for key in tensors}
    odd = [key for key, match in found.items() if match is None]
    if odd:
        raise WarmstartError(unread(odd[0], f"the {name}: "))
    numbers = sorted({int(match[1]) for match in found.values() if match is not None})
    if not numbers or numbers != list(range(0, 2 * len(numbers), 2)):
        raise WarmstartError(
            f"the {name}'s layers have the numbers {numbers}: expected 0, 2, 4, …, an activation between "
            "each two linear layers and nothing else."
        )
    layers: list[tuple[torch.Tensor, torch.Tensor]] = []
    for number in numbers:
        pair = [tensors.get(f"mlp.{number}.{part}") for part in ("weight", "bias")]
        inputs = len(layers[-1][1]) if layers else None
        weight, bias = pair
        if (
            weight is None
            or bias is None
            or {weight.dtype, bias.dtype} != {torch.float32}
            or weight.dim() != 2
            or bias.shape != weight.shape[:1]
            or 0 in weight.shape
            or inputs not in (None, weight.shape[1])
        ):
            takes = "" if inputs is None else f" of {inputs} inputs"
            raise WarmstartError(
                f"the {name}'s layer {number}: expected a float32 weight{takes} and its bias, found "
                f"{' and '.join(what(each) for each in pair)}."
            )
        layers.append((weight.clone(), bias.clone()))
    return tuple(layers)


def _statistics(held: Tensors, size: int, name: str) -> Statistics:
    where = f"the {name}'s normaliser"
    odd = sorted(held.keys() ^ set(STATISTICS))
    if odd:
        found = "extra" if odd[0] in held else "missing"
        raise WarmstartError(f"{where}: expected {', '.join(STATISTICS)}, {odd[0]} is {found}.")
    for key in STATISTICS[:3]:
        value = held[key]
        if value.shape != (1, size) or value.dtype != torch.float32:
            raise WarmstartError(f"{where}: {key} is {what(value)}, expected float32 of shape (1, {size}).")
        if key != "_mean" and bool((value < 0).any()):
            raise WarmstartError(f"{where}: {key} holds a negative number.")
    count = held["count"]
    if count.numel() != 1 or count.is_floating_point() or int(count) < 0:
        raise WarmstartError(f"{where}: count is {what(count)}, expected one whole number at least 0.")
    mean, std = (held[key].double().reshape(-1).numpy() for key in ("_mean", "_std"))
    return Statistics(mean, std, int(count))


def kind_of(name: str) -> str:
    """What kind of actor a tensor's name is of that can't be read; empty for none."""
    return next((told for start, told in UNREAD.items() if name.startswith(start)), "")


def unread(name: str, where: str) -> str:
    """Why a tensor can't be read, in words."""
    kind = kind_of(name)
    found = f"the policy is {kind}" if kind else f"the tensor {show(name)} isn't a multilayer perceptron's"
    return f"{where}{found}; expected linear layers, a standard deviation and running statistics alone."


def what(value: torch.Tensor | None) -> str:
    """Type and shape of what was found."""
    if value is None:
        return "nothing"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
