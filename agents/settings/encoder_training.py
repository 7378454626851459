"""An agent's encoder, as settings: which one, frozen or trained, and how. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from warmstart.agents.settings.config import AtLeastZero
from warmstart.core.bounds import Natural, Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import check

Training = Literal["frozen", "fine_tuned", "staged"]


@dataclass(frozen=True, kw_only=True)
class EncoderTraining:
    """An encoder and what becomes of it in training."""

    encoder: str = "nature_cnn"
    """Text of the encoder, ``NAME[:option=value,…]``, or a file that ``warmstart pretrain`` wrote."""
    train: Training = "frozen"
    """``frozen`` computes features once per frame, outside the agent. ``fine_tuned`` puts the encoder into
    the policy and trains it with it; ``staged`` does so and holds it still until ``unfreeze_at``."""
    unfreeze_at: Natural = 0
    """Environment steps after which a staged encoder trains."""
    encoder_learning_rate: AtLeastZero = 1.0
    """Learning rate of a trained encoder, as a multiple of the agent's."""
    random_shift: Natural = 0
    """Pixels by which frames are shifted at random in training (DrQ, 2004.13649); 4 is usual for SAC."""
    adapter_rank: Natural = 0
    """Rank of low-rank adapters beside the encoder's convolutions, which then stay as they are; 0 trains
    the convolutions themselves."""
    randomize: Mapping[str, str] = field(default_factory=dict)
    """Visual parameters that differ in every training episode, with their ranges: ``light: x0.5:x1.5``
    scales, ``camera.azimuth: -=10:+=10`` adds. The readout is fitted on such frames, too; evaluation shows
    the task as it is."""
    pretrain: Settings = field(default_factory=dict)
    """Settings of pretraining on frames of the source task before anything else, the ``objective`` among
    them; empty for none."""

    def __post_init__(self) -> None:
        check(self)
        if self.train == "staged" and self.unfreeze_at < 1:
            raise WarmstartError(
                "A staged encoder needs unfreeze_at, the environment steps after which it trains."
            )
        if self.train == "fine_tuned" and self.unfreeze_at:
            raise WarmstartError(
                "unfreeze_at is about staged encoders: set train to staged, or leave it out."
            )
        if self.train == "frozen":
            idle = [name for name in ("unfreeze_at", "random_shift", "adapter_rank") if getattr(self, name)]
            idle += ["encoder_learning_rate"] if self.encoder_learning_rate != 1 else []
            if idle:
                raise WarmstartError(
                    f"{idle[0]} is about an encoder that trains, and this one is frozen: set train to "
                    "fine_tuned or staged."
                )
