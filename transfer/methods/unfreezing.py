"""Gradual unfreezing and discriminative learning rates (Howard & Ruder 2018, ULMFiT, 1801.06146)."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.algorithms.base import SeamAgent
from warmstart.agents.algorithms.trainability import Piecewise, Rule, Trainability
from warmstart.agents.checkpoints.architecture import algorithm_name
from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.bounds import Bounds, Natural
from warmstart.core.errors import WarmstartError
from warmstart.transfer.carry.carrying import TransferContext
from warmstart.transfer.carry.networks import networks
from warmstart.transfer.carry.report import TransferReport
from warmstart.transfer.methods.base import register_method
from warmstart.transfer.methods.fine_tuning import FineTune


@register_method
@dataclass(frozen=True)
class GradualUnfreezing(FineTune):
    """Fine-tune the actor's last layer first, then one layer more at a time, the lower ones more slowly.

    A group is a layer: the output layers (with ``log_std``), then the hidden layers from the last to the
    first (with everything inside a residual block), then what extracts features. The critic, which is fitted
    to the target first, trains throughout.
    """

    name: ClassVar[str] = "gradual_unfreezing"
    title: ClassVar[str] = "gradual unfreezing, discriminative learning rates"
    paper: ClassVar[str] = "1801.06146"
    fills: ClassVar[tuple[str, ...]] = ("initialise", "trainability")

    unfreeze_steps: Natural = 20_000
    """Environment steps of learning after which the next layer is released; 0 releases all at once."""

    rate_decay: Annotated[float, Bounds(1.0)] = 2.6
    """Each layer's learning rate is that of the layer above divided by this; 1 gives all the same."""

    @override
    def initialise(
        self, model: BaseAlgorithm, source: Checkpoint | None, context: TransferContext
    ) -> TransferReport:
        report = super().initialise(model, source, context)
        if self.unfreeze_steps == 0 and self.rate_decay == 1:
            return report
        if not isinstance(model, SeamAgent):
            raise WarmstartError(
                f"{self.name} changes what trains while the agent learns: build it with warmstart."
                f"{type(model).__name__}, which takes the same arguments."
            )
        start = model.num_timesteps + self.fit_steps(report.algorithm)
        rules, said = [], []
        for depth, patterns in enumerate(groups(model)):
            rate = self.rate_decay**-depth
            released = start + depth * self.unfreeze_steps
            multiplier: Any = rate
            if depth and self.unfreeze_steps:
                multiplier = Piecewise(((0, 0.0), (released, rate)))
            rules += [Rule(pattern, multiplier) for pattern in patterns]
            said.append(f"{patterns[0].removesuffix('.*')} × {rate:.3g} from step {released:,}")
        known = Trainability(tuple(rules))
        model.set_trainability(known if model.trainability is None else model.trainability.then(known))
        report.add_notes([f"Learning rates and when they begin: {'; '.join(said)}."])
        return report


def groups(model: BaseAlgorithm) -> list[list[str]]:
    """Patterns of the actor's parameters by layer, the outputs first.

    Raises:
        WarmstartError: The actor isn't one of SB3's multilayer perceptrons.
    """
    names = [name for name, _ in model.policy.named_parameters()]
    actor = networks(algorithm_name(model), model.policy.state_dict())[0]
    found = [[f"{head}.*" for head in actor.heads] + [v for v in actor.vectors if v in names]]
    found += [[f"{prefix}.*"] for prefix in reversed(actor.hidden)]
    taken = {name for name in names if any(name.startswith(p.removesuffix("*")) for g in found for p in g)}
    base = actor.hidden[0].rpartition(".")[0] + "." if actor.hidden else ""
    rest = [name for name in names if base and name.startswith(base) and name not in taken]
    if rest:  # inside residual blocks, which lie between the first hidden layer and the last
        found[-2 if len(found) > 2 else -1] += rest
    extractor = [name for name in names if "features_extractor." in name and not name.startswith("critic")]
    return [*found, *([extractor] if extractor else [])]
