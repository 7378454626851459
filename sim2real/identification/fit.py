"""Fit parameters and start states to windows of recorded motion by bounded Gauss-Newton.

The start states are eliminated by a Schur complement, so that their number costs no memory.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmstart.sim2real.identification.normal_equations import Normal, loss, window_losses
from warmstart.sim2real.identification.replay import Replay
from warmstart.sim2real.identification.windows import Floats

STEPS = (1.0, 0.3, 0.0)
"""Shares of a Gauss-Newton step that are tried."""
DAMPINGS = (0.0, 1.0, 10.0, 100.0)
"""Levenberg-Marquardt dampings of start states that are tried; 1 is a measurement's own information."""
ROUGH = ((1.0, 0.1), (0.3, 0.1), (0.1, 0.1))
"""Finite-difference steps (see `FINE`) of a fit's iterations in turn; the larger ones see over contacts."""
ITERATIONS = 6


@dataclass(frozen=True)
class Fit:
    """Parameters and start states that explain windows best.

    Attributes:
        places: Parameters, as shares of their ranges. Shape: (p,).
        starts: Offsets of start states, in units of the noise. Shape: (w, 2 nv).
        loss: Mean soft-L1 loss per measured number, in units of the noise.
    """

    places: Floats
    starts: Floats
    loss: float


def fit(
    replay: Replay,
    places: Floats,
    free: NDArray[np.bool_],
    starts: Floats | None = None,
    most: int = ITERATIONS,
) -> Fit:
    """Fit the free parameters and all start states.

    Every iteration tries several shares of the parameters' step and, for each window on its own, of its start
    state's, all in one batch; the best are taken.

    Args:
        replay: The windows.
        places: Where the parameters start. Shape: (p,).
        free: Which of them are fitted. Shape: (p,).
        starts: Where the start states start; None is as measured.
        most: Iterations at most.
    """
    starts = replay.starts() if starts is None else starts
    windows, everyone = replay.windows, np.arange(len(starts))
    losses, idle = window_losses(windows, replay.residuals(places[None], starts[None]))[0], 0
    for iteration in range(most):
        normal = Normal.of(windows, *replay.linearize(places, starts, ROUGH[iteration % len(ROUGH)]))
        step = np.zeros_like(places)
        step[free] = _bounded_step(
            normal.information[np.ix_(free, free)], normal.scores.sum(axis=0)[free], places[free]
        )
        moved = [np.clip(places + share * step, 0, 1) for share in (STEPS if free.any() else (0.0,))]
        tried = np.array(
            [
                [starts + normal.follow(each - places, damping) for damping in DAMPINGS] + [starts]
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
        change = np.abs(moved[winner] - places).max(initial=0.0)
        places, starts, losses = moved[winner], tried[winner, chosen, everyone], reached
        idle = idle + 1 if gain < 1e-3 and change < 1e-3 else 0
        if idle == len(ROUGH):
            break
    return Fit(places, starts, float(loss(losses)))


def _compared(losses: Floats) -> Floats:
    """Trimmed mean over windows of how much worse each row is than the last. Shape: (k, w) to (k,).

    A window at a contact may get much better or worse by a start state found or lost; that says nothing about
    the parameters.
    """
    differences = np.sort(losses - losses[-1], axis=1)
    cut = losses.shape[1] // 5
    return np.asarray(differences[:, cut : losses.shape[1] - cut].mean(axis=1))


def _bounded_step(information: Floats, gradient: Floats, places: Floats) -> Floats:
    """Gauss-Newton's step with those parameters held that it would push out of their range."""
    held = np.zeros(len(places), dtype=bool)
    step = np.zeros(len(places))
    for _ in range(len(places)):
        step[:] = 0
        part = information[np.ix_(~held, ~held)]
        ridge = 1e-9 * np.diag(np.diag(part)) + 1e-9 * np.eye(len(part))
        step[~held] = -np.linalg.solve(part + ridge, gradient[~held])
        out = ((places <= 0) & (step < 0)) | ((places >= 1) & (step > 0))
        if not (out & ~held).any():
            break
        held |= out
    step[held] = 0
    return np.asarray(np.clip(step, -0.5, 0.5))


def estimate_noise(replay: Replay, fitted: Fit) -> Floats:
    """Standard deviation of every dimension's noise from the residuals of a fit, outliers aside."""
    valid = replay.windows.valid
    found = replay.residuals(fitted.places[None], fitted.starts[None])[0].reshape(*valid.shape, -1)[valid]
    spread = 1.4826 * np.median(np.abs(found), axis=0)
    mean_length = replay.windows.samples / len(replay.windows)
    spread /= np.sqrt(1 - 1 / mean_length)  # a start state is fitted to each window
    return np.asarray(np.maximum(spread * replay.noise, 1e-5 * replay.windows.span))
