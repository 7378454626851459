"""All self-supervised objectives, and how one is made from its name."""

from warmstart.core.plain import Settings, read_named
from warmstart.transfer.pretraining import contrast, inverse, pixels
from warmstart.transfer.pretraining.base import OBJECTIVES, ObjectiveConfig

__all__ = ["OBJECTIVES", "make_objective"]

OURS = (contrast, inverse, pixels)
"""Files of this folder that register an objective."""


def make_objective(name: str, options: Settings | None = None) -> ObjectiveConfig:
    """An objective's options from its name.

    Args:
        name: Its name in the table.
        options: What is to differ from the defaults.

    Raises:
        SettingError: The name or an option is unknown, or a value of the wrong type or out of bounds.
    """
    return read_named("objective", OBJECTIVES, {**(options or {}), "objective": name}, tag="objective")
