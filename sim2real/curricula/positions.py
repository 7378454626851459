"""Normalised parameters of curricula: from 0 to 1, where a value lies in its term's widest range.

Of log-uniform terms in the range's logarithm.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.sim2real.randomization.distributions import LogUniform, Uniform
from warmstart.sim2real.randomization.terms import Term, When

Floats = NDArray[np.float64]


def scaled_interval(nominal: Floats, share: float) -> tuple[Floats, Floats]:
    """Ends of ranges that go a share of the way from nominal positions to 0 and to 1. Shapes: (terms,)."""
    return nominal * (1 - share), nominal + (1 - nominal) * share


def check_terms(terms: Sequence[Term]) -> None:
    """Refuse terms that a curriculum can't widen."""
    if not terms:
        raise WarmstartError("A curriculum needs a term to widen, found none.")
    for term in terms:
        distribution = term.distribution
        if not isinstance(distribution, Uniform | LogUniform):
            raise WarmstartError(
                f"{term.name}: a curriculum widens a range (uniform or log_uniform), not the distribution "
                f"{distribution.name}; give it a range such as x0.5:x1.5."
            )
        if distribution.low == distribution.high:
            raise WarmstartError(
                f"{term.name}: the range is the single value {distribution.low:g}; a curriculum needs two "
                "ends that differ."
            )
        if term.when != When() or term.probability != 1:
            found = f"when: {term.when}" if term.when != When() else f"probability: {term.probability:g}"
            raise WarmstartError(
                f"{term.name}: a curriculum judges the value that held throughout an episode, so its terms "
                f"are drawn at every episode; leave out {found}."
            )
        if term.each:
            raise WarmstartError(
                f"{term.name}: write a term for each parameter instead of each, or take them from "
                "Randomization(terms, seed).expanded(env.parameters).randomized."
            )
    for name, count in Counter(term.name for term in terms).items():
        if count > 1:
            raise WarmstartError(f"{name}: a curriculum knows terms by name, and {count} are about this one.")


def nominal_positions(terms: Sequence[Term], nominal: Mapping[str, float]) -> Floats:
    """Where in its widest range each term begins. Shape: (terms,)."""
    known = [term.name for term in terms]
    for name, given in nominal.items():
        if name not in known:
            raise unknown_name("term in nominal", str(name), known)
        low, high = terms[known.index(name)].distribution.bounds
        if not low <= given <= high:
            raise WarmstartError(
                f"{name}: expected a nominal value within the widest range, {low:g} to {high:g}, found "
                f"{given:g}."
            )
    found = []
    for term in terms:
        low, high = term.distribution.bounds
        value = nominal.get(term.name)
        if value is None:
            value = {"scale": 1.0, "add": 0.0}.get(term.operation)
        if value is None:
            found.append(0.5)
            continue
        ends = np.array([low, high, min(max(value, low), high)])
        low, high, inside = np.log(ends) if isinstance(term.distribution, LogUniform) else ends
        found.append((inside - low) / (high - low))
    return np.array(found)
