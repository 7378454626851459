"""L2-SP: fine-tuning with a pull back to where it started (Li, Grandvalet & Davoine 2018, 1802.01483)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.base import parts
from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.algorithms.terms import ParameterPenalty
from warmstart.agents.algorithms.trainability import named_entries
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import NonNegative
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.report import CARRIED, TransferReport
from warmstart.transfer.methods.base import SHIFTS, register_method
from warmstart.transfer.methods.fine_tuning import FineTune


@register_method
@dataclass(frozen=True)
class L2SP(FineTune):
    """Fine-tune with ``coefficient/2 · ‖w − w₀‖²`` over what was carried, the same around 0 over the rest.

    Equation 4 of the paper, whose α is ``coefficient`` and whose β ``new_coefficient``. The critic is left
    free unless told otherwise: its values change with the target's rewards.
    """

    name: ClassVar[str] = "l2_sp"
    serves: ClassVar[tuple[str, ...]] = SHIFTS
    title: ClassVar[str] = "L2 pull to the source's parameters"
    paper: ClassVar[str] = "1802.01483"
    fills: ClassVar[tuple[str, ...]] = ("initialise", "loss terms")

    coefficient: NonNegative = 0.01
    """α: of the squared distance to the source."""

    new_coefficient: NonNegative = 0.0
    """β: of the squared size of parameters that the source doesn't have."""

    critic: bool = False
    """Whether the critic is pulled, too."""

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        pulls = [ParameterPenalty("l2_sp", 1.0)]
        pulls += [ParameterPenalty("l2_sp_critic", 1.0, "critic")] if self.critic else []
        return Seams(loss_terms=tuple(pulls) if self.coefficient or self.new_coefficient else ())

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        report = super().initialise(model, source, context)
        carried = {entry.name for entry in report.entries if entry.action in CARRIED}
        for term in parts(model, ParameterPenalty):
            held = (e for e in named_entries(model.policy) if not e.target)
            roles = ("actor", "shared") if term.part == "actor" else ("critic",)
            found = [(e, bool(carried & set(e.names))) for e in held if e.role in roles]
            alphas = (self.coefficient if known else self.new_coefficient for _, known in found)
            pairs = list(zip(found, alphas, strict=True))
            term.anchor(model, {e.names[0]: torch.full_like(e.parameter, a) for (e, _), a in pairs if a})
            for (entry, known), alpha in pairs:
                if alpha and not known:
                    start, weight = term.anchors[entry.names[0]]
                    term.anchors[entry.names[0]] = torch.zeros_like(start), weight
        return report
