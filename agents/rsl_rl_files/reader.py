"""A file that rsl_rl's PPO runner wrote becomes a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from warmstart.agents.checkpoints.architecture import ACTIVATIONS, check_size
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.normalization import NormalizerState
from warmstart.agents.rsl_rl_files.layouts import ACTOR, MODEL, STUDENT, Saved, read_layout
from warmstart.agents.rsl_rl_files.networks import ADDED_TO_STD
from warmstart.agents.rsl_rl_files.onnx_names import Names, names_for
from warmstart.agents.untrusted.torch_files import LARGEST_PICKLE, MOST_BYTES, read_torch
from warmstart.agents.untrusted.zips import DAMAGE, open_zip
from warmstart.core.errors import WarmstartError, unknown_name

SUFFIXES = (".pt", ".pth")
USUAL = "elu"
"""Activation function of every version's actor and critic, where a configuration names no other."""
THEIR_NAMES = {"lrelu": "leaky_relu", "swish": "silu", "crelu": "elu"}
"""What rsl_rl calls some activation functions; its ``crelu`` is torch's CELU, which with α = 1 is ELU."""
UNCLIPPED = 1e30
"""Bound on a standardised observation that never binds: rsl_rl has none."""
EPSILON = 1e-8
_ADVICE = "Load it where you trust it and save it again without them (infos=None)."


def is_rsl_rl(path: Path) -> bool:
    """Whether a file is for `read_rsl_rl`: rsl_rl's by what it holds, or by its name where it is no zip."""
    try:
        with open_zip(path, MOST_BYTES, what="a zip") as archive:
            inside = [each for each in archive.infolist() if each.filename.endswith("/data.pkl")]
            if _is_script(archive.namelist()):
                return True
            if not inside or inside[0].file_size > LARGEST_PICKLE:
                return False
            content = archive.read(inside[0])
    except (WarmstartError, *DAMAGE):
        return path.suffix in SUFFIXES
    return any(key.encode() in content for key in (MODEL, ACTOR, STUDENT))


def read_rsl_rl(path: Path, *, activation: str | None = None, onnx: str | Path | None = None) -> Checkpoint:
    """Read a file that ``OnPolicyRunner.save`` of rsl_rl 2.1 to 5.5 wrote with PPO; `layouts` lists them.

    Tensors are read by torch's restricted loader. The critic comes along where it reads what the actor reads;
    else the checkpoint has none.

    Args:
        path: The file, such as ``model_1500.pt``.
        activation: Activation function of its networks, by SB3's name or rsl_rl's; ``None`` takes ELU.
        onnx: A file of mjlab's whose metadata name the dimensions; ``None`` looks beside the file.

    Raises:
        WarmstartError: It is damaged, not such a file, or of a policy that can't be built again exactly.
    """
    chosen = USUAL if activation is None else THEIR_NAMES.get(activation, activation)
    if chosen not in ACTIVATIONS:
        raise unknown_name("activation function", chosen, (*ACTIVATIONS, *THEIR_NAMES))
    _check_archive(path)
    content = read_torch(path, str(path), _ADVICE)
    try:
        saved = read_layout(content)
        observations, actions = saved.actor.inputs, len(saved.log_std)
        tensors, policy_kwargs = _policy(saved, chosen)
        check_size(policy_kwargs, tensors)
    except WarmstartError as error:
        raise WarmstartError(f"{path}: {error}") from error
    named = names_for(path, onnx, observations, actions)
    return Checkpoint(
        algorithm="ppo",
        tensors=tensors,
        observation_space=_unbounded(observations),
        action_space=_unbounded(actions),
        policy_kwargs=policy_kwargs,
        observation_layout=named.observations,
        action_layout=named.actions,
        normalizer=_normalizer(saved),
        hyperparameters={"iterations": saved.iterations},
        versions={"rsl_rl": saved.version},
        critic=saved.critic is not None,
        path=path,
        format="rsl_rl",
        notes=tuple(_notes(saved, content, activation is None, named)),
    )


def _check_archive(path: Path) -> None:
    """See that it is an archive of ``torch.save``.

    Raises:
        WarmstartError: It is no such file, an old one, or TorchScript.
    """
    with open_zip(path, MOST_BYTES, what="a file that torch.save wrote (since torch 1.6)") as archive:
        script = _is_script(archive.namelist())
    if script:
        raise WarmstartError(
            f"{path} is a TorchScript policy, which is code: give the checkpoint that it was exported from, "
            "such as model_1500.pt."
        )


def _is_script(names: list[str]) -> bool:
    return any(name.endswith("/constants.pkl") for name in names)


def _policy(saved: Saved, activation: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors by SB3's names, and the arguments of SB3's policy as plain values."""
    tensors = {"log_std": saved.log_std}
    named = {"policy_net": (saved.actor, "action_net"), "value_net": (saved.critic, "value_net")}
    for trunk, (network, head) in named.items():
        for index, pair in enumerate(network.layers if network is not None else ()):
            hidden = network is not None and index < len(network.layers) - 1
            prefix = f"mlp_extractor.{trunk}.{2 * index}" if hidden else head
            tensors |= {
                f"{prefix}.{part}": value for part, value in zip(("weight", "bias"), pair, strict=True)
            }
    net_arch = {"pi": saved.actor.widths, "vf": (saved.critic or saved.actor).widths}
    return tensors, {"policy_class": "ActorCriticPolicy", "net_arch": net_arch, "activation": activation}


def _unbounded(size: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (size,), np.float32)


def _normalizer(saved: Saved) -> NormalizerState | None:
    """``(x − mean) / (std + 0.01)`` as SB3's ``(x − mean) / √(var + ε)``."""
    known = saved.actor.statistics
    if known is None:
        return None
    return NormalizerState(
        mean=known.mean,
        var=(known.std + ADDED_TO_STD) ** 2 - EPSILON,
        count=float(known.count),
        clip=UNCLIPPED,
        epsilon=EPSILON,
        normalize_reward=False,
    )


def _notes(saved: Saved, content: Any, assumed: bool, named: Names) -> list[str]:
    """What the file doesn't say, and what was left behind."""
    notes = []
    if assumed:
        notes.append(
            f"Its activation function isn't in the file: {USUAL}, rsl_rl's usual one, was assumed. If it is "
            "another one, its policy acts otherwise: say which (activation)."
        )
    notes.append(
        "Its actions are numbers without bounds, which its task multiplied (action_scale) and may have "
        "shifted or clipped: they are passed on as they are."
    )
    if saved.critic is None:
        notes.append(f"Its critic is left behind: {saved.missing}. The target keeps a fresh one.")
    else:
        notes.append(
            "Its critic reads as many numbers as the actor, standardised alike: they were taken for the same."
        )
    if saved.actor.statistics is not None:
        notes.append(
            f"It adds {ADDED_TO_STD:g} to each standard deviation and clips no observation: the first is "
            "part of the variances here, and the bound is out of reach."
        )
    infos = content.get("infos")
    state = infos.get("env_state") if isinstance(infos, dict) else None
    steps = state.get("common_step_counter") if isinstance(state, dict) else None
    each = f", {steps:,} steps of each environment" if type(steps) is int else ""
    notes.append(
        f"It trained for {saved.iterations:,} iterations{each}; how many environments there were isn't in "
        "the file, so its steps count as 0."
    )
    if saved.curiosity:
        notes.append("Its networks of random network distillation (rnd) are left behind.")
    return [*notes, *named.notes]
