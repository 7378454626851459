"""Carry the tensors of a policy into a policy with other observations, actions or wider layers.

New inputs get zero columns, so that the aligned policy acts as the source wherever both agree; new actions
get small fresh rows; wider layers copy units (Net2Net). May import ``envs``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.transfer.carry.matching import Matching
from warmstart.transfer.carry.networks import Network, networks, target_of
from warmstart.transfer.carry.report import Action, TransferEntry
from warmstart.transfer.carry.scaling import ActionScaling, Affine
from warmstart.transfer.carry.widening import Widening, add_noise, widen, widen_columns, widen_rows

Tensors = Mapping[str, torch.Tensor]

FRESH_GAIN = 0.01
"""Size of a new action's rows: the gain of SB3's own orthogonal initialisation of PPO's last layer."""


@dataclass(frozen=True)
class Alignment:
    """Everything that says where a number of the target comes from."""

    algorithm: str
    """``ppo``, ``sac`` or ``td3``."""

    observations: Matching
    """Matched observations."""

    observation_inputs: Affine
    """Source observation = factor · target observation + offset, as the networks see them."""

    actions: Matching
    """Matched actions."""

    scaling: ActionScaling
    """Numbers of the matched actions."""

    generator: np.random.Generator
    """Draws fresh rows, and the units that are copied."""

    noise: float = 0.0
    """Noise on copied units, as a fraction of the weights' standard deviation."""

    folded: bool = False
    """Whether ``observation_inputs`` holds the source's normaliser."""

    @property
    def trivial(self) -> bool:
        """Whether source and target have the same dimensions with the same meaning."""
        return (
            self.observations.identity
            and self.observation_inputs.trivial
            and self.actions.indices == tuple(range(len(self.actions.source)))
            and self.scaling.outputs.trivial
            and self.scaling.inputs.trivial
        )


def align(
    source: Tensors, target: Tensors, alignment: Alignment
) -> tuple[dict[str, torch.Tensor], list[TransferEntry]]:
    """Build the target's tensors from the source's.

    Args:
        source: The source policy's ``state_dict``.
        target: The target policy's ``state_dict``: names, shapes, and the values of what has no source.
        alignment: The matched dimensions.

    Returns:
        All tensors of the target by name, and an entry for each, in the target's order.

    Raises:
        WarmstartError: If the networks differ in depth or a layer is narrower, or a tensor of either side has
            no counterpart.
    """
    same_names = source.keys() == target.keys()
    direct = same_names and alignment.trivial and all(source[n].shape == t.shape for n, t in target.items())
    if not same_names:
        _check_depths(alignment.algorithm, source, target)
        _check_names(source, target)
    found: dict[str, torch.Tensor] = {}
    entries: dict[str, TransferEntry] = {}
    if not direct:
        for network in networks(alignment.algorithm, target):
            _align_network(network, source, target, alignment, found, entries)
    for name, tensor in target.items():
        online = target_of(name)
        if online in found:
            entry = entries[online]
            reason = f"follows {online}: {entry.reason}"
            found[name] = found[online].clone()
            entries[name] = TransferEntry(
                name, entry.source_shape, entry.target_shape, entry.action, False, reason
            )
        elif name not in found:
            if source[name].shape != tensor.shape or not (direct or alignment.observations.identity):
                raise WarmstartError(
                    f"The tensor {name} ({_shape(source[name])} in the source, {_shape(tensor)} in the "
                    "target) can't be aligned: only flat observations and multilayer perceptrons can. Use "
                    "equal spaces and the same architecture."
                )
            found[name] = source[name].clone()
            entries[name] = _entry(name, source[name], tensor, "copied", "same dimensions")
    return {name: found[name] for name in target}, [entries[name] for name in target]


