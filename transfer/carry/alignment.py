"""Carry the tensors of a policy into a policy with other observations, actions or wider layers.

New inputs get zero columns, so that the aligned policy acts as the source wherever both agree; new actions
get small fresh rows; wider layers copy units (Net2Net).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.transfer.carry.networks import (
    Network,
    Widening,
    add_noise,
    networks,
    target_of,
    widen,
    widen_columns,
    widen_rows,
)
from warmstart.transfer.carry.normalizer import StatisticsTransfer
from warmstart.transfer.carry.renormalisation import VECTORS, at_its_mean, norms_of, of_inputs, of_units
from warmstart.transfer.carry.report import Action, TransferEntry, shape_text
from warmstart.transfer.matching.matching import Matching
from warmstart.transfer.matching.scaling import ActionScaling, Affine

Tensors = Mapping[str, torch.Tensor]
Layer = tuple[torch.Tensor, torch.Tensor]
"""Weight, of shape (outputs, inputs), and bias, of shape (outputs,)."""

FRESH_GAIN = 0.01
"""Size of a new action's rows: the gain of SB3's own orthogonal initialisation of PPO's last layer."""
_FLAT = "Only networks that read flat observations can be aligned."


@dataclass(frozen=True)
class Alignment:
    """Everything that says where a number of the target comes from."""

    algorithm: str
    """``ppo``, ``sac``, ``td3``, ``tqc`` or ``crossq``."""

    observations: Matching
    """Matched observations."""

    statistics: StatisticsTransfer
    """What their normaliser becomes, and how the networks' inputs change with it."""

    actions: Matching
    """Matched actions."""

    scaling: ActionScaling
    """Numbers of the matched actions."""

    generator: np.random.Generator
    """Draws fresh rows, and the units that are copied."""

    noise: float = 0.0
    """Noise on copied units, as a fraction of the weights' standard deviation."""

    @property
    def trivial(self) -> bool:
        """Whether source and target have the same dimensions with the same meaning."""
        return (
            self.observations.identity
            and self.statistics.inputs.trivial
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
        All tensors of the target by name, in its shapes, and an entry for each, in the target's order.

    Raises:
        WarmstartError: The networks differ in depth or a layer is narrower, or a tensor of either side has no
            counterpart.
    """
    aligner = _Aligner(source, target, alignment)
    same_names = source.keys() == target.keys()
    direct = same_names and alignment.trivial and all(source[n].shape == t.shape for n, t in target.items())
    if not same_names:
        aligner.check_depths()
        aligner.check_names()
    if not direct:
        for network in networks(alignment.algorithm, target):
            aligner.carry(network)
    found, entries = aligner.found, aligner.entries
    for name, tensor in target.items():
        online = target_of(name)
        if online in found:
            reason = f"follows {online}: {entries[online].reason}"
            found[name] = found[online].clone()
            entries[name] = replace(entries[online], name=name, reason=reason)
        elif name not in found:
            if source[name].shape != tensor.shape or not (direct or alignment.observations.identity):
                theirs, ours = shape_text(source[name].shape), shape_text(tensor.shape)
                raise WarmstartError(
                    f"The tensor {name} ({theirs} in the source, {ours} in the "
                    "target) can't be aligned: only flat observations and multilayer perceptrons can. Use "
                    "equal spaces and the same architecture."
                )
            aligner.record(name, source[name], "copied", [])
    return {name: found[name] for name in target}, [entries[name] for name in target]


class _Aligner:
    """Carries networks one by one; ``found`` and ``entries`` hold tensors and their entries by name."""

    def __init__(self, source: Tensors, target: Tensors, alignment: Alignment) -> None:
        self.source, self.target, self.alignment = source, target, alignment
        self.found: dict[str, torch.Tensor] = {}
        self.entries: dict[str, TransferEntry] = {}

    def carry(self, network: Network) -> None:
        """Carry one network, layer by layer."""
        before: Widening | None = None
        norms = norms_of(network, self.source)
        if norms:
            how: Action = "folded" if self.alignment.statistics.folded else "aligned"
            self._record_norm(norms[0], of_inputs(self._norm(norms[0]), self._parts(network)), how)
            dropped = at_its_mean(self._norm(norms[0]), self._parts(network))
        for prefix in (*network.hidden, *network.heads):
            weight, bias = self.source[f"{prefix}.weight"], self.source[f"{prefix}.bias"]
            where = f"Hidden layer {prefix} of the {network.name} network"
            shared = before is not None and not before.trivial
            why: list[str] = []
            if weight.ndim == 1:
                if shared:
                    raise WarmstartError(
                        f"{where} is a layer norm: widening it would change what it computes."
                    )
                self._record_layer(prefix, (weight, bias), "aligned", why)
                continue
            action: Action = "widened" if shared else "aligned"
            if before is not None:
                weight = widen_columns(weight, before)
            else:
                bias = bias + weight @ dropped if norms else bias
                weight, bias = self._inputs(network, prefix, (weight, bias), why, bool(norms))
                action = "folded" if self.alignment.statistics.folded and not norms else action
            if prefix in network.hidden:
                generator, units = self.alignment.generator, len(self.target[f"{prefix}.bias"])
                if network.inside and units != len(bias):
                    raise WarmstartError(
                        f"The {network.name} network has residual blocks of {len(bias)} units in the source "
                        f"and of {units} in the target, which can't be widened or narrowed: build the target "
                        "with the source's width in net_arch."
                    )
                before = widen(len(bias), units, generator, where)
                if norms:
                    norm = norms[1 + network.hidden.index(prefix)]
                    self._record_norm(norm, of_units(self._norm(norm), before), "widened")
            if prefix in network.hidden and before is not None and not before.trivial:
                why.append(f"{len(bias)} → {units} units, copies share their outgoing weights")
                weight = add_noise(widen_rows(weight, before), before, self.alignment.noise, generator)
                bias = widen_rows(bias, before)
                action = "widened" if action == "aligned" else action
            elif shared:
                why.append("inputs shared among copied units")
            if prefix in network.heads and network.role == "actor":
                log_std = self.alignment.algorithm in ("sac", "tqc", "crossq") and prefix.endswith("log_std")
                weight, bias = self._action_rows(weight, bias, log_std, why)
            self._record_layer(prefix, (weight, bias), action, why)
        for name in network.vectors:
            self._action_vector(name)
        for name in network.inside:
            self.record(name, self.source[name], "copied", [])

    def record(self, name: str, tensor: torch.Tensor, action: Action, why: list[str]) -> None:
        """Keep a tensor and its entry; one that equals the source's counts as copied."""
        source = self.source[name]
        copied = tensor.shape == source.shape and torch.equal(tensor, source)
        reason = "same dimensions" if copied else "; ".join(text for text in why if text)
        self.found[name] = tensor.clone()
        shapes = tuple(source.shape), tuple(tensor.shape)
        self.entries[name] = TransferEntry(name, *shapes, "copied" if copied else action, False, reason)

    def _record_layer(self, prefix: str, layer: Layer, action: Action, why: list[str]) -> None:
        for part, tensor in zip(("weight", "bias"), layer, strict=True):
            self.record(f"{prefix}.{part}", tensor, action, why)

    def _norm(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name: self.source[f"{prefix}.{name}"] for name in VECTORS}

    def _record_norm(self, prefix: str, vectors: dict[str, torch.Tensor], action: Action) -> None:
        for name, vector in vectors.items():
            self.record(f"{prefix}.{name}", vector, action, ["statistics of the inputs that match"])
        self.record(f"{prefix}.steps", self.source[f"{prefix}.steps"], "copied", [])

    def _parts(self, network: Network) -> list[tuple[Matching, Affine]]:
        """What a network reads, and the source's numbers as functions of the target's."""
        alignment = self.alignment
        parts = [(alignment.observations, alignment.statistics.inputs)]
        return [*parts, (alignment.actions, alignment.scaling.inputs)] if network.takes_actions else parts

    def _inputs(
        self, network: Network, prefix: str, layer: Layer, why: list[str], renormalised: bool
    ) -> Layer:
        """Move the columns of a first layer to their dimensions; new ones are zero.

        What a renormalised network reads is the same number in both already.
        """
        (weight, bias), alignment = layer, self.alignment
        observations, actions = alignment.observations, alignment.actions
        affines = [Affine.identity(len(each.indices)) if renormalised else affine
                   for each, affine in self._parts(network)]  # fmt: skip
        theirs = len(observations.source)
        if weight.shape[1] != theirs + network.takes_actions * len(actions.source):
            besides = f" and {len(actions.source)} actions" if network.takes_actions else ""
            raise WarmstartError(
                f"The {network.name} network reads {weight.shape[1]} inputs; expected the {theirs} "
                f"observations{besides} of the source. {_FLAT}"
            )
        columns, shift = _columns(weight[:, :theirs], observations, affines[0])
        why.append(_counted(observations, "observations", "zero columns"))
        if alignment.statistics.folded:
            why.append("the source's normaliser folded in")
        if network.takes_actions:
            more, further = _columns(weight[:, theirs:], actions, affines[1])
            columns, shift = torch.cat([columns, more], dim=1), shift + further
            why.append(_counted(actions, "actions", "zero columns"))
            if not alignment.scaling.inputs.trivial:
                why.append("action columns rescaled to equal torque")
        expected = self.target[f"{prefix}.weight"].shape[1]
        if columns.shape[1] != expected:
            raise WarmstartError(
                f"{prefix}.weight reads {expected} inputs in the target; its observations and actions have "
                f"names for {columns.shape[1]}. {_FLAT}"
            )
        return columns, bias + shift if shift.any() else bias

    def _action_rows(self, weight: torch.Tensor, bias: torch.Tensor, log_std: bool, why: list[str]) -> Layer:
        """Move the rows of an output layer to their actions; new ones are small.

        A log standard deviation is shifted by the log of the action's factor; a mean is multiplied by it.
        New rows have a norm of 0.01, as SB3 starts the last layer of PPO.
        """
        actions, outputs = self.alignment.actions, self.alignment.scaling.outputs
        drawn = self.alignment.generator.standard_normal((len(actions.indices), weight.shape[1]))
        drawn *= FRESH_GAIN / np.linalg.norm(drawn, axis=1, keepdims=True)
        rows, biases = torch.from_numpy(drawn).to(weight), bias.new_zeros(len(actions.indices))
        for t, s in actions.matched:
            factor, offset = float(outputs.factor[t]), float(outputs.offset[t])
            if log_std:
                factor, offset = 1.0, math.log(abs(factor))
            rows[t], biases[t] = weight[s] * factor, bias[s] * factor + offset
        why.append(_counted(actions, "actions", "small fresh rows"))
        if not outputs.trivial:
            why.append(
                "shifted by the log of the torque scale" if log_std else "rows rescaled to equal torque"
            )
        return rows, biases

    def _action_vector(self, name: str) -> None:
        """Carry a parameter with one entry per action, on a logarithmic scale."""
        source, factor = self.source[name], self.alignment.scaling.outputs.factor
        if source.ndim != 1:
            raise WarmstartError(
                f"{name} belongs to gSDE (use_sde=True), which can't be aligned; use equal spaces."
            )
        vector = self.target[name].clone().to(source.device)
        for t, s in self.alignment.actions.matched:
            vector[t] = source[s] + math.log(abs(float(factor[t])))
        why = ["new actions keep the target's own"] if self.alignment.actions.fresh else []
        if not np.all(factor == 1.0):
            why.append("log of the torque scale added")
        self.record(name, vector, "aligned", why or ["same dimensions"])

    def check_names(self) -> None:
        """Refuse a tensor of either side that has no counterpart."""
        sides = {"source": self.source, "target": self.target}
        for side, other in (("source", "target"), ("target", "source")):
            for name in sides[other]:
                if name not in sides[side]:
                    missing = unknown_name(f"tensor of the {side}", name, sides[side])
                    raise WarmstartError(f"The {side} has no tensor for the {other}'s: {missing}")

    def check_depths(self) -> None:
        """Refuse networks of another depth, which differ in names and not only in shapes."""
        theirs = {network.name: network for network in networks(self.alignment.algorithm, self.source)}
        for network in networks(self.alignment.algorithm, self.target):
            other = theirs.get(network.name)
            if other is None:
                continue
            found, expected = _widths(other, self.source), _widths(network, self.target)
            if bool(other.inside) != bool(network.inside):
                kind = "simba" if other.inside else "plain"
                raise WarmstartError(
                    f"The {network.name} network is {kind} in the source and not in the target: build the "
                    f"target with network={kind}, net_arch={found}."
                )
            if len(found) != len(expected):
                what = "Blocks can't be" if network.inside else "Layers can be widened, not"
                raise WarmstartError(
                    f"The {network.name} network has hidden layers {found} in the source and {expected} in "
                    f"the target. {what} added or removed: build the target with net_arch={found}."
                )


def _widths(network: Network, tensors: Tensors) -> list[int]:
    """Widths of its hidden layers, or of its blocks, as ``net_arch`` has them."""
    layers = [prefix for prefix in network.hidden if tensors[f"{prefix}.weight"].ndim > 1]
    widths = [len(tensors[f"{prefix}.bias"]) for prefix in layers]
    blocks = sum(name.endswith(".up.weight") for name in network.inside)
    return widths[:1] * blocks if network.inside else widths


def _columns(weight: torch.Tensor, matching: Matching, affine: Affine) -> Layer:
    """Return columns for the target's dimensions, and what their offsets add to the bias."""
    columns = weight.new_zeros(weight.shape[0], len(matching.indices))
    shift, shares = weight.new_zeros(weight.shape[0]), matching.shares
    for t, s in matching.matched:
        columns[:, t] = weight[:, s] * float(affine.factor[t] * shares[t])
        shift += weight[:, s] * float(affine.offset[t] * shares[t])
    return columns, shift


def _counted(matching: Matching, noun: str, fresh: str) -> str:
    if matching.identity:
        return ""
    how = "by place" if matching.by_place else "by name"
    text = f"{len(matching.matched)} of {len(matching.indices)} {noun} {how}"
    if matching.fresh:
        text += f", {len(matching.fresh)} new ({fresh})"
    return text + (f", {len(matching.unused)} of the source dropped" if matching.unused else "")
