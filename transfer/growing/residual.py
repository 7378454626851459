"""Residual policy learning: a correction on a frozen base (Silver et al. 2018, 1812.06298)."""

from dataclasses import dataclass
from typing import ClassVar

from warmstart.transfer.growing.columns import NewColumn
from warmstart.transfer.methods.base import SHIFTS, register_method


@register_method
@dataclass(frozen=True)
class Residual(NewColumn):
    """``action = source(observation) + new(observation)``: the source stays, what is new begins at zero.

    The two meet in the mean of the actions, for squashed policies before the squashing. The output's bias and
    ``log_std`` train.
    """

    name: ClassVar[str] = "residual"
    serves: ClassVar[tuple[str, ...]] = SHIFTS
    title: ClassVar[str] = "a correction on a frozen base"
    paper: ClassVar[str] = "1812.06298"
