"""Shrink and perturb (Ash & Adams 2020, 1910.08475), once or softly (Juliani & Ash 2024, 2405.19153)."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.trainability import named_entries
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Bounds, State
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step
from warmstart.transfer.carry.networks import target_of
from warmstart.transfer.carry.report import CARRIED, TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.fine_tuning import FineTune

OFF_POLICY_STEPS = 1_000
"""Environment steps between two soft perturbations of an off-policy agent."""

Share = Annotated[float, Bounds(0.0, 1.0)]


@register_method
@dataclass(frozen=True)
class ShrinkPerturb(FineTune):
    """Fine-tune from ``shrink · source + (1 − shrink) · fresh``, and softly mix in more of it throughout.

    ``fresh`` is what the target drew, so that small weights have the scale of new ones. The soft form mixes
    in another draw after every rollout (off policy every 1,000 steps): parameters stay near what can learn.
    """

    name: ClassVar[str] = "shrink_perturb"
    title: ClassVar[str] = "shrink and perturb"
    paper: ClassVar[str] = "1910.08475"
    needs_seed: ClassVar[bool] = True

    shrink: Share = 0.8
    """What is left of the source's parameters at the start; 1 leaves all."""

    soft: Share = 0.0
    """Share of a fresh draw that is mixed in after each rollout: 0.0001 is soft, 0 never."""

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        own = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
        report = self.carry(model, source, context, self.exploration_of(model))
        trained = {name for name, _ in model.policy.named_parameters() if name != "log_std"}
        carried = {entry.name for entry in report.entries if entry.action in CARRIED} & trained
        if self.shrink < 1:
            for name, tensor in model.policy.state_dict().items():
                if name in carried or target_of(name) in carried:
                    tensor.copy_(self.shrink * tensor + (1 - self.shrink) * own[name])
                    report.change(name, action="permuted", reason=f"{self.shrink:g} of it, the rest fresh")
        report.add_notes(act_from_first_step(model, self.fit_steps(algorithm_name(model))))
        return self.finish(model, report)

    @override
    def callbacks(self, report: TransferReport) -> list[BaseCallback]:
        return [*super().callbacks(report), *([SoftPerturbation(self.soft)] if self.soft else [])]


class SoftPerturbation(BaseCallback):
    """Mix a share of a fresh draw of the policy into it after each rollout."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share, self.draws, self.last = share, 0, 0

    def state_dict(self) -> State:
        """Return how many draws there were, and when the last was."""
        return {"draws": self.draws, "last": self.last}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""
        self.draws, self.last = state["draws"], state["last"]

    def _on_rollout_end(self) -> None:
        if isinstance(self.model, OffPolicyAlgorithm):  # whose rollout may be a single step
            if self.num_timesteps // OFF_POLICY_STEPS == self.last:
                return
            self.last = self.num_timesteps // OFF_POLICY_STEPS
        policy: Any = self.model.policy
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((self.model.seed or 0) * 1_000_003 + self.draws)
            fresh = type(policy)(**policy._get_constructor_parameters()).to(self.model.device)
        self.draws += 1
        drawn = dict(fresh.named_parameters())
        with torch.no_grad():
            for entry in named_entries(policy):
                if entry.parameter.requires_grad and not entry.target and entry.names[0] != "log_std":
                    entry.parameter.lerp_(drawn[entry.names[0]], self.share)

    def _on_step(self) -> bool:
        return True
