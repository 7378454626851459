"""How a run went, in numbers and in a sentence."""

import math
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .contract import DeploymentError

_QUANTILES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))


class RunError(DeploymentError):
    """Something failed while a robot was run, which ended in a safe stop."""


@dataclass
class Outcome:
    """How a run went."""

    reason: str = ""
    """Why it ended."""
    finished: bool = False
    """Whether it ended as it was meant to: its time was up."""
    signal: int | None = None
    """The signal that ended it, if one did."""
    steps: int = 0
    """Control steps."""
    seconds: float = 0.0
    """From the first to the last of them."""
    missed: int = 0
    """Steps that were left out since the one before took too long."""
    unheard: int = 0
    """Observations of the robot that never came, or after a later one."""
    unsound: int = 0
    """Observations that held NaN or infinities and weren't used."""
    limited: int = 0
    """Steps whose action was limited."""
    notes: list[str] = field(default_factory=list)
    """What was assumed or dropped, in a sentence each."""
    late: "array[float]" = field(default_factory=lambda: array("d"))
    """By how much each step came late, in s."""

    def lateness(self, share: float) -> float:
        """A quantile of how late steps came, in s; NaN without steps."""
        return float(np.quantile(self.late, share)) if len(self.late) else math.nan

    def to_json(self) -> dict[str, Any]:
        """Plain values, the lateness as its quantiles in s."""
        late = {name: self.lateness(q) for name, q in _QUANTILES}
        return {**{k: v for k, v in vars(self).items() if k != "late"}, "late": late}

    def __str__(self) -> str:
        late = ", ".join(f"{name} {1e3 * self.lateness(q):.3f}" for name, q in _QUANTILES)
        return (
            f"Safe stop: {self.reason}.\n{self.steps:,} steps in {self.seconds:.1f} s; late by {late} ms; "
            f"{self.missed} steps missed, {self.unheard} observations lost, {self.unsound} unsound, "
            f"{self.limited} actions limited."
        ) + "".join(f"\n{note}" for note in self.notes)
