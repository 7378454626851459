"""A learned map from the target's observations to the source's, in front of the source's frozen actor."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn
from typing_extensions import override

from warmstart.agents.algorithms.factors import Factors
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.trainability import Rule, Trainability, named_entries
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Positive
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step, matchings
from warmstart.transfer.carry.networks import networks
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.growing.columns import add_rules, holding_agent, source_widths
from warmstart.transfer.methods.base import SHIFTS, register_method
from warmstart.transfer.methods.fine_tuning import FineTune


@register_method
@dataclass(frozen=True)
class InputAdapter(FineTune):
    """Train ``D`` in ``source(match(o) + D o)``: what the source observes, as a linear map of observations o.

    ``match`` is what equal names and the user's map give, and may be nothing; D begins at zero. The actor's
    layers stay, but for outputs of actions that the source doesn't have; σ and the critic train as usual. The
    first layer of the policy holds both maps: a checkpoint is a usual one.
    """

    name: ClassVar[str] = "input_adapter"
    title: ClassVar[str] = "a learned map in front of a frozen actor"
    paper: ClassVar[str] = ""
    serves: ClassVar[tuple[str, ...]] = SHIFTS
    fills: ClassVar[tuple[str, ...]] = ("initialise", "policy_kwargs", "trainability")
    algorithms: ClassVar[tuple[str, ...]] = ("ppo", "sac", "td3", "tqc")
    needs_match: ClassVar[bool] = False

    rate: Positive = 1.0
    """Learning rate of the map, as a multiple of the agent's."""

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        return Seams(policy_kwargs={"net_arch": source_widths(source, self.name)})

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        source, agent = self.needed(model, source), holding_agent(model, self.name)
        report = self.carry(model, source, context, self.exploration_of(model))
        actor = next(n for n in networks(report.algorithm, model.policy.state_dict()) if n.role == "actor")
        first = f"{actor.hidden[0]}.weight"
        weight = model.policy.get_parameter(first)
        up = nn.Parameter(source.policy_tensors[first].to(weight))
        down = nn.Parameter(torch.zeros(up.shape[1], weight.shape[1]).to(weight))
        mapped = Factors(weight.detach().clone(), up, down, fixed="up")
        rules = [Rule("@actor", 0.0), Rule(first, self.rate)]
        if any(e.role == "shared" for e in named_entries(model.policy)):
            rules.append(Rule("@shared", 0.0))
        known = [s is not None for s in matchings(model, source, context, required=False)[1].indices]
        masks: dict[str, torch.Tensor] = {}
        for head in actor.heads:
            if not all(known):
                rules.append(Rule(f"{head}.*", 1.0))
                fresh = torch.tensor([0.0 if each else 1.0 for each in known])
                masks[f"{head}.bias"] = fresh
                masks[f"{head}.weight"] = (
                    fresh[:, None].expand_as(model.policy.get_parameter(f"{head}.weight")).clone()
                )
        rules += [Rule(name, 1.0) for name in actor.vectors]
        add_rules(agent, Trainability(tuple(rules), masks, {first: mapped}))
        reason = report.entry(first).reason
        report.change(first, reason=f"{reason}; it moves by a map to what the source observes".lstrip("; "))
        report.add_notes([f"A map from {weight.shape[1]} observations to the source's {up.shape[1]} trains."])
        report.add_notes(act_from_first_step(model, self.fit_steps(report.algorithm)))
        return self.finish(model, report)