def _align_network(
    network: Network,
    source: Tensors,
    target: Tensors,
    alignment: Alignment,
    found: dict[str, torch.Tensor],
    entries: dict[str, TransferEntry],
) -> None:
    """Carry one network, layer by layer; adds its tensors and entries to the last two arguments."""
    previous: Widening | None = None
    for prefix in network.hidden:
        weight, bias = source[f"{prefix}.weight"], source[f"{prefix}.bias"]
        units = len(target[f"{prefix}.bias"])
        where = f"Hidden layer {prefix} of the {network.name} network"
        if weight.ndim == 1:
            if previous is not None and not previous.trivial:
                raise WarmstartError(f"{where} is a layer norm: widening it would change what it computes.")
            _record(prefix, weight, bias, source, alignment, [], False, False, found, entries)
            continue
        why: list[str] = []
        if previous is None:
            weight, bias = _input_columns(network, weight, bias, alignment, why)
            _check_inputs(prefix, weight, target)
        else:
            weight = widen_columns(weight, previous)
        widening = widen(len(bias), units, alignment.generator, where)
        grown = not widening.trivial or (previous is not None and not previous.trivial)
        if not widening.trivial:
            why.append(f"{len(bias)} → {units} units, copies share their outgoing weights")
            weight = add_noise(widen_rows(weight, widening), widening, alignment.noise, alignment.generator)
            bias = widen_rows(bias, widening)
        elif grown:
            why.append("inputs shared among copied units")
        _record(prefix, weight, bias, source, alignment, why, grown, previous is None, found, entries)
        previous = widening
    for prefix in network.heads:
        weight, bias, why = source[f"{prefix}.weight"], source[f"{prefix}.bias"], []
        grown = previous is not None and not previous.trivial
        if previous is None:
            weight, bias = _input_columns(network, weight, bias, alignment, why)
            _check_inputs(prefix, weight, target)
        else:
            weight = widen_columns(weight, previous)
        if grown:
            why.append("inputs shared among copied units")
        if network.gives_actions:
            log_std = alignment.algorithm == "sac" and prefix.endswith("log_std")
            weight, bias = _action_rows(weight, bias, alignment, log_std, why)
        _record(prefix, weight, bias, source, alignment, why, grown, previous is None, found, entries)
    for name in network.vectors:
        if source[name].ndim != 1:
            raise WarmstartError(
                f"{name} belongs to gSDE (use_sde=True), which can't be aligned; use equal spaces."
            )
        found[name], why = _action_vector(source[name], target[name], alignment), []
        if alignment.actions.fresh:
            why.append("new actions keep the target's own")
        if not np.all(alignment.scaling.outputs.factor == 1.0):
            why.append("log of the torque scale added")
        action: Action = "copied" if torch.equal(found[name], source[name]) else "aligned"
        entries[name] = _entry(name, source[name], found[name], action, "; ".join(why) or "same dimensions")


