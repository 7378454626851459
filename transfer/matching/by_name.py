"""Matching by name, by the user's map, by sides of a body, or by place where there are no names."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.simulation.layouts import Dimension, Layout
from warmstart.transfer.matching.matching import NUMBERED, Kind, Matching, is_nameless, listed
from warmstart.transfer.matching.mirror import ANYTHING

DimensionMap = Mapping[str, str | None]
"""``{target name: source name}``; ``-name`` is the source's with its sign turned round, ``None`` leaves the
target dimension fresh although a namesake exists, ``{"*": "mirror"}`` takes what has no namesake from the
other side of the body."""
Sides = Callable[[str, Collection[str]], tuple[str, float] | None]
"""Name on the other side and sign for a target dimension, given the source's names; see `mirror`."""


def match(
    source: Layout | None,
    target: Layout | None,
    sizes: tuple[int, int],
    mapping: DimensionMap | None = None,
    kind: Kind = "observation",
    required: bool = True,
    sides: Sides | None = None,
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
        sides: What is on the other side of the target's body, where the map asks for it.

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
                f"{'was' if len(layout) == 1 else 'were'} given: {listed(layout.names)}."
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
    matching = _by_name(*layouts, mapping or {}, kind, sides)
    if not matching.matched and kind == "observation" and required:
        raise WarmstartError(
            f"Nothing to carry: no {kind} of the target has the name of one of the source.\n"
            f"  source: {listed(matching.source.names)}\n  target: {listed(matching.target.names)}\n"
            f"{_way(matching, kind)}"
        )
    return matching


def _way(matching: Matching, kind: Kind) -> str:
    """What to do where nothing has the same name."""
    frames = [all(d.block for d in side.dimensions) for side in (matching.source, matching.target)]
    if frames[0] == frames[1]:
        return f"Say which is which: {kind}_map={{'target name': 'source name'}}."
    told = ("frames", "pixels", "the state") if frames[1] else ("the state", "state", "frames")
    return (
        f"The target's agent sees {told[0]}, the source {told[2]}: let the task show both (obs=pixels+state) "
        f"and the source teach, by kickstart, distill, jump_start or qdagger with student_sees={told[1]}."
    )


def numbered(kind: Kind, size: int) -> Layout:
    """Return a layout that only numbers its dimensions."""
    block = "obs" if kind == "observation" else "action"
    return named([f"{block}[{index}]" for index in range(size)], kind)


def named(names: Sequence[str], kind: Kind) -> Layout:
    """Return a layout of names alone; the scale of an action (its gear) isn't known then, which is NaN."""
    scale = math.nan if kind == "action" else 1.0
    return Layout(tuple(Dimension(name, scale=scale) for name in names))


def _by_name(
    source: Layout, target: Layout, mapping: DimensionMap, kind: Kind, sides: Sides | None
) -> Matching:
    place = {name: index for index, name in enumerate(source.names)}
    mapping, signs = dict(mapping), np.ones(len(target))
    if mapping.pop(ANYTHING, None) is None:
        sides = None
    for ours, theirs in mapping.items():
        if ours not in target.names:
            raise unknown_name(f"{kind} of the target in {kind}_map", ours, target.names)
        if theirs is not None and theirs not in place and theirs.removeprefix("-") in place:
            theirs = mapping[ours] = theirs.removeprefix("-")
            signs[target.names.index(ours)] = -1.0
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
                f"The source's {kind} {source.names[index]!r} is taken by {listed(takers)}; one only. "
                f"Map the others elsewhere, or to None in {kind}_map to leave them fresh."
            )
    mirrored = []
    for t, name in enumerate(target.names if sides is not None else ()):
        other = None if indices[t] is not None or name in mapping or sides is None else sides(name, place)
        if other is not None:
            indices[t], signs[t] = place[other[0]], other[1]
            mirrored.append(t)
    return Matching(source, target, tuple(indices), False, tuple(signs.tolist()), tuple(mirrored))


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
    found = (NUMBERED.fullmatch(dimension.name) for dimension in layout.dimensions if not dimension.block)
    return Counter(match["block"] for match in found if match is not None)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
