"""The networks of a policy as plain values, and the policy built from them without an environment."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib import TQC, CrossQ, RecurrentPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from stable_baselines3.ppo import PPO
from stable_baselines3.sac import SAC
from stable_baselines3.td3 import TD3
from torch import nn

from warmstart.agents.checkpoints.recurrent import RECURRENT, RECURRENT_POLICIES
from warmstart.agents.extractors.extractor import EncoderExtractor
from warmstart.agents.extractors.normed import NORMED
from warmstart.agents.extractors.policies import ENCODER_POLICIES
from warmstart.agents.extractors.simba import EXPANSION, SIMBA_POLICIES
from warmstart.agents.observing.asymmetric import ASYMMETRIC_POLICIES
from warmstart.agents.observing.history import AdaptationExtractor
from warmstart.agents.observing.privileged import ContextExtractor
from warmstart.core.bounds import Settings, State, show
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import placed, to_plain

SB3_ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "ppo": PPO,
    "sac": SAC,
    "td3": TD3,
    "tqc": TQC,
    "crossq": CrossQ,
}
"""The classes of stable-baselines3 and sb3-contrib, by name."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    **dict(NORMED.values()),
}

EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {
    "FlattenExtractor": FlattenExtractor,
    "CombinedExtractor": CombinedExtractor,
    "NatureCNN": NatureCNN,
    "EncoderExtractor": EncoderExtractor,
    "ContextExtractor": ContextExtractor,
    "AdaptationExtractor": AdaptationExtractor,
}
"""Features extractors that a checkpoint may name; a plugin adds its own under its class's name."""

POLICIES: dict[str, dict[str, type[BasePolicy]]] = {
    name: {cls.__name__: cls for cls in algorithm.policy_aliases.values()}
    for name, algorithm in SB3_ALGORITHMS.items()
}
"""Policy classes that a checkpoint may name, by algorithm; a plugin adds its own under its class's name."""
for _algorithm, _policy in (
    *ENCODER_POLICIES.items(),
    *ASYMMETRIC_POLICIES.items(),
    *SIMBA_POLICIES.items(),
):
    POLICIES[_algorithm][_policy.__name__] = _policy
POLICIES[RECURRENT] = dict(RECURRENT_POLICIES)

PLAIN_KWARGS = frozenset(
    {
        "lstm_hidden_size",
        "n_lstm_layers",
        "shared_lstm",
        "enable_critic_lstm",
        "lstm_kwargs",
        "net_arch",
        "ortho_init",
        "use_sde",
        "log_std_init",
        "full_std",
        "use_expln",
        "squash_output",
        "clip_mean",
        "n_critics",
        "n_quantiles",
        "batch_norm",
        "batch_norm_momentum",
        "batch_norm_eps",
        "renorm_warmup_steps",
        "share_features_extractor",
        "normalize_images",
        "features_extractor_kwargs",
    }
)
"""Entries of SB3's ``policy_kwargs`` that are plain values already."""

