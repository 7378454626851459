"""All transfer methods, and how one is built from its name."""

from typing import Any

from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read_named
from warmstart.transfer.growing import input_adapter, lora, progressive, residual
from warmstart.transfer.methods import (
    feature_extraction,
    fine_tuning,
    scratch,
    shuffled,
    unfreezing,
    wsrl,
    zero_shot,
)
from warmstart.transfer.methods.base import METHODS, TransferMethod
from warmstart.transfer.plasticity import layer_norm, partial_reset, shrink_perturb
from warmstart.transfer.replaying import cloning, rlpd
from warmstart.transfer.similarity import guarded
from warmstart.transfer.staying import ewc, l2_sp
from warmstart.transfer.teaching import best_source, distill, jump_start, kickstart, qdagger

__all__ = ["METHODS", "make_method"]

OURS = (
    scratch.Scratch,
    shuffled.Shuffled,
    zero_shot.ZeroShot,
    fine_tuning.FineTune,
    guarded.Guarded,
    best_source.BestSource,
    feature_extraction.FeatureExtraction,
    unfreezing.GradualUnfreezing,
    l2_sp.L2SP,
    ewc.EWC,
    partial_reset.PartialReset,
    shrink_perturb.ShrinkPerturb,
    layer_norm.LayerNorm,
    kickstart.Kickstart,
    distill.Distill,
    qdagger.QDagger,
    jump_start.JumpStart,
    wsrl.WSRL,
    rlpd.RLPD,
    cloning.Clone,
    residual.Residual,
    progressive.Progressive,
    lora.LoRA,
    input_adapter.InputAdapter,
)
"""Ours, in the order in which they are listed."""
for _method in OURS:
    METHODS[_method.name] = METHODS.pop(_method.name)


def make_method(method: str | Settings | TransferMethod, **options: Any) -> TransferMethod:
    """Build a method from its name and options.

    Args:
        method: A name; a mapping with the name under ``method`` and options beside it; or a method, which is
            returned as it is.
        options: Options of the method.

    Raises:
        SettingError: The name or an option is unknown (the nearest valid ones are named), or a value is of
            the wrong type or out of bounds.
    """
    if isinstance(method, TransferMethod):
        if options:
            raise WarmstartError(
                f"{method.name} was given as an object; set its options there, not beside it: "
                f"{', '.join(options)}."
            )
        return method
    settings = {"method": method} if isinstance(method, str) else method
    return read_named("transfer method", METHODS, {**settings, **options}, tag="method")
