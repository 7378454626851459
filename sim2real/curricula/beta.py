"""Products of Beta distributions, and the widest of them that an agent bears: DORAEMON's optimisation.

Source: "Domain Randomization via Entropy Maximization", ICLR 2024, arXiv 2311.01885.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.optimize import LinearConstraint, NonlinearConstraint, minimize
from scipy.special import betaln, digamma, polygamma

Floats = NDArray[np.float64]
LOWEST, HIGHEST = 1.0, 500.0
"""Bounds of the Beta distributions' parameters: from 1 on they have one mode; 1 and 1 are uniform."""
SLACK = 1e-9
"""By which rounding may break a constraint."""
_Function = Callable[[Floats], float]
_Gradient = Callable[[Floats], Floats]


def log_density(parameters: Floats, positions: Floats) -> Floats:
    """Log-density of positions under a product of Beta distributions.

    Args:
        parameters: Alpha and beta of each term. Shape: (2, terms).
        positions: Between 0 and 1, neither included. Shape: (n, terms).

    Returns:
        Shape: (n,).
    """
    a, b = parameters
    each = (a - 1) * np.log(positions) + (b - 1) * np.log1p(-positions) - betaln(a, b)
    return np.asarray(each.sum(axis=1))


def entropy(parameters: Floats) -> float:
    """Differential entropy of a product of Beta distributions, nats: 0 for the uniform one, else below.

    Args:
        parameters: Alpha and beta of each term. Shape: (2, terms).
    """
    a, b = parameters
    each = betaln(a, b) - (a - 1) * digamma(a) - (b - 1) * digamma(b) + (a + b - 2) * digamma(a + b)
    return float(each.sum())


def entropy_gradient(parameters: Floats) -> Floats:
    """Derivatives of `entropy`. Shape: (2, terms), as the parameters."""
    total = parameters.sum(axis=0)
    return np.asarray((total - 2) * polygamma(1, total) - (parameters - 1) * polygamma(1, parameters))


def divergence(new: Floats, old: Floats) -> float:
    """Kullback-Leibler divergence KL(new || old) of two products of Beta distributions, nats.

    Args:
        new: Alpha and beta of each term. Shape: (2, terms).
        old: The same. Shape: (2, terms).
    """
    change = new - old
    each = betaln(*old) - betaln(*new) + (change * digamma(new)).sum(axis=0)
    return float((each - change.sum(axis=0) * digamma(new.sum(axis=0))).sum())


def divergence_gradient(new: Floats, old: Floats) -> Floats:
    """Derivatives of `divergence` with respect to ``new``. Shape: (2, terms), as both."""
    change = new - old
    return np.asarray(change * polygamma(1, new) - change.sum(axis=0) * polygamma(1, new.sum(axis=0)))


