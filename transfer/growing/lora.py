"""Low-rank adaptation: frozen layers, and a trained product of two thin matrices added to each."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn
from typing_extensions import override

from warmstart.agents.algorithms.factors import Factors
from warmstart.agents.algorithms.trainability import Rule, Trainability, named_entries
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Count, Positive
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.growing.columns import add_rules, holding_agent
from warmstart.transfer.methods.base import SHIFTS, register_method
from warmstart.transfer.methods.fine_tuning import FineTune


@register_method
@dataclass(frozen=True)
class LoRA(FineTune):
    """Carry the source, and train ``W + scale · B A`` in the actor's linear layers: only A and B, and log σ.

    Equation 3 of the paper: A is drawn from a Gaussian, B is zero, so that the agent begins as the source.
    Biases, normalisations and feature extractors stay. The critic, whose values change with the target's
    rewards, trains as usual. The policy holds the sum: a checkpoint is a usual one, merged at any time.
    """

    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "low-rank adapters on frozen layers"
    paper: ClassVar[str] = "2106.09685"
    serves: ClassVar[tuple[str, ...]] = SHIFTS
    fills: ClassVar[tuple[str, ...]] = ("initialise", "trainability")

    rank: Count = 8
    """Columns of B and rows of A; no more than a layer has inputs or outputs."""

    scale: Positive = 1.0
    """What the product is multiplied with: the paper's α / r."""

    rate: Positive = 1.0
    """Learning rate of A and B, as a multiple of the agent's."""

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        agent = holding_agent(model, self.name)
        report = self.carry(model, source, context, self.exploration_of(model))
        linear = {f"{path}.weight" for path, m in model.policy.named_modules() if isinstance(m, nn.Linear)}
        actor = [e for e in named_entries(model.policy) if e.role == "actor" and not e.target]
        found = {e.names[0]: e.parameter for e in actor if linear & set(e.names)}
        factors = {name: self._thin(weight, context.generator) for name, weight in found.items()}
        rules = [Rule("@actor", 0.0), *(Rule(name, self.rate) for name in found)]
        if any(e.role == "shared" for e in named_entries(model.policy)):
            rules.append(Rule("@shared", 0.0))
        rules += [Rule(e.names[0], 1.0) for e in actor if e.names[0].endswith("log_std")]
        add_rules(agent, Trainability(tuple(rules), factors=factors))
        for name, each in factors.items():
            known, rank = report.entry(name).reason, each.up.shape[1]
            report.change(name, reason=f"{known}; it moves by a product of rank {rank}".lstrip("; "))
        trained = sum(factor.numel() for each in factors.values() for factor in each.parameters)
        whole = sum(entry.parameter.numel() for entry in actor)
        report.add_notes([f"{trained:,} numbers of adapters train in the actor, in place of {whole:,}."])
        report.add_notes(act_from_first_step(model, self.fit_steps(report.algorithm)))
        return self.finish(model, report)

    def _thin(self, weight: nn.Parameter, generator: np.random.Generator) -> Factors:
        """The factors of a layer, whose product is zero."""
        outputs, inputs = weight.shape
        rank = min(self.rank, outputs, inputs)
        drawn = torch.from_numpy(generator.standard_normal((rank, inputs)) / np.sqrt(inputs))
        up = nn.Parameter(torch.zeros(outputs, rank).to(weight))
        return Factors(weight.detach().clone(), up, nn.Parameter(drawn.to(weight)), self.scale)
