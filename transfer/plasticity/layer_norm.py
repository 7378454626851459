"""Layer normalisation added on the way into the target (Lyle et al. 2023, 2303.01486)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.seams import Seams
from warmstart.agents.checkpoints.architecture import ACTIVATIONS, is_simba
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.extractors.normed import NORMED
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext, act_from_first_step, carry_into
from warmstart.transfer.carry.report import TransferEntry, TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.fine_tuning import FineTune


@register_method
@dataclass(frozen=True)
class LayerNorm(FineTune):
    """Fine-tune in networks whose layers can normalise what they pass on, through gates that begin closed.

    Normalised layers stay able to learn (2303.01486; on-policy 2405.19153); a source trained without them
    can't just be given them, since it would compute something else. With ``x + gate · (norm(x) − x)`` and a
    gate of zero it computes what it did, and the gates train.
    """

    name: ClassVar[str] = "layer_norm"
    title: ClassVar[str] = "layer normalisation behind gates that begin closed"
    paper: ClassVar[str] = "2303.01486"
    fills: ClassVar[tuple[str, ...]] = ("initialise", "policy_kwargs")

    @override
    def seams(self, source: Checkpoint | None) -> Seams:
        if source is None:
            raise WarmstartError(f"{self.name} starts from a checkpoint; none was given.")
        if is_simba(source.policy_kwargs):
            raise WarmstartError(f"{self.name}: the source's network, simba, normalises its layers already.")
        plain = self._plain(source)
        if plain not in NORMED:
            raise WarmstartError(f"{self.name} stands before {' or '.join(NORMED)}; the source has {plain}.")
        return Seams(policy_kwargs={"activation_fn": NORMED[plain][1]})

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        source = self.needed(model, source)
        policy: Any = model.policy
        plain = ACTIVATIONS[self._plain(source)]
        had = source.policy_kwargs.get("activation", "").startswith("normed_")
        networks = {} if had else {"activation_fn": plain}
        report, tensors = carry_into(
            model, networks, lambda each: self.carry(each, source, context, self.exploration_of(model))
        )
        own = policy.state_dict()
        policy.load_state_dict({**own, **tensors})
        gates = [name for name in own if name not in tensors]
        closed = "a gate, closed: the layer computes what it did"
        report.entries += tuple(
            TransferEntry(name, None, tuple(own[name].shape), "untouched", False, closed) for name in gates
        )
        report.add_notes(act_from_first_step(model, self.fit_steps(report.algorithm)))
        return self.finish(model, report)

    def _plain(self, source: Checkpoint) -> str:
        """Name of the activation that stands after the normalisation."""
        usual = "tanh" if source.algorithm == "ppo" else "relu"
        return str(source.policy_kwargs.get("activation", usual)).removeprefix("normed_")
