"""Fit parameters and start states to windows of recorded motion by bounded Gauss-Newton.

The start states are eliminated by a Schur complement, so that their number costs no memory. In the units of
`replay`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmstart.sim2real.identification.replay import Replay
from warmstart.sim2real.identification.windows import Windows
from warmstart.sim2real.recordings.positions import Floats

ROBUST = 3.0
"""Residuals (in units of the noise) from which on the soft-L1 loss grows linearly: contacts make outliers."""
STUCK = 1.5
"""Mean loss, and multiple of the usual one, from which on a window counts less: its start wasn't found."""
DIRECTIONS = 3
"""Rounds of limiting what a window says: along the parameters, then along what is known best to worst."""
LEVERAGE = 3.0
"""How much more than most windows one may say about a parameter. Where a contact is about to be made or
lost, a derivative is enormous and holds over no distance: a few such windows would pin the parameters."""
STEPS = (1.0, 0.3, 0.0)
"""Shares of a Gauss-Newton step that are tried."""
DAMPINGS = (0.0, 1.0, 10.0, 100.0)
"""Levenberg-Marquardt dampings of start states that are tried; 1 is a measurement's own information."""
ROUGH = ((1.0, 0.1), (0.3, 0.1), (0.1, 0.1))
"""Finite-difference steps (see `FINE`) of a fit's iterations in turn; the larger ones see over contacts."""
ITERATIONS = 6


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
    def of(cls, windows: Windows, residuals: Floats, by_start: Floats, by_parameter: Floats) -> "Normal":
        """Build them from what `Replay.linearize` returns, outliers weighted down as by `loss`.

        Args:
            windows: What was measured.
            residuals: Predicted minus measured, in units of the noise. Shape: (w, m).
            by_start: Derivatives by the start states. Shape: (w, m, 2 nv).
            by_parameter: Derivatives by the parameters. Shape: (w, m, p).
        """
        root = np.sqrt(1 / np.sqrt(1 + (residuals / ROBUST) ** 2))[..., None]
        r, js, jp = residuals[..., None] * root, by_start * root, by_parameter * root
        own = js.transpose(0, 2, 1) @ js
        own += 1e-9 * (1 + own.trace(axis1=1, axis2=2))[:, None, None] * np.eye(own.shape[1])
        cross, pull = js.transpose(0, 2, 1) @ jp, (js.transpose(0, 2, 1) @ r)[..., 0]
        profiled = jp - js @ np.linalg.solve(own, cross)  # start states follow the parameters
        weight = _weights(window_losses(windows, residuals), profiled)[:, None]
        scores = weight * (profiled.transpose(0, 2, 1) @ r)[..., 0]
        information = _information(profiled, weight[:, 0])
        return cls(information, scores, own, cross, pull)

    def follow(self, step: Floats, damping: float) -> Floats:
        """Step of the start states that goes with one of the parameters. Shape: (p,) to (w, 2 nv)."""
        damped = self.own + damping * np.eye(self.own.shape[1])
        return np.asarray(-np.linalg.solve(damped, (self.pull + self.cross @ step)[..., None])[..., 0])

    def covariance(self, free: NDArray[np.bool_]) -> Floats:
        """Covariance of the free parameters' estimates; the larger of two, per parameter.

        Gauss-Newton's holds where residuals are independent noise; the sandwich of the windows' scores also
        where a wrong model makes those of a window go together.

        Args:
            free: Which parameters are free. Shape: (p,).

        Returns:
            Shape: (f, f), f being the number of free ones.
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
    """Inverse of an information matrix; what it knows nothing about gets a huge variance. Shape: (p, p)."""
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
    size = windows.valid.sum(axis=1) * windows.measured.sum()
    soft = 2 * ROBUST**2 * (np.sqrt(1 + (residuals / ROBUST) ** 2) - 1)
    return np.asarray(soft.sum(axis=-1) / size)


def loss(losses: Floats) -> Floats:
    """Mean of windows' losses, beyond `STUCK` only logarithmically. Shape: (..., w) to (...)."""
    return np.asarray(
        np.where(losses < STUCK, losses, STUCK * (1 + np.log(np.maximum(losses, STUCK) / STUCK))).mean(
            axis=-1
        )
    )


