"""Which tensors of an SB3 policy form which network, and what its inputs and outputs mean.

Alignment needs to know that column 3 of ``mlp_extractor.policy_net.0.weight`` is an observation and row 1 of
``action_net.weight`` an action. Imports nothing of ours but the errors.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from warmstart.core.errors import WarmstartError


@dataclass(frozen=True)
class Network:
    """One multilayer perceptron: hidden layers in a row, then output layers that all read the last."""

    name: str
    """``actor``, ``value``, ``qf0`` …"""

    role: Literal["actor", "critic"]
    """What the network is for."""

    hidden: tuple[str, ...]
    """Prefixes of the hidden linear layers, in order."""

    heads: tuple[str, ...]
    """Prefixes of the output layers."""

    takes_actions: bool
    """Whether the inputs are observations followed by actions, not observations alone."""

    gives_actions: bool
    """Whether each output row is an action, not a value."""

    vectors: tuple[str, ...] = ()
    """Parameters with one entry per action that belong to the network (``log_std`` of PPO)."""

    @property
    def first(self) -> tuple[str, ...]:
        """The layers that read the inputs."""
        return self.hidden[:1] or self.heads


def networks(algorithm: str, names: Iterable[str]) -> tuple[Network, ...]:
    """Find the networks of a policy, without the target networks, which follow these.

    Args:
        algorithm: ``ppo``, ``sac`` or ``td3``.
        names: Names in the policy's ``state_dict``.

    Returns:
        The actor and the critics.

    Raises:
        WarmstartError: If the names aren't those of SB3's multilayer perceptron policies.
    """
    known = set(names)
    found: tuple[Network, ...]
    if algorithm == "ppo":
        found = (
            Network(
                "actor",
                "actor",
                _linear(known, "mlp_extractor.policy_net"),
                ("action_net",),
                False,
                True,
                ("log_std",) if "log_std" in known else (),
            ),
            Network(
                "value", "critic", _linear(known, "mlp_extractor.value_net"), ("value_net",), False, False
            ),
        )
    elif algorithm == "sac":
        actor = Network(
            "actor", "actor", _linear(known, "actor.latent_pi"), ("actor.mu", "actor.log_std"), False, True
        )
        found = (actor, *_q_networks(known))
    elif algorithm == "td3":
        layers = _linear(known, "actor.mu")
        found = (Network("actor", "actor", layers[:-1], layers[-1:], False, True), *_q_networks(known))
    else:
        raise WarmstartError(f"The networks of {algorithm!r} aren't known. Expected ppo, sac or td3.")
    for network in found:
        missing = [f"{head}.weight" for head in network.heads if f"{head}.weight" not in known]
        if missing or not network.heads:
            raise WarmstartError(
                f"The {network.name} network can't be aligned: {', '.join(missing) or 'its layers'} not "
                "found. Only SB3's multilayer perceptron policies without gSDE can be aligned; other "
                "policies need equal spaces and equal architectures."
            )
    return found


def target_of(name: str) -> str | None:
    """Return the online parameter that a target network's parameter follows, or ``None``."""
    for prefix, online in (("critic_target.", "critic."), ("actor_target.", "actor.")):
        if name.startswith(prefix):
            return online + name.removeprefix(prefix)
    return None


def _q_networks(known: set[str]) -> tuple[Network, ...]:
    numbers = sorted({int(found[1]) for name in known if (found := re.match(r"critic\.qf(\d+)\.", name))})
    layers = [_linear(known, f"critic.qf{number}") for number in numbers]
    return tuple(
        Network(f"qf{number}", "critic", of[:-1], of[-1:], True, False)
        for number, of in zip(numbers, layers, strict=True)
    )


def _linear(known: set[str], prefix: str) -> tuple[str, ...]:
    """Return the layers ``prefix.N`` that have a weight, in the order of N."""
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.weight")
    numbers = sorted(int(found[1]) for name in known if (found := pattern.fullmatch(name)))
    return tuple(f"{prefix}.{number}" for number in numbers)
