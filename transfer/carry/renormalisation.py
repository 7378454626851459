"""CrossQ's batch renormalisation across spaces: its statistics of each input and of each unit."""

import re
from collections.abc import Iterable, Sequence

import torch

from warmstart.transfer.carry.networks import Network, Widening, widen_rows
from warmstart.transfer.matching.matching import Matching
from warmstart.transfer.matching.scaling import Affine

Tensors = dict[str, torch.Tensor]
VECTORS = {"ra_mean": 0.0, "ra_var": 1.0, "scale": 1.0, "bias": 0.0}
"""What a layer has for each of its inputs, and what a new one gets."""
EPS = 1e-3
"""What sb3-contrib adds to a variance by default."""


def norms_of(network: Network, names: Iterable[str]) -> tuple[str, ...]:
    """The renormalisations of a network in order: of its inputs, then of the units of each hidden layer."""
    base = re.escape(network.hidden[0].rpartition(".")[0]) if network.hidden else ""
    found = (re.fullmatch(rf"({base}\.(\d+))\.ra_mean", name) for name in names)
    return tuple(name for _, name in sorted((int(m[2]), m[1]) for m in found if m))


def of_inputs(norm: Tensors, parts: Sequence[tuple[Matching, Affine]]) -> Tensors:
    """Statistics for the target's inputs, so that those that match are normalised to the same numbers.

    Args:
        norm: `VECTORS` of the source's layer. Shape of each: (inputs,).
        parts: The observations, and a critic's actions: what matches, and the source's number as an affine
            function of the target's.

    Returns:
        The same for the target. Shape of each: (target's inputs,).
    """
    out: dict[str, list[torch.Tensor]] = {name: [] for name in VECTORS}
    start = 0
    for matching, affine in parts:
        new = {
            name: torch.full((len(matching.indices),), value, dtype=norm[name].dtype)
            for name, value in VECTORS.items()
        }
        for t, s in matching.matched:
            factor, offset, at = float(affine.factor[t]), float(affine.offset[t]), start + s
            new["ra_mean"][t] = (norm["ra_mean"][at] - offset) / factor
            new["ra_var"][t] = ((norm["ra_var"][at] + EPS) / factor**2 - EPS).clamp_min(0.0)
            new["scale"][t] = norm["scale"][at] * (1.0 if factor > 0 else -1.0)
            new["bias"][t] = norm["bias"][at]
        for name, vector in new.items():
            out[name].append(vector)
        start += len(matching.source)
    return {name: torch.cat(vectors) for name, vectors in out.items()}


def at_its_mean(norm: Tensors, parts: Sequence[tuple[Matching, Affine]]) -> torch.Tensor:
    """What the source's inputs that the target lacks are normalised to at their mean; 0 for all others.

    Args:
        norm: `VECTORS` of the source's layer. Shape of each: (inputs,).
        parts: As for `of_inputs`.

    Returns:
        What the first layer's weights are multiplied with to give its bias. Shape: (inputs,).
    """
    out, start = torch.zeros_like(norm["bias"]), 0
    for matching, _ in parts:
        matched = {s for _, s in matching.matched}
        at = [start + s for s in range(len(matching.source)) if s not in matched]
        out[at] = norm["bias"][at]
        start += len(matching.source)
    return out


def of_units(norm: Tensors, widening: Widening) -> Tensors:
    """Statistics for the units of a wider layer: each copy has those of its origin."""
    return {name: widen_rows(norm[name], widening) for name in VECTORS}
