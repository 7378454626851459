"""Progressive networks: a new column that reads a frozen one (Rusu et al. 2016, 1606.04671)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from typing_extensions import override

from warmstart.transfer.growing.columns import NewColumn
from warmstart.transfer.methods.base import register_method


@register_method
@dataclass(frozen=True)
class Progressive(NewColumn):
    """New units read the source's features in every layer, and the output reads both columns.

    Equation 1 of the paper: lateral connections lead from the frozen column to the new one; nothing leads
    back. They train, from the small numbers that the target drew.
    """

    name: ClassVar[str] = "progressive"
    title: ClassVar[str] = "a new column with lateral connections to a frozen one"
    paper: ClassVar[str] = "1606.04671"

    output: Literal["source", "fresh"] = "source"
    """What the output reads of the frozen column at first: as the ``source`` did, so that the agent begins as
    it; or, as in the paper, as the target drew it (``fresh``; its bias is the source's)."""

    @override
    def side(self, weight: torch.Tensor, mask: torch.Tensor, rows: int, columns: int) -> None:
        del weight, mask, rows, columns  # they stay as drawn, and train

    @override
    def join(self, weight: torch.Tensor, mask: torch.Tensor, source: torch.Tensor, columns: int) -> None:
        if self.output == "source":
            weight[:, :columns], weight[:, columns:] = source, 0
