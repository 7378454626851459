"""The table of self-supervised objectives, and how one is made from its name. May import envs and agents."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from warmstart.core.errors import unknown_name
from warmstart.transfer.pretraining.base import (
    OBJECTIVES,
    Objective,
    ObjectiveConfig,
    register_objective,
)
from warmstart.transfer.pretraining.contrast import TemporalContrast, TemporalContrastConfig
from warmstart.transfer.pretraining.inverse import InverseDynamics, InverseDynamicsConfig
from warmstart.transfer.pretraining.pixels import Autoencoder, AutoencoderConfig, Masked, MaskedConfig

__all__ = [
    "OBJECTIVES",
    "Autoencoder",
    "AutoencoderConfig",
    "InverseDynamics",
    "InverseDynamicsConfig",
    "Masked",
    "MaskedConfig",
    "Objective",
    "ObjectiveConfig",
    "TemporalContrast",
    "TemporalContrastConfig",
    "make_objective",
    "register_objective",
]


def make_objective(name: str, options: Mapping[str, Any] | None = None) -> ObjectiveConfig:
    """An objective's options from its name.

    Args:
        name: Its name in the table.
        options: What is to differ from the defaults.

    Raises:
        WarmstartError: If the name or an option is unknown, or a value out of range.
    """
    if name not in OBJECTIVES:
        raise unknown_name("objective", name, OBJECTIVES)
    valid = [entry.name for entry in fields(OBJECTIVES[name])]
    for option in options or {}:
        if option not in valid:
            raise unknown_name(f"option of {name}", option, valid)
    return OBJECTIVES[name](**(options or {}))
