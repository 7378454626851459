"""What rsl_rl's checkpoints hold under which names, by version, brought into one form.

Known are the files of ``OnPolicyRunner.save`` with PPO and multilayer perceptrons (read in rsl-rl-lib 2.1.1,
2.2.4, 2.3.3, 3.0.1, 3.3.0, 4.0.1, 5.0.1 and 5.5.1 on PyPI):

==========  ===================================  =====================================================
version     networks                             normalisers
==========  ===================================  =====================================================
2.1 – 2.3   ``model_state_dict``: ``actor.0``…,  ``obs_norm_state_dict``, and for the critic
            ``critic.0``…, ``std``, from 2.2 on  ``critic_obs_norm_state_dict``, in 2.3
            ``log_std``                          ``privileged_obs_norm_state_dict``
3.0 – 3.3   the same                             ``actor_obs_normalizer.``, ``critic_obs_normalizer.``
4.0         ``actor_state_dict``, ``critic_…``:  ``obs_normalizer.`` in each
            ``mlp.0``…, ``std``, ``log_std``
5.0 – 5.5   the same, ``distribution.std_param``,  the same
            ``distribution.log_std_param``
==========  ===================================  =====================================================

mjlab 1.0 writes rsl_rl 3.1's files, mjlab 1.6 those of 5.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from warmstart.agents.encoders.tensors import check_tensors
from warmstart.agents.rsl_rl_files.networks import Network, Tensors, kind_of, read_network, unread, what
from warmstart.core.bounds import show
from warmstart.core.errors import WarmstartError

MODEL, ACTOR, CRITIC = "model_state_dict", "actor_state_dict", "critic_state_dict"
STUDENT, TEACHER = "student_state_dict", "teacher_state_dict"
NORMALIZERS = {
    "obs_norm_state_dict": "actor",
    "critic_obs_norm_state_dict": "critic",
    "privileged_obs_norm_state_dict": "critic",
}
"""Whose statistics versions before 3 keep beside the networks."""
CURIOSITY = ("rnd_state_dict", "rnd_optimizer_state_dict")
OTHERS = ("optimizer_state_dict", "iter", "infos", *CURIOSITY)
"""What stands beside the networks and isn't the policy's."""
KEYS = (MODEL, ACTOR, CRITIC, *NORMALIZERS, *OTHERS)

PARTS = {"actor": "actor", "critic": "critic", "actor_obs_normalizer": "actor"}
PARTS |= {"critic_obs_normalizer": "critic", "std": "actor", "log_std": "actor"}
"""Whose the tensors of ``model_state_dict`` are, by the first part of their names."""
STDS = {
    "std": False,
    "log_std": True,
    "distribution.std_param": False,
    "distribution.log_std_param": True,
}
"""Names of the standard deviation, and whether it is the logarithm."""


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds, whatever version wrote it."""

    version: str
    """Versions of rsl_rl that write such files."""
    actor: Network
    """Gives the means of the actions."""
    log_std: torch.Tensor
    """Logarithm of the actions' standard deviations. Shape: (actions,)."""
    critic: Network | None
    """Gives the value; ``None`` where it can't be that of the actor's observations."""
    missing: str
    """Why there is no critic, in words; empty where there is one."""
    iterations: int
    """Iterations of training."""
    curiosity: bool
    """Whether networks of random network distillation stand beside."""


def read_layout(content: Any) -> Saved:
    """Bring what a checkpoint holds into one form.

    Args:
        content: What ``torch.save`` was given: mappings, plain values and tensors.

    Raises:
        WarmstartError: It isn't a PPO checkpoint of rsl_rl, or of an actor that can't be read; says which.
    """
    if not isinstance(content, Mapping):
        raise WarmstartError(
            f"it holds a {type(content).__name__}, expected a mapping with {MODEL} or {ACTOR}."
        )
    names = [str(key) for key in content]
    if STUDENT in content or TEACHER in content:
        raise WarmstartError(
            f"a checkpoint of distillation ({STUDENT}): give the teacher's, which PPO trained."
        )
    if (MODEL in content) == (ACTOR in content):
        raise WarmstartError(f"expected {MODEL} or {ACTOR}, found {_some(names)}.")
    unknown = [name for name in names if name not in KEYS]
    if unknown:
        raise WarmstartError(
            f"{_some(unknown)} is not of rsl_rl's PPO and may belong to the policy; expected "
            f"{', '.join(KEYS)}."
        )
    parts = _parts(content)
    version = _version(content, parts["actor"])
    for name, tensors in parts.items():
        check_tensors(tensors, f"the {name}")
    log_std = _log_std(parts["actor"])
    actor = read_network(parts["actor"], "actor")
    if len(actor.layers[-1][1]) != len(log_std):
        raise WarmstartError(
            f"the actor gives {len(actor.layers[-1][1])} numbers and there are {len(log_std)} standard "
            "deviations: expected one for each action."
        )
    critic, missing = _critic(parts["critic"], actor)
    iterations = content.get("iter", 0)
    if isinstance(iterations, bool) or not isinstance(iterations, int) or not 0 <= iterations < 1 << 62:
        raise WarmstartError(f"iter: expected a whole number at least 0, found {show(iterations)}.")
    curiosity = any(name in content for name in CURIOSITY)
    return Saved(version, actor, log_std, critic, missing, iterations, curiosity)