def _input_columns(
    network: Network, weight: torch.Tensor, bias: torch.Tensor, alignment: Alignment, why: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the columns of a first layer to their dimensions; new ones are zero."""
    theirs = len(alignment.observations.source)
    if weight.shape[1] != theirs + network.takes_actions * len(alignment.actions.source):
        raise WarmstartError(
            f"The {network.name} network reads {weight.shape[1]} inputs; expected the {theirs} observations"
            + (f" and {len(alignment.actions.source)} actions" if network.takes_actions else "")
            + " of the source. Only networks that read flat observations can be aligned."
        )
    columns, shift = _columns(weight[:, :theirs], alignment.observations, alignment.observation_inputs)
    why.append(_counted(alignment.observations, "observations", "zero columns"))
    if alignment.folded:
        why.append("the source's normaliser folded in")
    if network.takes_actions:
        more, further = _columns(weight[:, theirs:], alignment.actions, alignment.scaling.inputs)
        columns, shift = torch.cat([columns, more], dim=1), shift + further
        why.append(_counted(alignment.actions, "actions", "zero columns"))
        if not alignment.scaling.inputs.trivial:
            why.append("action columns rescaled to equal torque")
    return columns, (bias + shift if bool(torch.any(shift != 0)) else bias)


def _columns(weight: torch.Tensor, matching: Matching, affine: Affine) -> tuple[torch.Tensor, torch.Tensor]:
    """Return columns for the target's dimensions, and what their offsets add to the bias."""
    columns = weight.new_zeros(weight.shape[0], len(matching.indices))
    shift = weight.new_zeros(weight.shape[0])
    for t, s in matching.matched:
        columns[:, t] = weight[:, s] * float(affine.factor[t])
        if affine.offset[t] != 0.0:
            shift += weight[:, s] * float(affine.offset[t])
    return columns, shift


def _action_rows(
    weight: torch.Tensor, bias: torch.Tensor, alignment: Alignment, log_std: bool, why: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the rows of an output layer to their actions; new ones are small.

    A log standard deviation is shifted by the log of the action's factor; a mean is multiplied by it.
    """
    actions, outputs = alignment.actions, alignment.scaling.outputs
    rows = _fresh_rows(len(actions.indices), weight, alignment.generator)
    biases = bias.new_zeros(len(actions.indices))
    for t, s in actions.matched:
        factor, offset = float(outputs.factor[t]), float(outputs.offset[t])
        if log_std:
            rows[t], biases[t] = weight[s], bias[s] + math.log(abs(factor))
        else:
            rows[t], biases[t] = weight[s] * factor, bias[s] * factor + offset
    why.append(_counted(actions, "actions", "small fresh rows"))
    if not outputs.trivial:
        why.append("shifted by the log of the torque scale" if log_std else "rows rescaled to equal torque")
    return rows, biases


def _action_vector(source: torch.Tensor, target: torch.Tensor, alignment: Alignment) -> torch.Tensor:
    vector = target.clone().to(source.device)
    for t, s in alignment.actions.matched:
        vector[t] = source[s] + math.log(abs(float(alignment.scaling.outputs.factor[t])))
    return vector


def _fresh_rows(rows: int, like: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Draw rows of norm 0.01, as SB3 starts the last layer of PPO. Shape: (rows, inputs)."""
    drawn = generator.standard_normal((rows, like.shape[1]))
    drawn *= FRESH_GAIN / np.linalg.norm(drawn, axis=1, keepdims=True)
    return torch.from_numpy(drawn).to(like)


def _record(
    prefix: str,
    weight: torch.Tensor,
    bias: torch.Tensor,
    source: Tensors,
    alignment: Alignment,
    why: list[str],
    grown: bool,
    reads_inputs: bool,
    found: dict[str, torch.Tensor],
    entries: dict[str, TransferEntry],
) -> None:
    for name, tensor in ((f"{prefix}.weight", weight), (f"{prefix}.bias", bias)):
        unchanged = tensor.shape == source[name].shape and torch.equal(tensor, source[name])
        changed: Action = (
            "folded" if reads_inputs and alignment.folded else ("widened" if grown else "aligned")
        )
        action: Action = "copied" if unchanged else changed
        found[name] = tensor.clone()
        reason = "same dimensions" if unchanged else "; ".join(text for text in why if text)
        entries[name] = _entry(name, source[name], tensor, action, reason)


def _check_names(source: Tensors, target: Tensors) -> None:
    for name in target:
        if name not in source:
            raise WarmstartError(
                "The source has no tensor for the target's: "
                f"{unknown_name('tensor of the source', name, source)}"
            )
    for name in source:
        if name not in target:
            raise WarmstartError(
                "The target has no tensor for the source's: "
                f"{unknown_name('tensor of the target', name, target)}"
            )


def _check_depths(algorithm: str, source: Tensors, target: Tensors) -> None:
    """Refuse networks of another depth, which differ in names and not only in shapes."""
    theirs = {network.name: network for network in networks(algorithm, source)}
    for network in networks(algorithm, target):
        other = theirs.get(network.name)
        if other is not None and other.hidden != network.hidden:
            found = [len(source[f"{prefix}.bias"]) for prefix in other.hidden]
            expected = [len(target[f"{prefix}.bias"]) for prefix in network.hidden]
            raise WarmstartError(
                f"The {network.name} network has hidden layers {found} in the source and {expected} in the "
                "target. Layers can be widened, not added or removed: build the target with "
                f"net_arch={found}."
            )


def _check_inputs(prefix: str, weight: torch.Tensor, target: Tensors) -> None:
    expected = target[f"{prefix}.weight"].shape[1]
    if weight.shape[1] != expected:
        raise WarmstartError(
            f"{prefix}.weight reads {expected} inputs in the target; its observations and actions have "
            f"names for {weight.shape[1]}. Only networks that read flat observations can be aligned."
        )


def _counted(matching: Matching, noun: str, fresh: str) -> str:
    if matching.identity:
        return ""
    how = "by place" if matching.by_place else "by name"
    text = f"{len(matching.matched)} of {len(matching.indices)} {noun} {how}"
    if matching.fresh:
        text += f", {len(matching.fresh)} new ({fresh})"
    return text + (f", {len(matching.unused)} of the source dropped" if matching.unused else "")


def _entry(
    name: str, source: torch.Tensor, target: torch.Tensor, action: Action, reason: str
) -> TransferEntry:
    return TransferEntry(name, tuple(source.shape), tuple(target.shape), action, False, reason)


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
