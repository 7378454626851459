"""Terms whose draws go together: a Gaussian copula."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import Before, Bounds, check, unquoted
from warmstart.sim2real.randomization.terms import Term

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """Two terms whose draws go together; with one that says ``each``, each of its parameters' draws does."""

    between: tuple[str, str]
    """Names of the terms."""
    r: Annotated[float, Before(unquoted), Bounds(-1, 1)]
    """Correlation of the Gaussian copula that joins them."""

    def __post_init__(self) -> None:
        check(self)
        if self.between[0] == self.between[1]:
            raise WarmstartError(f"A correlation is between two terms, found {list(self.between)}.")


def copula(
    terms: Sequence[Term], correlations: Sequence[Correlation]
) -> tuple[NDArray[np.intp], Floats] | None:
    """The terms that go together, and what makes correlated normal numbers of independent ones.

    Returns:
        Positions, shape (k,), and a symmetric matrix, shape (k, k); None where nothing is correlated.
    """
    if not correlations:
        return None
    names = [term.name for term in terms]
    matrix = np.eye(len(terms))
    for correlation in correlations:
        for name in correlation.between:
            if name not in names:
                raise unknown_name("term to correlate", name, names)
            if names.count(name) > 1:
                raise WarmstartError(
                    f"Expected one term called {name} to correlate, found {names.count(name)}."
                )
        i, j = (names.index(name) for name in correlation.between)
        if terms[i].each and terms[j].each:
            raise WarmstartError(
                f"Expected each: true in one of two correlated terms at most, found it in {names[i]} and "
                f"{names[j]}: nothing says which of their parameters belong together."
            )
        if terms[i].when != terms[j].when:
            raise WarmstartError(
                f"{names[i]} is drawn at {terms[i].when} and {names[j]} at {terms[j].when}: only what is "
                "drawn together can be correlated."
            )
        if matrix[i, j] not in (0.0, correlation.r):
            raise WarmstartError(
                f"The correlation of {names[i]} and {names[j]} is given twice, as {matrix[i, j]:g} and "
                f"{correlation.r:g}."
            )
        matrix[i, j] = matrix[j, i] = correlation.r
    together = np.flatnonzero((matrix != np.eye(len(terms))).any(axis=0))
    values, vectors = np.linalg.eigh(matrix[np.ix_(together, together)])
    if values[0] < -1e-9:
        listed = ", ".join(f"{' and '.join(c.between)} {c.r:g}" for c in correlations)
        raise WarmstartError(
            f"These correlations contradict one another: no numbers can have all of {listed}. Give ones "
            "nearer to 0."
        )
    return together, (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
