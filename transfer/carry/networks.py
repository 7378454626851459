"""Which tensors of an SB3 policy form which network, and what its inputs and outputs mean.

Alignment needs to know that column 3 of ``mlp_extractor.policy_net.0.weight`` is an observation and row 1 of
``action_net.weight`` an action.
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

    takes_actions: bool = False
    """Whether the inputs are observations followed by actions, not observations alone."""

    vectors: tuple[str, ...] = ()
    """Parameters with one entry per action that belong to the network (``log_std`` of PPO)."""

    @property
    def gives_actions(self) -> bool:
        """Whether each output row is an action, not a value."""
        return self.role == "actor"


def networks(algorithm: str, names: Iterable[str]) -> tuple[Network, ...]:
    """Find the networks of a policy, without the target networks, which follow these.

    Args:
        algorithm: ``ppo``, ``sac`` or ``td3``.
        names: Names in the policy's ``state_dict``.

    Returns:
        The actor and the critics.

    Raises:
        WarmstartError: The names aren't those of SB3's multilayer perceptron policies.
    """
    known = set(names)

    def linear(prefix: str) -> tuple[str, ...]:
        """The layers ``prefix.N`` that have a weight, in the order of N."""
        pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.weight")
        return tuple(
            f"{prefix}.{number}" for number in sorted(int(m[1]) for m in map(pattern.fullmatch, known) if m)
        )

    if algorithm == "ppo":
        vectors = ("log_std",) if "log_std" in known else ()
        hidden = linear("mlp_extractor.policy_net")
        found = [
            Network("actor", "actor", hidden, ("action_net",), vectors=vectors),
            Network("value", "critic", linear("mlp_extractor.value_net"), ("value_net",)),
        ]
    elif algorithm == "sac":
        found = [Network("actor", "actor", linear("actor.latent_pi"), ("actor.mu", "actor.log_std"))]
    elif algorithm == "td3":
        layers = linear("actor.mu")
        found = [Network("actor", "actor", layers[:-1], layers[-1:])]
    else:
        raise WarmstartError(f"The networks of {algorithm!r} aren't known. Expected ppo, sac or td3.")
    for number in sorted({int(m[1]) for name in known if (m := re.match(r"critic\.qf(\d+)\.", name))}):
        layers = linear(f"critic.qf{number}")
        found.append(Network(f"qf{number}", "critic", layers[:-1], layers[-1:], takes_actions=True))
    for network in found:
        missing = [f"{head}.weight" for head in network.heads if f"{head}.weight" not in known]
        if missing or not network.heads:
            raise WarmstartError(
                f"The {network.name} network can't be aligned: {', '.join(missing) or 'its layers'} not "
                "found. Only SB3's multilayer perceptron policies without gSDE can be aligned; other "
                "policies need equal spaces and equal architectures."
            )
    return tuple(found)


def target_of(name: str) -> str | None:
    """Return the online parameter that a target network's parameter follows, or ``None``."""
    for prefix, online in (("critic_target.", "critic."), ("actor_target.", "actor.")):
        if name.startswith(prefix):
            return online + name.removeprefix(prefix)
    return None
