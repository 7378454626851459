"""Partial resets: keep most of the source, learn some layers anew (Nikishin et al. 2022, 2205.07802)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step
from warmstart.transfer.carry.networks import networks, target_of
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.fine_tuning import FineTune

Parts = Literal["last_layers", "actor_last_layer", "critic", "critic_last_layers", "nothing"]


@register_method
@dataclass(frozen=True)
class PartialReset(FineTune):
    """Fine-tune from the source, but for layers that are as the target drew them.

    A network that has trained for long fits new targets worse than a fresh one (loss of plasticity); the
    layers at the end lose most. Everything trains.
    """

    name: ClassVar[str] = "partial_reset"
    title: ClassVar[str] = "reset of last layers or critic"
    paper: ClassVar[str] = "2205.07802"

    reset: Parts = "critic"
    """``critic``: all of it; ``critic_last_layers``; ``actor_last_layer``; ``last_layers``: both;
    ``nothing``."""

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        own = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
        report = self.carry(model, source, context, self.exploration_of(model))
        fresh = self._names(model)
        fresh |= {name for name in own if target_of(name) in fresh}
        model.policy.load_state_dict(
            {n: own[n] if n in fresh else t for n, t in model.policy.state_dict().items()}
        )
        for name in own:
            if name in fresh:
                report.change(name, action="reinitialised", reason=f"reset: {self.reset}")
        report.add_notes(act_from_first_step(model, self.fit_steps(algorithm_name(model))))
        return self.finish(model, report)

    def _names(self, model: BaseAlgorithm) -> set[str]:
        """Tensors that are reset."""
        names = list(model.policy.state_dict())
        found: set[str] = set()
        for network in networks(algorithm_name(model), names):
            prefixes: tuple[str, ...] = ()
            if self.reset == "critic" and network.role == "critic":
                prefixes = tuple(p for h in network.hidden for p in (h.rpartition(".")[0],)) + network.heads
            elif self.reset in ("last_layers", f"{network.role}_last_layer", f"{network.role}_last_layers"):
                prefixes = network.heads
            found |= {name for name in names if any(name.startswith(f"{prefix}.") for prefix in prefixes)}
        return found