def _parts(content: Mapping[Any, Any]) -> dict[str, Tensors]:
    """Tensors of actor and critic by the names that rsl_rl 4 gives them."""
    if ACTOR in content:
        found = {"actor": _tensors(content, ACTOR), "critic": _tensors(content, CRITIC)}
    else:
        found = {"actor": {}, "critic": {}}
        for name, tensor in _tensors(content, MODEL).items():
            first, _, rest = name.partition(".")
            if first not in PARTS:
                raise WarmstartError(unread(name, f"{MODEL}: "))
            inside = "obs_normalizer" if first.endswith("normalizer") else "mlp"
            found[PARTS[first]][f"{inside}.{rest}" if rest else first] = tensor
    for key, part in NORMALIZERS.items():
        if key in content:
            beside = {f"obs_normalizer.{name}": tensor for name, tensor in _tensors(content, key).items()}
            twice = beside.keys() & found[part].keys()
            if twice:
                raise WarmstartError(f"{key}: the {part}'s normaliser is there twice.")
            found[part] |= beside
    return found


def _tensors(content: Mapping[Any, Any], key: str) -> Tensors:
    held = content.get(key)
    if not isinstance(held, Mapping) or not all(isinstance(value, torch.Tensor) for value in held.values()):
        found = "nothing" if held is None else "something else"
        raise WarmstartError(f"{key}: expected tensors by name, found {found}.")
    return {str(name): value.detach() for name, value in held.items()}


def _version(content: Mapping[Any, Any], actor: Tensors) -> str:
    if ACTOR in content:
        return "5" if any(name.startswith("distribution.") for name in actor) else "4"
    if any(key in content for key in NORMALIZERS):
        return "2"
    return "3" if any(name.startswith("obs_normalizer.") for name in actor) else "1 to 3"


def _log_std(actor: Tensors) -> torch.Tensor:
    """Take the standard deviation out of the actor's tensors."""
    held = [name for name in STDS if name in actor]
    for name in actor:
        if kind_of(name):
            raise WarmstartError(unread(name, "the actor: "))
    if len(held) != 1:
        raise WarmstartError(
            f"the actor has {' and '.join(held)}; expected one of them."
            if held
            else "the actor has no std of its own: it depends on the state, or the actions are Beta's; "
            "expected a Gaussian with one standard deviation for each action (std or log_std)."
        )
    value = actor.pop(held[0])
    if value.dim() != 1 or value.dtype != torch.float32:
        raise WarmstartError(f"{held[0]}: expected a float32 vector, found {what(value)}.")
    if not STDS[held[0]] and not bool((value > 0).all()):
        raise WarmstartError(f"{held[0]}: expected positive numbers, found {float(value.min()):g}.")
    return value.clone() if STDS[held[0]] else value.log()


def _critic(tensors: Tensors, actor: Network) -> tuple[Network | None, str]:
    """The critic, where it reads what the actor reads; else why not."""
    try:
        found = read_network(tensors, "critic")
    except WarmstartError as error:
        return None, str(error).rstrip(".")
    if len(found.layers[-1][1]) != 1:
        return None, f"it gives {len(found.layers[-1][1])} values"
    if found.inputs != actor.inputs:
        return None, f"it reads {found.inputs} observations and the actor {actor.inputs}"
    theirs, ours = found.statistics, actor.statistics
    same = theirs is ours or (theirs is not None and ours is not None and theirs.agrees(ours))
    return (found, "") if same else (None, "its observations are standardised otherwise than the actor's")


def _some(names: list[str]) -> str:
    shown = ", ".join(show(name) for name in names[:5])
    return (shown or "nothing") + (f", … ({len(names)} in all)" if len(names) > 5 else "")
