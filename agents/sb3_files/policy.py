"""The architecture of a policy in a zip of stable-baselines3, in today's terms, whatever version wrote it."""

import base64
import re
from collections.abc import Mapping
from typing import Any

import torch

from warmstart.agents.checkpoints.architecture import (
    ACTIVATIONS,
    EXTRACTORS,
    POLICIES,
    is_simba,
    kwargs_from_json,
)
from warmstart.agents.checkpoints.recurrent import RECURRENT
from warmstart.agents.sb3_files.classes import class_name
from warmstart.agents.untrusted.pickles import Called, read_pickle
from warmstart.core.errors import WarmstartError

Tensors = dict[str, torch.Tensor]

_LIBRARIES = frozenset({"stable_baselines3", "sb3_contrib", "torch", "warmstart"})

SHARED = "mlp_extractor.shared_net."
"""Layers that actor and critic shared, in SB3 before 1.8."""

RETIRED = {"sde_net_arch": None, "device": None, "lr_schedule": None}
"""Entries of ``policy_kwargs`` that old versions knew; only these values can be read over."""


def architecture(
    algorithm: str, data: Mapping[str, Any], policy: str, tensors: Tensors
) -> tuple[dict[str, Any], Tensors, tuple[str, ...]]:
    """What it takes to build a zip's policy again.

    Args:
        algorithm: ``ppo``, ``sac``, ``td3``, ``tqc`` or ``crossq``.
        data: The zip's ``data``.
        policy: Full name of the policy's class.
        tensors: Parameters by their names in the zip, in the shapes they have there.

    Returns:
        The policy's arguments as plain values, its parameters by today's names with their shapes as they
        were, and what was changed or left behind, a sentence each.

    Raises:
        WarmstartError: Something in it can't be built again exactly; it is named.
    """
    out: dict[str, Any] = {"policy_class": _policy_class(algorithm, policy)}
    notes: list[str] = []
    for name, value in _policy_kwargs(data).items():
        if name == "activation_fn":
            out["activation"] = _key_of("activation function", value, ACTIVATIONS, "ACTIVATIONS")
        elif name == "features_extractor_class":
            out["features_extractor"] = _key_of("features extractor", value, EXTRACTORS, "EXTRACTORS")
        elif name in ("optimizer_class", "optimizer_kwargs"):
            usual = ("torch.optim.adam.Adam", "torch.optim.adamw.AdamW" if is_simba(out) else "")
            if name == "optimizer_class" and _name(value) not in usual:
                notes.append(f"Its optimizer {_name(value)} isn't carried over; the target trains with Adam.")
        elif name in RETIRED and value == RETIRED[name]:
            continue
        else:
            out[name] = _plain(name, value)
    if out.get("use_sde") is False:
        del out["use_sde"]
    if algorithm in ("ppo", RECURRENT) and data.get("use_sde"):
        out["use_sde"] = True
    tensors, changed = _without_shared_layers(out, tensors)
    kwargs_from_json(out)
    return out, _split_extractor(algorithm, tensors), (*notes, *changed)


def _policy_class(algorithm: str, policy: str) -> str:
    """The policy's class in the table, of the library that the zip names."""
    module, _, name = policy.rpartition(".")
    known = POLICIES[algorithm].get(name)
    if known is not None and _same_home(known, module):
        return name
    named = f"the class {policy}" if policy else "a class that the file doesn't name"
    raise WarmstartError(
        f"the policy is of {named}, which may compute something else "
        f"from the same tensors; expected {', '.join(sorted(POLICIES[algorithm]))}. If it is your own, add "
        "it under its name to warmstart.agents.checkpoints.architecture.POLICIES, in a plugin "
        "(--plugin FILE.py)."
    )


