"""Which tensors of an SB3 policy form which network, what its inputs and outputs mean, and how it widens.

Alignment needs to know that column 3 of ``mlp_extractor.policy_net.0.weight`` is an observation and row 1 of
``action_net.weight`` an action. Widening is Net2WiderNet (Chen, Goodfellow & Shlens, "Net2Net", 1511.05641,
section 2.2), which doesn't change what the network computes: new units copy the incoming weights of old ones;
the outgoing weights of a unit are divided by the number of its copies.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from warmstart.agents.checkpoints.policy import is_of_critic
from warmstart.core.errors import WarmstartError


@dataclass(frozen=True)
class Network:
    """One network: hidden layers in a row, perhaps with blocks between them, then output layers."""

    name: str
    """``actor``, ``value``, ``qf0`` …"""

    role: Literal["actor", "critic"]
    """What the network is for: each output row of an actor is an action, that of a critic a value."""

    hidden: tuple[str, ...]
    """Prefixes of the hidden linear layers, in order."""

    heads: tuple[str, ...]
    """Prefixes of the output layers."""

    takes_actions: bool = False
    """Whether the inputs are observations followed by actions, not observations alone."""

    vectors: tuple[str, ...] = ()
    """Parameters with one entry per action that belong to the network (``log_std`` of PPO)."""

    inside: tuple[str, ...] = ()
    """Names of the tensors inside residual blocks, which lie between the first hidden layer and the last."""


def networks(algorithm: str, names: Iterable[str]) -> tuple[Network, ...]:
    """Find the networks of a policy, its actor and critics, without the target networks, which follow these.

    Args:
        algorithm: ``ppo``, ``sac``, ``td3``, ``tqc`` or ``crossq``.
        names: Names in the policy's ``state_dict``.

    Raises:
        WarmstartError: The names aren't those of SB3's multilayer perceptron policies.
    """
    known = set(names)

    def linear(prefix: str) -> tuple[str, ...]:
        """The layers ``prefix.N`` that have a weight, in the order of N."""
        pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.weight")
        numbers = sorted(int(m[1]) for m in map(pattern.fullmatch, known) if m)
        return tuple(f"{prefix}.{number}" for number in numbers)

    if algorithm == "ppo":
        vectors = ("log_std",) if "log_std" in known else ()
        hidden = linear("mlp_extractor.policy_net")
        found = [
            Network("actor", "actor", hidden, ("action_net",), vectors=vectors),
        ]
        if any(map(is_of_critic, known)):
            found.append(Network("value", "critic", linear("mlp_extractor.value_net"), ("value_net",)))
    elif algorithm in ("sac", "tqc", "crossq"):
        found = [Network("actor", "actor", linear("actor.latent_pi"), ("actor.mu", "actor.log_std"))]
    elif algorithm == "td3":
        layers = linear("actor.mu")
        found = [Network("actor", "actor", layers[:-1], layers[-1:])]
    else:
        raise WarmstartError(
            f"The networks of {algorithm!r} aren't known. Expected ppo, sac, td3, tqc or crossq."
        )
    for number in sorted({int(m[1]) for name in known if (m := re.match(r"critic\.qf(\d+)\.", name))}):
        layers = linear(f"critic.qf{number}")
        found.append(Network(f"qf{number}", "critic", layers[:-1], layers[-1:], takes_actions=True))
    found = [_with_blocks(network, known) for network in found]
    for network in found:
        missing = [f"{head}.weight" for head in network.heads if f"{head}.weight" not in known]
        if missing or not network.heads:
            raise WarmstartError(
                f"The {network.name} network can't be aligned: {', '.join(missing) or 'its layers'} not "
                "found. Only SB3's multilayer perceptron policies without gSDE can be aligned; other "
                "policies need equal spaces and equal architectures."
            )
    return tuple(found)


def _with_blocks(network: Network, known: set[str]) -> Network:
    if not network.hidden:
        return network
    base = re.escape(network.hidden[0].rpartition(".")[0])
    inside = (name for name in known if re.fullmatch(rf"{base}\.\d+\.(norm|up|down)\.\w+", name))
    return replace(network, inside=tuple(sorted(inside)))


def target_of(name: str) -> str | None:
    """Return the online parameter that a target network's parameter follows, or ``None``."""
    for prefix, online in (("critic_target.", "critic."), ("actor_target.", "actor.")):
        if name.startswith(prefix):
            return online + name.removeprefix(prefix)
    return None


@dataclass(frozen=True)
class Widening:
    """Which old unit each unit of the wider layer copies."""

    origins: NDArray[np.int64]
    """Index of the old unit. Shape: (new width,)."""

    shares: NDArray[np.float64]
    """1 / number of copies of the old unit. Shape: (new width,)."""

    @property
    def trivial(self) -> bool:
        """Whether the layer keeps its width."""
        return bool(np.all(self.shares == 1.0))


def widen(width: int, new_width: int, generator: np.random.Generator, where: str) -> Widening:
    """Choose the units to copy: all old ones, then random ones (eq. 3 of the paper).

    Args:
        width: Units of the source.
        new_width: Units of the target.
        generator: Draws the units that are copied again; unused when the widths are equal.
        where: Name of the layer, for the message.

    Raises:
        WarmstartError: If the target is narrower: no choice of units preserves the function.
    """
    if new_width < width:
        raise WarmstartError(
            f"{where} has {width} units in the source and {new_width} in the target. A layer can be widened "
            f"(function-preserving), not narrowed: build the target with at least {width} units."
        )
    origins = np.arange(width)
    if new_width > width:
        origins = np.concatenate([origins, generator.integers(0, width, new_width - width)])
    return Widening(origins, 1.0 / np.bincount(origins, minlength=width)[origins])


def widen_rows(tensor: torch.Tensor, widening: Widening) -> torch.Tensor:
    """Copy the rows (incoming weights, or biases) of the units. Shape: (old, …) → (new, …)."""
    return tensor[torch.from_numpy(widening.origins)]


def widen_columns(tensor: torch.Tensor, widening: Widening) -> torch.Tensor:
    """Copy and divide the columns (outgoing weights) of the units. Shape: (outputs, old) → (outputs, new)."""
    shares = torch.from_numpy(widening.shares).to(tensor)
    return tensor[:, torch.from_numpy(widening.origins)] * shares


def add_noise(
    tensor: torch.Tensor, widening: Widening, noise: float, generator: np.random.Generator
) -> torch.Tensor:
    """Disturb the rows of copied units, so that training can tell the copies apart (section 2.2).

    Args:
        tensor: Widened incoming weights. Shape: (new, inputs).
        widening: The origins of its rows.
        noise: Standard deviation, as a fraction of that of the tensor; 0 leaves it exact.
        generator: Draws the noise.

    Returns:
        The tensor; rows that have no copy are unchanged.
    """
    if noise == 0.0 or widening.trivial:
        return tensor
    copied = torch.from_numpy(widening.shares < 1.0).to(tensor.device)
    drawn = torch.from_numpy(generator.standard_normal(tuple(tensor.shape))).to(tensor)
    return torch.where(copied[:, None], tensor + drawn * (noise * tensor.std()), tensor)
