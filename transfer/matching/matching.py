"""Which dimension of the source is which dimension of the target: by name, by the user's map, or by place."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from warmstart.envs.simulation.layouts import Layout

Kind = Literal["observation", "action"]

NUMBERED = re.compile(r"(?P<block>.*)\[(?P<index>[\d,]+)\]")
_GENERIC_BLOCKS = {"obs", "observation", "action", "choice"}


@dataclass(frozen=True)
class Matching:
    """For every dimension of the target, the dimension of the source that it takes."""

    source: Layout
    """Names of the source's dimensions."""

    target: Layout
    """Names of the target's dimensions."""

    indices: tuple[int | None, ...]
    """For each target dimension the index of its source dimension, or ``None`` for a new one."""

    by_place: bool = False
    """Whether the dimensions were matched one after another, for want of names."""

    signs: tuple[float, ...] = ()
    """For each target dimension 1, or -1 where its number is the source's turned round; empty for all 1."""

    mirrored: tuple[int, ...] = ()
    """Target dimensions that take what is on the other side of the source's body."""

    @property
    def identity(self) -> bool:
        """Whether every dimension is matched to the one in the same place, in the same unit."""
        return self.indices == tuple(range(len(self.source))) and bool(np.all(self.ratios == 1.0))

    @property
    def matched(self) -> tuple[tuple[int, int], ...]:
        """Pairs (target index, source index)."""
        return tuple((t, s) for t, s in enumerate(self.indices) if s is not None)

    @property
    def fresh(self) -> tuple[str, ...]:
        """Target dimensions that the source doesn't know."""
        return tuple(
            d.name for d, index in zip(self.target.dimensions, self.indices, strict=True) if index is None
        )

    @property
    def unused(self) -> tuple[str, ...]:
        """Source dimensions that no target dimension takes."""
        used = set(self.indices)
        return tuple(d.name for s, d in enumerate(self.source.dimensions) if s not in used)

    @property
    def ratios(self) -> NDArray[np.float64]:
        """Target scale over source scale, 1 for new dimensions. Shape: (target dimensions,).

        A target value times its ratio is the same physical quantity in the source's numbers.
        """
        ratios = np.ones(len(self.indices))
        for t, s in self.matched:
            ours, theirs = self.scales(t, s)
            ratios[t] = ours / theirs
        return ratios

    def scales(self, t: int, s: int) -> tuple[float, float]:
        """Return the scales of a matched pair, the target's first; 1 and 1 where they can't be compared.

        The target's has the sign that its number takes.
        """
        ours, theirs = self.target.dimensions[t].scale, self.source.dimensions[s].scale
        unknown = self.by_place or math.isnan(ours + theirs) or not self.same_unit(t, s)
        sign = self.signs[t] if self.signs else 1.0
        return (sign, 1.0) if unknown else (sign * ours, theirs)

    @property
    def shares(self) -> NDArray[np.float64]:
        """One over the number of target dimensions that take the same source dimension. Shape: (target,)."""
        counts = Counter(index for index in self.indices if index is not None)
        return np.array([1.0 if index is None else 1.0 / counts[index] for index in self.indices])

    def _taken(self, t: int) -> str:
        index = self.indices[t]
        return "" if index is None else self.source.names[index]

    def same_unit(self, t: int, s: int) -> bool:
        """Whether a matched pair is in the same unit: no factor makes a torque an angle."""
        return self.target.dimensions[t].unit == self.source.dimensions[s].unit

    def notes(self, kind: Kind) -> tuple[str, ...]:
        """Say in words what is new, what is dropped and what changes its unit."""
        found = []
        if self.by_place:
            which = f"The {kind} dimensions have no names on either side"
            if is_nameless(self.source) != is_nameless(self.target):
                side = "source" if is_nameless(self.source) else "target"
                which = f"The {side}'s {kind} dimensions have no names"
            found.append(f"{which}: matched one after another. Check the order.")
        if self.fresh:
            found.append(f"New {kind} dimensions, unknown to the source: {listed(self.fresh)}.")
        if self.unused:
            found.append(
                f"The source's {kind} dimensions without a place in the target: {listed(self.unused)}."
            )
        turned = [self.target.names[t] for t, sign in enumerate(self.signs) if sign < 0]
        if self.mirrored:
            named = listed([f"{self.target.names[t]} ({self._taken(t)})" for t in self.mirrored])
            found.append(f"From the other side of the source's body: {named}.")
        if turned:
            found.append(f"With the sign turned round: {listed(turned)}.")
        unknown = [
            self.target.names[t]
            for t, s in self.matched
            if math.isnan(self.target.dimensions[t].scale + self.source.dimensions[s].scale)
        ]
        if unknown and kind == "action":
            found.append(
                f"The gear of {listed(unknown)} isn't known on both sides: equal numbers are taken as equal "
                "actions. A Layout in place of names, or source_task, tells it."
            )
        for t, s in self.matched:
            ours, theirs = self.target.dimensions[t], self.source.dimensions[s]
            if ours.unit == theirs.unit or not (kind == "action" or (ours.unit and theirs.unit)):
                continue
            how = ", unscaled, since their units differ" if kind == "action" else ""
            found.append(
                f"{ours.name} [{ours.unit}] takes the weights of {theirs.name} [{theirs.unit}]{how}."
            )
        return tuple(found)


def is_nameless(layout: Layout | None) -> bool:
    """Whether a layout carries no meaning: absent, or only numbers its dimensions (``obs[0]``, …)."""
    if layout is None:
        return True
    blocks = [NUMBERED.fullmatch(name) for name in layout.names]
    return not any(dimension.block for dimension in layout.dimensions) and all(
        found is not None and found["block"] in _GENERIC_BLOCKS for found in blocks
    )


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in a row, at most so many of them."""
    shown = ", ".join(names[:most])
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "")