@dataclass(frozen=True)
class UpdateProblem:
    """One update: what is known of the agent, and the constraints.

    The success rate of a distribution is estimated from the episodes by importance sampling as in the
    paper, each weighted by the density it was itself drawn from: some began before the last update.

    Parameters are alpha and beta of each term. Shape: (2, terms).
    """

    old: Floats
    """Parameters of the current distribution. Shape: (2, terms)."""
    positions: Floats
    """Where the episodes were. Shape: (n, terms)."""
    successes: NDArray[np.bool_]
    """Shape: (n,)."""
    log_densities: Floats
    """Of the positions, under the distributions they were drawn from. Shape: (n,)."""
    alpha: float
    """Success rate to keep."""
    epsilon: float
    """Largest divergence from ``old``."""

    def weights(self, new: Floats) -> Floats:
        """Importance weights of the episodes under other parameters. Shape: (n,)."""
        return np.asarray(np.exp(log_density(new, self.positions) - self.log_densities))

    def success_rate(self, new: Floats) -> float:
        """Estimated success rate under parameters (2, terms); where the weights are large, it may pass 1."""
        return float((self.weights(new) * self.successes).mean())

    def success_rate_gradient(self, new: Floats) -> Floats:
        """Derivatives of `success_rate`. Shape: (2, terms)."""
        logs = np.stack([np.log(self.positions), np.log1p(-self.positions)])
        scores = logs - (digamma(new) - digamma(new.sum(axis=0)))[:, None]
        found: Floats = np.einsum("n,pnt->pt", self.weights(new) * self.successes, scores)
        return found / len(self.positions)

    def effective_sample_size(self, new: Floats) -> float:
        """How many episodes of the new distribution tell as much as the weighted ones.

        Args:
            new: Its parameters. Shape: (2, terms).
        """
        weights = self.weights(new)
        return float(weights.sum() ** 2 / (weights**2).sum())

    def within(self, new: Floats) -> bool:
        """Whether parameters, shape (2, terms), lie in the trust region around the old ones."""
        return divergence(new, self.old) <= self.epsilon + SLACK

    def widest(self, start: Floats) -> Floats:
        """Parameters of the largest entropy that keep both constraints.

        Args:
            start: Where the search begins; keeps them, too. Shape: (2, terms).

        Returns:
            Shape: (2, terms).
        """

        def keeps(new: Floats) -> bool:
            return self.within(new) and self.success_rate(new) >= self.alpha - SLACK

        held = (self.success_rate, self.success_rate_gradient)
        return self._solve(start, entropy, entropy_gradient, keeps, held)

    def most_successful(self) -> Floats:
        """Parameters of the largest estimated success rate in the trust region: the backup problem.

        Returns:
            Shape: (2, terms).
        """
        return self._solve(self.old, self.success_rate, self.success_rate_gradient, self.within)

    def _solve(
        self,
        start: Floats,
        objective: _Function,
        gradient: _Gradient,
        keeps: Callable[[Floats], bool],
        held: tuple[_Function, _Gradient] | None = None,
    ) -> Floats:
        """Maximise an objective from ``start``; ``held`` stays at ``alpha`` or above.

        The solver sees the logarithms of the parameters in `_steps` from the start. In the parameters
        themselves, of which a narrow Beta's two must grow together, it stops short.
        """
        origin, steps = np.log(start.T).ravel(), _steps(start, self.epsilon)

        def at(taken: Floats) -> Floats:
            return np.asarray(np.exp(origin + steps @ taken).reshape(-1, 2).T)

        def seen(function: _Function, scale: float = 1.0) -> _Function:
            return lambda taken: scale * function(at(taken))

        def seen_gradient(derivatives: _Gradient, scale: float = 1.0) -> _Gradient:
            return lambda taken: scale * ((derivatives(at(taken)) * at(taken)).T.ravel() @ steps)

        constraints = [
            LinearConstraint(steps, np.log(LOWEST) - origin, np.log(HIGHEST) - origin),
            NonlinearConstraint(
                seen(lambda new: divergence(new, self.old), 1 / self.epsilon),
                -np.inf,
                1.0,
                jac=seen_gradient(lambda new: divergence_gradient(new, self.old), 1 / self.epsilon),
            ),
        ]
        if held is not None:
            value, slope = held
            constraints.append(NonlinearConstraint(seen(value), self.alpha, np.inf, jac=seen_gradient(slope)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the solver's doubts: its result is checked below
            found = minimize(
                seen(objective, -1.0),
                np.zeros_like(origin),
                method="trust-constr",
                jac=seen_gradient(gradient, -1.0),
                constraints=constraints,
                options={"gtol": 1e-6, "xtol": 1e-8, "maxiter": 300},
            )
        return _last_kept(start, at(found.x), objective, keeps)


def _steps(start: Floats, epsilon: float) -> Floats:
    """Changes of the logarithms of parameters that each diverge by about epsilon and don't interfere.

    The divergence of a small change is half its square under the Fisher information, here a 2 by 2 matrix for
    each term, whose Cholesky factor makes it a plain square.

    Returns:
        One change per column; alpha and beta of a term follow each other. Shape: (2 terms, 2 terms).
    """
    information = np.repeat(-polygamma(1, start.sum(axis=0))[:, None], 4, axis=1).reshape(-1, 2, 2)
    information[:, [0, 1], [0, 1]] += polygamma(1, start).T
    information *= start.T[:, :, None] * start.T[:, None, :]  # of the logarithms
    inverse = np.linalg.inv(np.linalg.cholesky(information))
    return np.asarray(np.sqrt(2 * epsilon) * block_diag(*inverse.transpose(0, 2, 1)))


def _last_kept(start: Floats, end: Floats, objective: _Function, keeps: Callable[[Floats], bool]) -> Floats:
    """The furthest point on the way to a solver's result that keeps the constraints, if it is any better.

    The solver may stop a little outside of them.
    """
    end = np.clip(end, LOWEST, HIGHEST)
    low, high = 0.0, 1.0
    found = end
    if not keeps(end):
        for _ in range(40):
            middle = (low + high) / 2
            point = start * (end / start) ** middle
            low, high = (middle, high) if keeps(point) else (low, middle)
        found = start * (end / start) ** low
    return found if objective(found) > objective(start) else start
