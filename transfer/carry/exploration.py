"""What becomes of the source's exploration: the ``log_std`` of PPO, the entropy coefficient of SAC.

A source that trained for long has a collapsed ``log_std`` or a tiny entropy coefficient, and no longer
explores (myosuite #27). May import nothing of ours but the errors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from warmstart.core.errors import WarmstartError, unknown_name


@dataclass(frozen=True)
class Keep:
    """Carry the source's value."""

    def __call__(self, value: float) -> float:
        """Return the value."""
        return value


@dataclass(frozen=True)
class Reset:
    """Start from a value of one's own."""

    value: float
    """``log_std`` for PPO; the entropy coefficient itself, not its logarithm, for SAC."""

    def __call__(self, value: float) -> float:  # noqa: ARG002
        """Return the value to start from."""
        return self.value


@dataclass(frozen=True)
class Floor:
    """Carry the source's value, raised to a lower bound."""

    value: float
    """Lower bound: of ``log_std`` for PPO; of the entropy coefficient, not its logarithm, for SAC."""

    def __call__(self, value: float) -> float:
        """Return the larger of the two."""
        return max(value, self.value)


Exploration = Keep | Reset | Floor


def read_exploration(value: Any) -> Exploration:
    """Read the form that YAML and JSON have: ``keep``, ``{reset: 0.1}`` or ``{floor: -1.0}``.

    Raises:
        WarmstartError: If it has another form.
    """
    if isinstance(value, Keep | Reset | Floor):
        return value
    if value == "keep":
        return Keep()
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, number),) = value.items()
        if name not in ("reset", "floor"):
            raise unknown_name("exploration", str(name), ("keep", "reset", "floor"))
        if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
            return Reset(float(number)) if name == "reset" else Floor(float(number))
    raise WarmstartError(
        f"exploration is {value!r}. Expected Keep(), Reset(value) or Floor(value); in YAML: keep, "
        f"{{reset: value}} or {{floor: value}}."
    )


def write_exploration(exploration: Exploration) -> str | dict[str, float]:
    """Return the form that YAML and JSON have; the inverse of ``read_exploration``."""
    if isinstance(exploration, Keep):
        return "keep"
    return {"reset" if isinstance(exploration, Reset) else "floor": exploration.value}