def _policy_kwargs(data: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the policy, by their pickle where they aren't plain."""
    described = data.get("policy_kwargs")
    if described is None:
        return {}
    if not isinstance(described, Mapping):
        raise WarmstartError(f"policy_kwargs: expected a mapping, found {type(described).__name__}.")
    if ":serialized:" not in described:
        return dict(described)
    try:
        found = read_pickle(base64.b64decode(str(described[":serialized:"])))
    except ValueError as error:
        raise WarmstartError(f"policy_kwargs: {error}.") from error
    if not isinstance(found, dict):
        raise WarmstartError("policy_kwargs: its pickle holds no mapping.")
    return {str(name): value for name, value in found.items()}


def _name(value: Any) -> str:
    return class_name(value) if isinstance(value, Called) else str(value)


def _key_of(kind: str, value: Any, table: Mapping[str, type], place: str) -> str:
    """Key of a class that the zip names."""
    for key, cls in table.items():
        if _name(value) == f"{cls.__module__}.{cls.__qualname__}":
            return key
    name = _name(value)
    module, _, last = name.rpartition(".")
    for key, cls in table.items():
        theirs = cls.__module__.partition(".")[0] in _LIBRARIES and not cls.__module__.startswith(
            "warmstart."
        )
        if last == cls.__qualname__ and not theirs and _same_home(cls, module):
            return key
    raise WarmstartError(
        f"the {kind} {name} can't be built again; known: {', '.join(table)}. If it is your own, add it under "
        f"its name to warmstart.agents.checkpoints.architecture.{place}, in a plugin (--plugin FILE.py)."
    )


def _same_home(cls: type, module: str) -> bool:
    """Whether a class may be the one of its name in a zip's module: of the same library, or both of users.

    A user's class had another module where the zip was written: that of a script, or of its notebook.
    """
    own, written = cls.__module__.partition(".")[0], module.partition(".")[0]
    return own == written or (own not in _LIBRARIES and written not in _LIBRARIES)


def _plain(name: str, value: Any) -> Any:
    """A value without objects.

    Raises:
        WarmstartError: It holds one; it is named.
    """
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(name, item) for key, item in value.items()}
    if hasattr(value, "item") and not isinstance(value, Called):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise WarmstartError(f"policy_kwargs: {name} holds {_name(value)}, which can't be built again.")


def _without_shared_layers(kwargs: dict[str, Any], tensors: Tensors) -> tuple[Tensors, tuple[str, ...]]:
    """Give actor and critic a copy each of the layers that they shared; ``net_arch`` gets today's form."""
    net_arch = kwargs.get("net_arch")
    held = any(name.startswith(SHARED) for name in tensors)
    if not isinstance(net_arch, list) or not (held or any(isinstance(item, dict) for item in net_arch)):
        return tensors, ()
    widths = [item for item in net_arch if isinstance(item, int)]
    parts = [item for item in net_arch if isinstance(item, dict)]
    own = parts[0] if parts else {}
    listed = all(isinstance(own.get(key, ()), list | tuple) for key in ("pi", "vf"))
    ordered = len(widths) + len(parts) == len(net_arch) and net_arch[: len(widths)] == widths
    if not ordered or len(parts) > 1 or not listed:
        raise WarmstartError(f"policy_kwargs: net_arch {net_arch} is none that SB3 builds.")
    kwargs["net_arch"] = {key: [*widths, *own.get(key, ())] for key in ("pi", "vf")}
    out: Tensors = {}
    for name, value in tensors.items():
        if name.startswith(SHARED):
            for network in ("policy_net", "value_net"):
                out[f"mlp_extractor.{network}.{name.removeprefix(SHARED)}"] = value.clone()
            continue
        match = re.fullmatch(r"(mlp_extractor\.(?:policy|value)_net)\.(\d+)\.(.+)", name)
        out[f"{match[1]}.{int(match[2]) + 2 * len(widths)}.{match[3]}" if match else name] = value
    if not widths:
        return out, ()
    return out, (
        f"Its actor and critic share {len(widths)} layers, as in SB3 before 1.8: each has a copy now. The "
        "actions and values are the same; trained further, the copies part.",
    )


def _split_extractor(algorithm: str, tensors: Tensors) -> Tensors:
    """Name a shared features extractor's parameters also for actor and critic, as PPO has since SB3 1.7."""
    prefix = "features_extractor."
    if algorithm not in ("ppo", RECURRENT) or any(name.startswith(f"pi_{prefix}") for name in tensors):
        return tensors
    held = {name: value for name, value in tensors.items() if name.startswith(prefix)}
    return tensors | {f"{part}_{name}": value for part in ("pi", "vf") for name, value in held.items()}
