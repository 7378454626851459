"""Which dimension of the source is which dimension of the target: by name, by the user's map, or by place."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.simulation.layouts import Dimension, Layout

Kind = Literal["observation", "action"]
DimensionMap = Mapping[str, str | None]
"""``{target name: source name}``; ``None`` leaves the target dimension fresh although a namesake exists."""

_NUMBERED = re.compile(r"(?P<block>.*)\[(?P<index>[\d,]+)\]")
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
        """Return the scales of a matched pair, the target's first; 1 and 1 where they can't be compared."""
        ours, theirs = self.target.dimensions[t].scale, self.source.dimensions[s].scale
        unknown = self.by_place or math.isnan(ours + theirs) or not self.same_unit(t, s)
        return (1.0, 1.0) if unknown else (ours, theirs)

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
            found.append(f"New {kind} dimensions, unknown to the source: {_listed(self.fresh)}.")
        if self.unused:
            found.append(
                f"The source's {kind} dimensions without a place in the target: {_listed(self.unused)}."
            )
        unknown = [
            self.target.names[t]
            for t, s in self.matched
            if math.isnan(self.target.dimensions[t].scale + self.source.dimensions[s].scale)
        ]
        if unknown and kind == "action":
            found.append(
                f"The gear of {_listed(unknown)} isn't known on both sides: equal numbers are taken as equal "
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


def match(
    source: Layout | None,
    target: Layout | None,
    sizes: tuple[int, int],
    mapping: DimensionMap | None = None,
    kind: Kind = "observation",
    required: bool = True,
) -> Matching:
    """Match the dimensions of two layouts.

    The user's map comes first, then equal names. Numbered names (``camera[0]``, ``camera[1]``) form blocks,
    which only match blocks of the same length. Where a side has no names, equal lengths are matched by place.

    Args:
        source: Layout of the source, or ``None`` if its names aren't known.
        target: Layout of the target, or ``None``.
        sizes: Number of dimensions of source and target.
        mapping: ``{target name: source name}``.
        kind: What is matched, for messages.
        required: Whether some observation has to match; otherwise all may be new.

    Raises:
        WarmstartError: If names are missing and the lengths differ, if a layout has another length than its
            space, if a mapped name doesn't exist or is used twice, or if nothing matches.
    """
    nameless = []
    for side, layout, size in (("source", source, sizes[0]), ("target", target, sizes[1])):
        nameless += [side] if is_nameless(layout) else []
        if layout is not None and len(layout) != size:
            raise WarmstartError(
                f"The {side} has {_counted(size, f'{kind} dimension')}, but {_counted(len(layout), 'name')} "
                f"{'was' if len(layout) == 1 else 'were'} given: {_listed(layout.names)}."
            )
    layouts = source or numbered(kind, sizes[0]), target or numbered(kind, sizes[1])
    if nameless and not mapping:
        if sizes[0] != sizes[1] and not required:
            return Matching(*layouts, (None,) * sizes[1])
        if sizes[0] != sizes[1]:
            raise WarmstartError(
                f"The source has {_counted(sizes[0], f'{kind} dimension')} and the target {sizes[1]}, and "
                f"the {' and the '.join(nameless)} {'have' if len(nameless) > 1 else 'has'} no names to "
                "match them by. Give them: "
                + ", ".join(f"{side}_{kind}_names=[...]" for side in nameless)
                + " (or source_task='Hopper-v5', if the source was trained on a task that warmstart knows)."
            )
        return Matching(*layouts, tuple(range(sizes[1])), True)
    matching = _by_name(*layouts, mapping or {}, kind)
    if not matching.matched and kind == "observation" and required:
        raise WarmstartError(
            f"Nothing to carry: no {kind} of the target has the name of one of the source.\n"
            f"  source: {_listed(matching.source.names)}\n  target: {_listed(matching.target.names)}\n"
            f"Say which is which: {kind}_map={{'target name': 'source name'}}."
        )
    return matching


def is_nameless(layout: Layout | None) -> bool:
    """Whether a layout carries no meaning: absent, or only numbers its dimensions (``obs[0]``, …)."""
    if layout is None:
        return True
    blocks = [_NUMBERED.fullmatch(name) for name in layout.names]
    return not any(dimension.block for dimension in layout.dimensions) and all(
        found is not None and found["block"] in _GENERIC_BLOCKS for found in blocks
    )


def numbered(kind: Kind, size: int) -> Layout:
    """Return a layout that only numbers its dimensions."""
    block = "obs" if kind == "observation" else "action"
    return named([f"{block}[{index}]" for index in range(size)], kind)


def named(names: Sequence[str], kind: Kind) -> Layout:
    """Return a layout of names alone; the scale of an action (its gear) isn't known then, which is NaN."""
    scale = math.nan if kind == "action" else 1.0
    return Layout(tuple(Dimension(name, scale=scale) for name in names))


def _by_name(source: Layout, target: Layout, mapping: DimensionMap, kind: Kind) -> Matching:
    place = {name: index for index, name in enumerate(source.names)}
    for ours, theirs in mapping.items():
        if ours not in target.names:
            raise unknown_name(f"{kind} of the target in {kind}_map", ours, target.names)
        if theirs is not None and theirs not in place:
            raise unknown_name(f"{kind} of the source in {kind}_map", theirs, source.names)
    _check_blocks(source, target, mapping, kind)

    indices: list[int | None] = []
    for dimension in target.dimensions:
        index = place.get(dimension.name)
        if dimension.name in mapping:
            theirs = mapping[dimension.name]
            index = None if theirs is None else place[theirs]
            if index is not None and source.dimensions[index].block != dimension.block:
                raise WarmstartError(
                    f"{kind}_map can't take {dimension.name!r} from {theirs!r}: features of an encoder "
                    "only match those of the same encoder (hash "
                    f"{source.dimensions[index].block or 'none'} in the source, "
                    f"{dimension.block or 'none'} in the target)."
                )
        elif index is not None and not dimension.matches(source.dimensions[index]):
            index = None
        indices.append(index)
    for index, count in Counter(i for i in indices if i is not None).items():
        if count > 1:
            takers = [n for n, i in zip(target.names, indices, strict=True) if i == index]
            raise WarmstartError(
                f"The source's {kind} {source.names[index]!r} is taken by {_listed(takers)}; one only. "
                f"Map the others elsewhere, or to None in {kind}_map to leave them fresh."
            )
    return Matching(source, target, tuple(indices))


def _check_blocks(source: Layout, target: Layout, mapping: DimensionMap, kind: Kind) -> None:
    """Refuse numbered blocks of one name and different lengths: their numbers mean nothing."""
    theirs, ours = _block_sizes(source), _block_sizes(target)
    for block in theirs.keys() & ours.keys():
        if theirs[block] != ours[block] and not any(name.startswith(f"{block}[") for name in mapping):
            raise WarmstartError(
                f"The {kind} block {block!r} has {_counted(theirs[block], 'dimension')} in the source and "
                f"{ours[block]} in the target, without names of their own. Give names "
                f"(source_{kind}_names, target_{kind}_names) or an {kind}_map."
            )


def _block_sizes(layout: Layout) -> Counter[str]:
    """Count the dimensions of each numbered block that isn't an encoder's."""
    found = (_NUMBERED.fullmatch(dimension.name) for dimension in layout.dimensions if not dimension.block)
    return Counter(match["block"] for match in found if match is not None)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "")
