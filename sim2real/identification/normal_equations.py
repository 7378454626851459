"""What windows of recorded motion say about parameters: losses and Gauss-Newton's normal equations.

In the units of `warmstart.sim2real.identification.replay`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmstart.sim2real.identification.windows import Floats, Windows

ROBUST = 3.0
"""Residuals (in units of the noise) from which on the soft-L1 loss grows linearly: contacts make outliers."""
STUCK = 1.5
"""Mean loss, and multiple of the usual one, from which on a window counts less: its start wasn't found."""
DIRECTIONS = 3
"""Rounds of limiting what a window says: along the parameters, then along what is known best to worst."""
LEVERAGE = 3.0
"""How much more than most windows one may say about a parameter. Where a contact is about to be made or
lost, a derivative is enormous and holds over no distance: a few such windows would pin the parameters."""


@dataclass(frozen=True)
class Normal:
    """Gauss-Newton's normal equations of all parameters, the start states eliminated (Schur complement).

    Attributes:
        information: What the data says about the parameters together. Shape: (p, p).
        scores: Every window's gradient of half the loss by the parameters. Shape: (w, p).
        own: Every window's equations of its start state. Shape: (w, 2 nv, 2 nv).
        cross: What joins them with the parameters. Shape: (w, 2 nv, p).
        pull: Gradient of half the loss by the start states. Shape: (w, 2 nv).
    """

    information: Floats
    scores: Floats
    own: Floats
    cross: Floats
    pull: Floats

    @classmethod
    def of(cls, windows: Windows, residuals: Floats, by_start: Floats, by_place: Floats) -> "Normal":
        """Build them from what `Replay.linearize` returns, outliers weighted down as by `loss`."""
        root = np.sqrt(1 / np.sqrt(1 + (residuals / ROBUST) ** 2))[..., None]
        r, js, jp = residuals[..., None] * root, by_start * root, by_place * root
        own = js.transpose(0, 2, 1) @ js
        own += 1e-9 * (1 + own.trace(axis1=1, axis2=2))[:, None, None] * np.eye(own.shape[1])
        cross, pull = js.transpose(0, 2, 1) @ jp, (js.transpose(0, 2, 1) @ r)[..., 0]
        profiled = jp - js @ np.linalg.solve(own, cross)  # start states follow the parameters
        weight = _weights(window_losses(windows, residuals), profiled)[:, None]
        scores = weight * (profiled.transpose(0, 2, 1) @ r)[..., 0]
        information = _information(profiled, weight[:, 0])
        return cls(information, scores, own, cross, pull)

    def follow(self, step: Floats, damping: float) -> Floats:
        """Step of the start states that goes with one of the parameters. Shape: (w, 2 nv)."""
        damped = self.own + damping * np.eye(self.own.shape[1])
        return np.asarray(-np.linalg.solve(damped, (self.pull + self.cross @ step)[..., None])[..., 0])

    def covariance(self, free: NDArray[np.bool_]) -> Floats:
        """Covariance of the free parameters' estimates; the larger of two, per parameter.

        Gauss-Newton's holds where residuals are independent noise; the sandwich of the windows' scores also
        where a wrong model makes those of a window go together.
        """
        inverse = invert(self.information[np.ix_(free, free)])
        scores = self.scores[:, free]
        sandwich = inverse @ (scores.T @ scores) @ inverse
        grow = np.sqrt(np.maximum(1.0, np.diag(sandwich) / np.diag(inverse)))
        return np.asarray(inverse * np.outer(grow, grow))


def _information(profiled: Floats, weight: Floats) -> Floats:
    """What weighted windows say about the parameters together. Shape: (p, p)."""
    return np.asarray((profiled.transpose(0, 2, 1) @ (profiled * weight[:, None, None])).sum(axis=0))


def _weights(losses: Floats, profiled: Floats) -> Floats:
    """How much windows count for the parameters.

    None says more than `LEVERAGE` allows, along any parameter and along what is known best to worst of them.

    Args:
        losses: Mean loss of each. Shape: (w,).
        profiled: Derivatives by the parameters, start states following. Shape: (w, m, p).

    Returns:
        From 0 to 1. Shape: (w,).
    """
    usual = STUCK * max(1.0, float(np.median(losses)))
    found = np.minimum(1.0, (usual / np.maximum(losses, 1e-12)) ** 4)
    directions = np.eye(profiled.shape[2])
    weight = found
    for _ in range(DIRECTIONS):
        said = ((profiled @ directions) ** 2).sum(axis=1)
        kept = np.sort(said, axis=0)[: max(1, round(0.95 * len(said)))]
        # the mean where few windows say anything at all, as where contacts are rare
        most = LEVERAGE * np.maximum(np.quantile(said, 0.75, axis=0), kept.mean(axis=0))
        cap = np.minimum(1.0, most / np.maximum(said, 1e-12)).min(axis=1, initial=1.0, where=most > 0)
        weight = np.minimum(weight, found * cap)
        information = _information(profiled, weight)
        scale = np.sqrt(np.maximum(np.diag(information), 1e-12))
        directions = np.linalg.eigh(information / np.outer(scale, scale))[1] / scale[:, None]
    return np.asarray(weight)


def invert(information: Floats) -> Floats:
    """Inverse of an information matrix; what it knows nothing about gets an enormous variance."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-12))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    inverse = (vectors / np.maximum(values, 1e-12)) @ vectors.T
    return np.asarray(inverse / np.outer(scale, scale))


def window_losses(windows: Windows, residuals: Floats) -> Floats:
    """Mean loss of each window per measured number, in units of the noise: about 1 where all is explained.

    A residual counts with its square where it is small, with 2 ROBUST times itself where it is large (soft
    L1).

    Args:
        windows: What was measured.
        residuals: As `Replay.residuals` or `Replay.linearize` return them. Shape: (..., w, m).

    Returns:
        Shape: (..., w).
    """
    size = windows.valid.sum(axis=1) * windows.span.size
    soft = 2 * ROBUST**2 * (np.sqrt(1 + (residuals / ROBUST) ** 2) - 1)
    return np.asarray(soft.sum(axis=-1) / size)


def loss(losses: Floats) -> Floats:
    """Mean of windows' losses, beyond `STUCK` only logarithmically. Shape: (..., w) to (...)."""
    return np.asarray(
        np.where(losses < STUCK, losses, STUCK * (1 + np.log(np.maximum(losses, STUCK) / STUCK))).mean(
            axis=-1
        )
    )
