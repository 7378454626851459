"""System identification: physical parameters and delays of a robot from its recorded motion.

Bounded Gauss-Newton on the multi-step prediction error over windows, with the start state of every window
estimated along (multiple shooting without continuity; the start states are eliminated by a Schur complement,
so that their number costs no memory). `mujoco.sysid` (Gauss-Newton, too, with the same kind of intervals)
isn't used: it rolls out from start states that are taken as exact, has one dense Jacobian for all unknowns,
and compiles a model for each changed parameter, where `mujoco.batch` takes parameters per simulation with
the semantics of a task's text.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import t as student

from warmstart.core.bounds import Natural
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.estimates import estimates, fitted_context, recipe, sensor_noise
from warmstart.sim2real.identification.excitation import Excitation, nominal_information
from warmstart.sim2real.identification.fit import Fit, Normal, estimate_noise, fit, window_losses
from warmstart.sim2real.identification.replay import Replay, read_parameters
from warmstart.sim2real.identification.result import Estimate, Identification, Losses
from warmstart.sim2real.identification.settings import FitSettings
from warmstart.sim2real.identification.windows import Windows, cut_windows, window_length
from warmstart.sim2real.recordings.positions import Floats
from warmstart.sim2real.recordings.trajectories import Trajectories, control_period, robot_of
from warmstart.sim2real.recordings.units import CLOSE, DEGREES, WAY_OUT

Progress = Callable[[str], None]
_DEFAULTS = FitSettings()
COARSE = 300
"""Samples on which delays and starts are compared."""
TELLING = 1000
"""Samples that tell whether a delay changes."""
MOST = 2000
"""Samples that are fitted at most, evenly spread; more would only narrow the intervals."""
OTHER_STARTS = 2
"""Random starts of the parameters, where the fit from the nominal ones explains too little."""
EXPLAINED = 1.2
"""Loss of a fit that needs no other starts: 1 is the noise."""
ROUNDS = 2
"""Fits of all samples, each with the noise of the one before, ahead of the last."""
BLOCKS = 4
"""Blocks of time, a part of each of which is held out."""
SURE = 10.0
"""Squared residuals, in units of the noise, that another delay must save in a window to count there, and"""
CLEARLY = 0.5
"""the share of its loss that may be left: where a model lacks something, delays always differ a little."""
OFTEN = 0.1
"""Share of windows in which another delay must be the best, or they count as outliers."""
VALIDATION = 0.25
"""Share of the recordings that is held out, in blocks of time, and"""
MARGIN = 0.05
"""the share by which the fitted model must beat the nominal one there."""
LIKELY = 0.5
"""Loss of the nominal model on angles read as degrees, by that as radians, below which they are degrees."""
SETTLED = 2.0
"""Largest time constants for which commands are taken into account before a window."""


def identify(
    task: Task | str,
    trajectories: Trajectories,
    parameters: Mapping[str, Any],
    settings: FitSettings = _DEFAULTS,
    *,
    seed: int = 0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> Identification:
    """Fit physical parameters, and the delay of the controls, to recorded motion; measure the sensors' noise.

    Args:
        task: The robot; its context is the nominal physics.
        trajectories: Its recorded motion.
        parameters: Ranges by selector: ``{"torso.mass": "x0.5:x2", "friction": "x0.3:x1.5"}``.
        settings: Delay, lag and window.
        seed: Of the further starts of the fit.
        n_threads: Threads that simulate; the result doesn't depend on it.
        progress: Is told what happens, in a line each.

    Raises:
        WarmstartError: A selector, range or seed isn't sound, the recordings don't fit the task or are too
            short, or they determine none of the parameters.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    say = progress or (lambda _: None)
    read(Natural, seed, ("seed",))
    delay, lag = settings.delay, settings.lag
    low, high = (0, 0) if delay is None else delay
    trajectories = trajectories.prepare(task)
    terms = read_parameters(parameters)
    train, held = _split(task, trajectories, settings)
    total = sum(map(len, trajectories))
    for note in trajectories.notes:
        say(note)
    say(
        f"{train.samples + held.samples:,} of {total:,} samples can be used: "
        "others begin or end an episode, or stand beside a gap"
    )

    def replay_of(windows: Windows) -> Replay:
        return Replay(task, windows, terms, n_threads, lag)

    coarse = replay_of(train.spread(COARSE))
    if trajectories.angles is None:
        _check_degrees(task, trajectories, settings, coarse)
    names = coarse.names
    share = min(MOST, train.samples) / coarse.windows.samples
    judged = Excitation.of(names, nominal_information(coarse) * share)
    _check_identifiable(judged, trajectories, settings)
    free = judged.identifiable
    delays = dict[int, Fit]()
    for coarse.delay in range(low, high + 1):
        delays[coarse.delay] = fit(coarse, coarse.nominal, free)
        say(f"delay of {coarse.delay} steps: loss {delays[coarse.delay].loss:.4g}")
    chosen = coarse.delay = min(delays, key=lambda steps: delays[steps].loss)
    best = delays[chosen]
    rng = np.random.default_rng(seed)
    for _ in range(OTHER_STARTS if best.loss > EXPLAINED else 0):
        other = fit(coarse, np.where(free, rng.uniform(0.1, 0.9, len(names)), coarse.nominal), free)
        say(f"another start: loss {other.loss:.4g}, the best so far {best.loss:.4g}")
        best = min(best, other, key=lambda each: each.loss)

    full = replay_of(train.spread(MOST))
    full.delay, normalised = chosen, best.normalised
    while True:
        for _ in range(ROUNDS):  # start states begin anew: they have grown used to earlier parameters
            fitted = fit(full, normalised, free)
            full.noise, normalised = estimate_noise(full, fitted), fitted.normalised
            say(f"fit of {full.windows.samples} samples: loss {fitted.loss:.4g}")
        fitted = fit(full, normalised, free)
        normal = Normal.of(full.windows, *full.linearize(fitted.normalised, fitted.starts))
        known = normal.information[np.ix_(free, free)]
        again = Excitation.of([names[i] for i in np.flatnonzero(free)], known)
        if again.identifiable.all():
            break
        judged = judged.updated(again)
        _check_identifiable(judged, trajectories, settings)
        free, normalised = judged.identifiable, np.where(judged.identifiable, fitted.normalised, full.nominal)
    telling = replay_of(train.spread(TELLING))
    telling.noise = coarse.noise = full.noise
    late = _delay_range(telling, fitted.normalised, chosen, range(low, high + 1))
    errors = np.zeros(len(names))
    # a fit anew ends elsewhere where contacts make the loss rough: that is part of the uncertainty
    errors[free] = np.sqrt(np.diag(normal.covariance(free)) + (fitted.normalised - normalised)[free] ** 2)
    checked = replay_of(held.spread(MOST // 3))
    checked.noise = full.noise
    losses = Losses(
        _replayed(coarse, full.nominal, low),
        fitted.loss,
        _replayed(checked, full.nominal, low),
        _replayed(checked, fitted.normalised, chosen),
    )
    spread = float(student.ppf(0.975, max(1, len(full.windows) - int(free.sum()))))
    found = estimates(task, full, fitted.normalised, spread * errors, free)
    return Identification(
        str(task),
        found,
        {row.name: row.verdict for row in judged.rows if not row.identifiable},
        None if delay is None else chosen,
        None if delay is None else late,
        full.lag(fitted.normalised[-1]) if lag else None,
        sensor_noise(task, full),
        {steps: each.loss for steps, each in delays.items()},
        losses,
        MARGIN,
        str(replace(task, context=fitted_context(task, found))),
        recipe(terms, found),
        seed,
        (*trajectories.notes, *filter(None, map(_degrees_in, found))),
    )


def _check_degrees(task: Task, trajectories: Trajectories, settings: FitSettings, replay: Replay) -> None:
    """See that the nominal model doesn't explain the recordings far better if their angles are degrees.

    Where nothing but a motor moves a joint, a gear or an inertia 57.3 times off fits degrees exactly.
    """
    train, _ = _split(task, replace(trajectories, angles="degrees").prepare(task), settings)
    converted = Replay(task, train.spread(COARSE), replay.terms, 1, settings.lag)
    if np.array_equal(converted.windows.qpos, replay.windows.qpos):
        return  # nothing turns
    usual, degrees = (
        float(np.median(window_losses(each.windows, each.residuals(each.nominal[None], each.starts()[None]))))
        for each in (replay, converted)
    )
    if degrees < LIKELY * usual:
        raise WarmstartError(
            "The angles look like degrees: taken as degrees, the nominal model explains the recordings "
            f"{usual / degrees:.3g} times better (loss {degrees:.3g} in place of {usual:.3g}). {WAY_OUT}"
        )


def _degrees_in(estimate: Estimate) -> str | None:
    """A sentence where a fit is suspiciously near the ratio of degrees to radians."""
    ratio = estimate.ratio
    if not ratio or min(abs(ratio / DEGREES - 1), abs(ratio * DEGREES - 1)) > CLOSE:
        return None
    return (
        f"{estimate.name} is fitted to {ratio:.3g} times its nominal value, near 57.3 or 1/57.3, degrees by "
        "radians: see what the recordings' angles, or the model's, are in."
    )


def _replayed(replay: Replay, normalised: Floats, delay: int) -> float:
    """Loss of given physics on the windows, with the start states that suit it best."""
    replay.delay = delay
    return fit(replay, normalised, np.zeros(len(normalised), dtype=bool)).loss


def _delay_range(replay: Replay, normalised: Floats, chosen: int, delays: range) -> tuple[int, int]:
    """Fewest and most control steps by which commands are late, where that changes from window to window."""
    losses, none = [], np.zeros(len(normalised), dtype=bool)
    for replay.delay in delays:
        starts = fit(replay, normalised, none).starts
        losses.append(window_losses(replay.windows, replay.residuals(normalised[None], starts[None]))[0])
    numbers = replay.windows.valid.sum(axis=1) * replay.windows.span.size
    own, least = losses[delays.index(chosen)], np.min(losses, axis=0)
    told = ((own - least) * numbers > SURE) & (least < CLEARLY * own)
    best = np.where(told, np.argmin(losses, axis=0) + delays[0], chosen)
    often = [chosen, *(delay for delay in delays if (best == delay).mean() >= OFTEN)]
    return min(often), max(often)


def _check_identifiable(judged: Excitation, trajectories: Trajectories, settings: FitSettings) -> None:
    if not judged.identifiable.any():
        reasons = "; ".join(f"{row.name}: {row.verdict}" for row in judged.rows)
        advice = ""
        if trajectories.differenced:
            advice = (
                "The recordings hold no velocities, so that where a window starts is estimated: a longer one "
                f"than {settings.window:g} s may tell (--window 0.5). "
            )
        raise WarmstartError(
            f"Too little excitation: the recordings determine none of the parameters. {reasons}. {advice}"
            "Record motion that moves every joint and touches what the robot touches, or leave out one of "
            "those that only matter together."
        )


def _split(task: Task, trajectories: Trajectories, settings: FitSettings) -> tuple[Windows, Windows]:
    """Cut windows; the end of every one of a few blocks of time is held out."""
    period, (_, most) = control_period(task), settings.delay or (0, 0)
    lead = most + int(np.ceil(SETTLED * settings.lag / period))
    length = window_length(settings.window, period)
    windows = cut_windows(trajectories, robot_of(task).model(), length, lead)
    blocks = np.array_split(np.arange(len(windows)), min(BLOCKS, max(1, len(windows) // 8)))
    cuts = [round(len(block) * (1 - VALIDATION)) for block in blocks]
    if len(windows) < 8 or not all(0 < cut < len(block) for cut, block in zip(cuts, blocks, strict=True)):
        raise WarmstartError(
            f"The recordings are too short: {trajectories.duration:g} s give {len(windows)} windows of about "
            f"{settings.window:g} s, too few to hold out {VALIDATION:.0%}. Record more, or longer episodes, "
            "as a smaller amplitude makes them, or give a smaller window."
        )
    train = np.concatenate([block[:cut] for block, cut in zip(blocks, cuts, strict=True)])
    held = np.concatenate([block[cut:] for block, cut in zip(blocks, cuts, strict=True)])
    return windows.take(train), windows.take(held)
