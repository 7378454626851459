"""A new column of units beside a source's actor, in one plain network whose old part doesn't move.

Side by side in every hidden layer, the source's units and new ones form a wider multilayer perceptron. Blocks
of its matrices that lead from the new units to the old stay zero, those among the old as they are: a mask on
the gradient holds them. So a checkpoint is a usual one, and PPO's fast update serves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.trainability import Trainability, optimizers
from warmstart.agents.checkpoints.architecture import is_simba
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Count
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step, carry_into
from warmstart.transfer.carry.networks import Network, networks
from warmstart.transfer.carry.report import TransferEntry, TransferReport
from warmstart.transfer.methods.fine_tuning import FineTune


@dataclass(frozen=True)
class NewColumn(FineTune):
    """The base of methods that put new units beside a frozen actor."""

    algorithms: ClassVar[tuple[str, ...]] = ("ppo", "sac", "td3", "tqc")
    fills: ClassVar[tuple[str, ...]] = ("initialise", "policy_kwargs", "trainability")

    new_units: Count = 64
    """Units of each hidden layer that are new."""

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        arch = source_widths(source, self.name)
        return Seams(policy_kwargs={"net_arch": arch | {"pi": [w + self.new_units for w in arch["pi"]]}})

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        source = self.needed(model, source)
        agent = holding_agent(model, self.name)
        wide: Any = model.policy
        own = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
        report, small = carry_into(
            model,
            {"net_arch": source_widths(source, self.name)},
            lambda narrow: self.carry(narrow, source, context, self.exploration_of(narrow)),
        )
        masks: dict[str, torch.Tensor] = {}
        for network in networks(report.algorithm, own):
            if network.role == "actor":
                self._grow(network, small, own, masks)
        for name, tensor in small.items():
            if tensor.shape == own[name].shape:
                own[name] = tensor
        for name in own:
            if name.startswith("actor_target."):
                own[name] = own[name.replace("actor_target.", "actor.", 1)]
        wide.load_state_dict(own)
        self._tell(report, own, masks)
        add_rules(agent, Trainability((), masks))
        report.add_notes(
            [f"{self.new_units} new units in each hidden layer of the actor, beside the source's."]
        )
        report.add_notes(act_from_first_step(model, self.fit_steps(report.algorithm)))
        return self.finish(model, report)

    def _grow(
        self,
        network: Network,
        small: Mapping[str, torch.Tensor],
        own: dict[str, torch.Tensor],
        masks: dict[str, torch.Tensor],
    ) -> None:
        """Put the carried actor and new units side by side; new units are as the target drew them."""
        for depth, prefix in enumerate((*network.hidden, *network.heads)):
            weight, bias = f"{prefix}.weight", f"{prefix}.bias"
            head = prefix in network.heads
            rows, columns = small[weight].shape
            wide, mask = own[weight].clone(), torch.ones_like(own[weight])
            if depth == 0:
                wide[:rows], mask[:rows] = small[weight], 0
            elif head:
                self.join(wide, mask, small[weight], columns)
            else:
                wide[:rows, :columns], wide[:rows, columns:] = small[weight], 0
                mask[:rows] = 0
                self.side(wide, mask, rows, columns)
            own[weight], masks[weight] = wide, mask
            if head:
                own[bias] = small[bias]
            else:
                own[bias], masks[bias] = own[bias].clone(), torch.ones_like(own[bias])
                own[bias][:rows], masks[bias][:rows] = small[bias], 0

    def side(self, weight: torch.Tensor, mask: torch.Tensor, rows: int, columns: int) -> None:
        """Decide what leads from the source's units of a layer to the new ones of the next.

        Args:
            weight: Of the wide layer, changed in place. Shape: (outputs, inputs).
            mask: Of its gradient, changed in place. Shape: (outputs, inputs).
            rows: Outputs that are the source's.
            columns: Inputs that are the source's.
        """
        weight[rows:, :columns], mask[rows:, :columns] = 0, 0

    def join(self, weight: torch.Tensor, mask: torch.Tensor, source: torch.Tensor, columns: int) -> None:
        """Decide how an output layer reads both columns; arguments as in `side`, ``source`` its weights."""
        weight[:, :columns], weight[:, columns:] = source, 0
        mask[:, :columns] = 0

    def _tell(
        self, report: TransferReport, own: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]
    ) -> None:
        """Say of every tensor what it holds."""
        entries = {entry.name: entry for entry in report.entries}
        for name, mask in masks.items():
            known = entries[name]
            share = 1 - float(mask.mean())
            reason = f"{known.reason}; with new units beside it, {share:.0%} of it frozen"
            entries[name] = TransferEntry(
                name, known.source_shape, tuple(own[name].shape), "widened", False, reason
            )
        report.entries = tuple(entries.values())


def holding_agent(model: BaseAlgorithm, name: str) -> SeamAgent:
    """A model that can hold parts of parameters still.

    Raises:
        WarmstartError: It is plain SB3's, or its optimizer moves what has no gradient.
    """
    if not isinstance(model, SeamAgent):
        raise WarmstartError(
            f"{name} needs warmstart.{type(model).__name__}, which takes the same arguments."
        )
    for _, optimizer in optimizers(model):
        if any(group.get("weight_decay") for group in optimizer.param_groups):
            raise WarmstartError(f"{name} holds parameters still, which weight_decay would shrink.")
    return model


def add_rules(model: SeamAgent, rules: Trainability) -> None:
    """Decide more of what trains, over what was decided before."""
    model.set_trainability(rules if model.trainability is None else model.trainability.then(rules))


def source_widths(source: Checkpoint | None, name: str) -> dict[str, list[int]]:
    """Units of the hidden layers of a source's actor (``pi``) and critics (``vf`` or ``qf``).

    Raises:
        WarmstartError: There is no source, or its networks aren't plain ones with hidden layers.
    """
    if source is None:
        raise WarmstartError(f"{name} starts from a checkpoint; none was given.")
    if is_simba(source.policy_kwargs):
        raise WarmstartError(f"{name} needs plain layers; the source's network is simba.")
    arch, found = source.policy_kwargs.get("net_arch"), {}
    for part in ("pi", "vf" if source.algorithm == "ppo" else "qf"):
        units = arch.get(part) if isinstance(arch, Mapping) else arch
        if not units:
            raise WarmstartError(f"{name} needs hidden layers; the source's {part} network has none.")
        found[part] = [int(width) for width in units]
    return found