CLASS_KWARGS: dict[str, tuple[str, Mapping[str, type]]] = {
    "activation_fn": ("activation", ACTIVATIONS),
    "features_extractor_class": ("features_extractor", EXTRACTORS),
}
"""Entries that are classes: under which key a checkpoint has their name, and the table of names."""
EXTRACTOR_SIZES = frozenset(
    {"features_dim", "cnn_output_dim", "latent_dim", "embedding", "adapter_rank", "frames", "n_actions"}
)
"""Arguments of features extractors, SB3's and ours, by which they grow."""
UNBUILDABLE = (
    TypeError,
    ValueError,
    AssertionError,
    RuntimeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
"""What SB3 and torch raise at arguments that make no policy."""
UNRECORDED = ("optimizer_class", "optimizer_kwargs")


def is_simba(policy_kwargs: Settings) -> bool:
    """Whether a recorded policy has SimBa's networks."""
    return policy_kwargs.get("policy_class") in [cls.__name__ for cls in SIMBA_POLICIES.values()]


def algorithm_name(model: BaseAlgorithm) -> str:
    """Its name in `SB3_ALGORITHMS`.

    Raises:
        WarmstartError: If the model is of another class.
    """
    for name, cls in SB3_ALGORITHMS.items():
        if isinstance(model, cls):
            return name
    raise WarmstartError(
        f"Expected a model of {', '.join(cls.__name__ for cls in SB3_ALGORITHMS.values())} (ours or SB3's), "
        f"found {type(model).__name__}."
    )


def kwargs_to_json(kwargs: Settings) -> State:
    """SB3's ``policy_kwargs`` as plain values; the optimizer's are left out. Classes may be their prints.

    Raises:
        WarmstartError: If an entry can't be recorded, because its class isn't in the tables of this module.
    """
    out: State = {}
    for name, value in kwargs.items():
        if name in PLAIN_KWARGS:
            out[name] = placed(("policy_kwargs", name), to_plain, value)
        elif name in CLASS_KWARGS:
            key, table = CLASS_KWARGS[name]
            out[key] = _name_of(key, value, table)
        elif name not in UNRECORDED:
            raise WarmstartError(f"policy_kwargs[{name!r}] can't be recorded in a checkpoint.")
    return out


def kwargs_from_json(values: Settings) -> State:
    """Inverse of ``kwargs_to_json``."""
    out: State = {name: value for name, value in values.items() if name in PLAIN_KWARGS}
    for name, (key, table) in CLASS_KWARGS.items():
        if key in values:
            out[name] = _lookup(key.replace("_", " "), values[key], table)
    known = {*PLAIN_KWARGS, "policy_class", *(key for key, _ in CLASS_KWARGS.values())}
    for name in values:
        if name not in known:
            raise unknown_name("entry of policy_kwargs", name, known)
    return out


def policy_kwargs_of(model: BaseAlgorithm) -> State:
    """What it takes to build a model's policy again, as plain values, defaults of SB3 left out."""
    kwargs = dict(model.policy_kwargs)
    if model.use_sde:
        kwargs["use_sde"] = True
    else:
        kwargs.pop("use_sde", None)
    out = kwargs_to_json(kwargs)
    name = type(model.policy).__name__
    if POLICIES[algorithm_name(model)].get(name) is not type(model.policy):
        raise WarmstartError(
            f"The policy class {name} can't be recorded in a checkpoint: add it to "
            "warmstart.agents.checkpoints.architecture.POLICIES, in a plugin, so that it can be built again."
        )
    return {"policy_class": name, **out}


def build_policy(
    algorithm: str,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    policy_kwargs: Settings,
) -> BasePolicy:
    """Build SB3's policy module for these spaces, without an environment; weights are fresh.

    The global torch generator is left as it was.

    Args:
        algorithm: ``ppo``, ``sac``, ``td3``, ``tqc``, ``crossq`` or ``recurrent_ppo``.
        observation_space: What the policy takes.
        action_space: What it gives.
        policy_kwargs: Plain values, as a checkpoint records them.

    Raises:
        WarmstartError: If SB3 can't build a policy of them.
    """
    cls = policy_class(algorithm, observation_space, policy_kwargs)
    kwargs = kwargs_from_json(policy_kwargs)
    try:
        with torch.random.fork_rng(devices=[]):
            return cls(observation_space, action_space, lambda _: 0.0, **kwargs)  # type: ignore[no-any-return]
    except UNBUILDABLE as error:
        raise WarmstartError(
            f"No {cls.__name__} can be built for {observation_space} and {action_space} with "
            f"{show(dict(policy_kwargs))}: {str(error) or type(error).__name__}"
        ) from error


def check_size(policy_kwargs: Settings, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse an architecture that is larger than the tensors that it is to hold, before it is built.

    Raises:
        WarmstartError: A layer is larger than the largest tensor, or there are more of them than tensors.
    """
    told = show(dict(policy_kwargs))
    largest = max((tensor.numel() for tensor in tensors.values()), default=0)
    written, extractor = policy_kwargs.get("net_arch", []), policy_kwargs.get("features_extractor_kwargs", {})
    networks = list(written.values()) if isinstance(written, Mapping) else [written]
    if not all(isinstance(units, list | tuple) for units in networks) or not isinstance(extractor, Mapping):
        raise WarmstartError(f"{told}: expected lists of units in net_arch.")
    every = [unit for units in networks for unit in units]
    if any(isinstance(unit, bool) or not isinstance(unit, int) or unit < 1 for unit in every):
        raise WarmstartError(f"{told}: expected whole numbers from 1 in net_arch.")
    sizes = [a * b for units in networks for a, b in itertools.pairwise([1, *units])]
    sizes += [n for name, n in extractor.items() if name in EXTRACTOR_SIZES and isinstance(n, int)]
    many = [policy_kwargs.get("n_critics", 0), policy_kwargs.get("n_lstm_layers", 0), len(every)]
    if is_simba(policy_kwargs):
        sizes += [EXPANSION * unit * unit for unit in every]
    lstm = policy_kwargs.get("lstm_hidden_size")
    sizes += [4 * lstm * lstm] if isinstance(lstm, int) else []
    if max(sizes, default=0) > largest or any(isinstance(n, int) and n > len(tensors) for n in many):
        raise WarmstartError(
            f"{told}: a larger network than its {len(tensors)} tensors, the largest of which has {largest:,} "
            "numbers."
        )


def policy_class(algorithm: str, observation_space: spaces.Space[Any], policy_kwargs: Settings) -> Any:
    """The class of a policy: the one that is recorded, or SB3's usual one for such observations."""
    default = "MultiInputPolicy" if isinstance(observation_space, spaces.Dict) else "MlpPolicy"
    if "policy_class" not in policy_kwargs:
        if algorithm == RECURRENT:
            return RecurrentPPO.policy_aliases[default.replace("MlpPolicy", "MlpLstmPolicy")]
        return SB3_ALGORITHMS[algorithm].policy_aliases[default]
    return _lookup("policy class", policy_kwargs["policy_class"], POLICIES[algorithm])


def _name_of(kind: str, cls: Any, table: Mapping[str, type]) -> str:
    for name, known in table.items():
        if str(cls) == str(known):
            return name
    raise WarmstartError(
        f"The {kind.replace('_', ' ')} {cls} can't be recorded in a checkpoint or built from one; known: "
        f"{', '.join(table)}. Add it to the table in warmstart.agents.checkpoints.architecture, in a plugin."
    )


def _lookup(kind: str, name: Any, table: Mapping[str, type]) -> Any:
    if not isinstance(name, str):
        raise WarmstartError(f"Expected the name of a {kind} ({', '.join(table)}), found {show(name)}.")
    if name not in table:
        raise unknown_name(kind, name, table)
    return table[name]