@dataclass(frozen=True)
class Fit:
    """Parameters and start states that explain windows best.

    Attributes:
        normalised: Parameters, as shares of their ranges. Shape: (p,).
        starts: Offsets of start states, in units of the noise. Shape: (w, 2 nv).
        loss: Mean soft-L1 loss per measured number, in units of the noise.
    """

    normalised: Floats
    starts: Floats
    loss: float


def fit(replay: Replay, normalised: Floats, free: NDArray[np.bool_]) -> Fit:
    """Fit the free parameters and all start states, in at most `ITERATIONS`.

    Every iteration tries several shares of the parameters' step and, for each window on its own, of its start
    state's, all in one batch; the best are taken.

    Args:
        replay: The windows.
        normalised: Where the parameters start. Shape: (p,).
        free: Which of them are fitted. Shape: (p,).
    """
    starts = replay.starts()
    windows, everyone = replay.windows, np.arange(len(starts))
    losses, idle = window_losses(windows, replay.residuals(normalised[None], starts[None]))[0], 0
    for iteration in range(ITERATIONS):
        normal = Normal.of(windows, *replay.linearize(normalised, starts, ROUGH[iteration % len(ROUGH)]))
        step = np.zeros_like(normalised)
        step[free] = _bounded_step(
            normal.information[np.ix_(free, free)], normal.scores.sum(axis=0)[free], normalised[free]
        )
        moved = [np.clip(normalised + share * step, 0, 1) for share in (STEPS if free.any() else (0.0,))]
        tried = np.array(
            [
                [starts + normal.follow(each - normalised, damping) for damping in DAMPINGS] + [starts]
                for each in moved
            ]
        )
        shares, dampings = tried.shape[:2]
        found = replay.residuals(
            np.repeat(moved, dampings, axis=0), tried.reshape(shares * dampings, *starts.shape)
        )
        each = window_losses(windows, found).reshape(shares, dampings, -1)
        winner = int(_compared(each.min(axis=1)).argmin())
        chosen = each[winner].argmin(axis=0)
        reached = each[winner, chosen, everyone]
        gain = 1 - loss(reached) / max(float(loss(losses)), 1e-12)
        change = np.abs(moved[winner] - normalised).max(initial=0.0)
        normalised, starts, losses = moved[winner], tried[winner, chosen, everyone], reached
        idle = idle + 1 if gain < 1e-3 and change < 1e-3 else 0
        if idle == len(ROUGH):
            break
    return Fit(normalised, starts, float(loss(losses)))


def _compared(losses: Floats) -> Floats:
    """Trimmed mean over windows of how much worse each row is than the last. Shape: (k, w) to (k,).

    A window at a contact may get much better or worse by a start state found or lost; that says nothing about
    the parameters.
    """
    differences = np.sort(losses - losses[-1], axis=1)
    cut = losses.shape[1] // 5
    return np.asarray(differences[:, cut : losses.shape[1] - cut].mean(axis=1))


def _bounded_step(information: Floats, gradient: Floats, normalised: Floats) -> Floats:
    """Gauss-Newton's step with those parameters held that it would push out of their range."""
    held = np.zeros(len(normalised), dtype=bool)
    step = np.zeros(len(normalised))
    for _ in range(len(normalised)):
        step[:] = 0
        part = information[np.ix_(~held, ~held)]
        ridge = 1e-9 * np.diag(np.diag(part)) + 1e-9 * np.eye(len(part))
        step[~held] = -np.linalg.solve(part + ridge, gradient[~held])
        out = ((normalised <= 0) & (step < 0)) | ((normalised >= 1) & (step > 0))
        if not (out & ~held).any():
            break
        held |= out
    step[held] = 0
    return np.asarray(np.clip(step, -0.5, 0.5))


def estimate_noise(replay: Replay, fitted: Fit) -> Floats:
    """Standard deviation of every measured dimension's noise from a fit's residuals, outliers aside.

    Returns:
        In the dimensions' units; of those that weren't measured, `Replay.noise`. Shape: (2 nv,).
    """
    valid = replay.windows.valid
    left = replay.residuals(fitted.normalised[None], fitted.starts[None])[0].reshape(*valid.shape, -1)[valid]
    spread = 1.4826 * np.median(np.abs(left), axis=0)
    mean_length = replay.windows.samples / len(replay.windows)
    spread /= np.sqrt(1 - 1 / mean_length)  # a start state is fitted to each window
    found = np.maximum(spread * replay.noise, 1e-5 * replay.windows.span)
    return np.asarray(np.where(replay.windows.measured, found, replay.noise))
