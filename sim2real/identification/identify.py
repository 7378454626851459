"""System identification: physical parameters and delays of a robot from its recorded motion.

Bounded Gauss-Newton on the multi-step prediction error over windows, with the start state of every window
estimated along (multiple shooting without continuity; the start states are eliminated by a Schur complement,
so that their number costs no memory). `mujoco.sysid` (Gauss-Newton, too, with the same kind of intervals)
isn't used: it rolls out from start states that are taken as exact, has one dense Jacobian for all unknowns,
and compiles a model for each changed parameter, where `mujoco.batch` takes parameters per simulation with
the semantics of a task's text. May import envs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from warmstart.core.errors import WarmstartError
from warmstart.core.plain import Bounds, Natural, read
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.physics.batch import BatchParameters
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.fields import ModelFields
from warmstart.envs.tasks.contexts import Change, Context
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.identification.excitation import WEAK, Excitation, nominal_information
from warmstart.sim2real.identification.fit import Fit, estimate_noise, fit
from warmstart.sim2real.identification.normal_equations import Normal, window_losses
from warmstart.sim2real.identification.replay import LAG, Replay, read_parameters
from warmstart.sim2real.identification.result import Estimate, Identification, Losses
from warmstart.sim2real.identification.settings import DELAY, WINDOW, FitSettings
from warmstart.sim2real.identification.trajectories import Trajectories, columns, robot_of
from warmstart.sim2real.identification.windows import (
    Floats,
    Windows,
    cut_windows,
    spread_of,
    window_length,
)
from warmstart.sim2real.randomization.distributions import TruncatedNormal
from warmstart.sim2real.randomization.terms import Term

Progress = Callable[[str], None]
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
SETTLED = 2.0
"""Largest time constants for which commands are taken into account before a window."""
FLOOR = 0.05
"""Smallest half-width of a recipe's interval, as a share of the value: what a model leaves out biases a fit
by more than its statistical interval says."""


def identify(
    task: Task | str,
    trajectories: Trajectories,
    parameters: Mapping[str, Any],
    *,
    delay: tuple[int, int] | None = DELAY,
    lag: float = 0.0,
    window: float = WINDOW,
    validation: float = 0.25,
    margin: float = 0.05,
    weak: float = WEAK,
    seed: int = 0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> Identification:
    """Fit physical parameters, and the delay of the controls, to recorded motion; measure the sensors' noise.

    Args:
        task: The robot; its context is the nominal physics.
        trajectories: Its recorded motion.
        parameters: Ranges by selector: ``{"torso.mass": "x0.5:x2", "friction": "x0.3:x1.5"}``.
        delay: Fewest and most control steps after which a command may act; None fits no delay.
        lag: Largest time constant, s, of the lag with which all drives follow their commands; 0 fits none. A
            lag that isn't fitted ends up in damping and masses.
        window: Seconds of a window, which has at least 4 samples (`FEWEST`). Longer ones say more about what
            acts slowly (0.4 s suits robots that touch nothing), but contacts make them hard to fit.
        validation: Share of the recordings that is held out, in blocks of time.
        margin: Share by which the fitted model must beat the nominal one there.
        weak: Largest standard error of an identifiable parameter, as a share of its range.
        seed: Of the further starts of the fit.
        n_threads: Threads that simulate; the result doesn't depend on it.
        progress: Is told what happens, in a line each.

    Raises:
        WarmstartError: A selector, range or setting isn't sound, the recordings don't fit the task or are too
            short, or they determine none of the parameters.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    say = progress or (lambda _: None)
    read(FitSettings, {"delay": delay, "lag": lag, "window": window})
    read(Annotated[float, Bounds(0, 1, above=True, below=True)], validation, ("validation",))
    read(Natural, seed, ("seed",))
    low, high = delay if delay is not None else (0, 0)
    trajectories.check(task)
    terms = read_parameters(parameters)
    train, held = _split(task, trajectories, window, high, lag, validation)
    total = sum(map(len, trajectories))
    say(f"{train.samples + held.samples:,} of {total:,} samples can be used: others begin or end an episode")

    def replay_of(windows: Windows) -> Replay:
        return Replay(task, windows, terms, n_threads, lag)

    coarse = replay_of(train.spread(COARSE))
    names = coarse.names
    share = min(MOST, train.samples) / coarse.windows.samples
    judged = Excitation.of(names, nominal_information(coarse) * share, weak)
    _check_identifiable(judged)
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
    full.delay, places = chosen, best.places
    while True:
        for _ in range(ROUNDS):  # start states begin anew: they have grown used to earlier parameters
            fitted = fit(full, places, free)
            full.noise, places = estimate_noise(full, fitted), fitted.places
            say(f"fit of {full.windows.samples} samples: loss {fitted.loss:.4g}")
        fitted = fit(full, places, free)
        normal = Normal.of(full.windows, *full.linearize(fitted.places, fitted.starts))
        known = normal.information[np.ix_(free, free)]
        again = Excitation.of([names[i] for i in np.flatnonzero(free)], known, weak)
        if again.identifiable.all():
            break
        judged = judged.updated(again)
        _check_identifiable(judged)
        free, places = judged.identifiable, np.where(judged.identifiable, fitted.places, full.nominal)
    told = replay_of(train.spread(TELLING))
    told.noise = coarse.noise = full.noise
    late = _delay_range(told, fitted.places, chosen, range(low, high + 1))
    errors = np.zeros(len(names))
    # a fit anew ends elsewhere where contacts make the loss rough: that is part of the uncertainty
    errors[free] = np.sqrt(np.diag(normal.covariance(free)) + (fitted.places - places)[free] ** 2)
    checked = replay_of(held.spread(MOST // 3))
    checked.noise = full.noise
    losses = Losses(
        _replayed(coarse, full.nominal, low),
        fitted.loss,
        _replayed(checked, full.nominal, low),
        _replayed(checked, fitted.places, chosen),
    )
    spread = float(student.ppf(0.975, max(1, len(full.windows) - int(free.sum()))))
    estimates = _estimates(task, full, fitted.places, spread * errors, free)
    return Identification(
        str(task),
        estimates,
        {row.name: row.verdict for row in judged.rows if not row.identifiable},
        None if delay is None else chosen,
        None if delay is None else late,
        full.lag(fitted.places[-1]) if lag else None,
        _sensor_noise(task, full),
        {steps: each.loss for steps, each in delays.items()},
        losses,
        margin,
        str(replace(task, context=fitted_context(task, estimates))),
        _recipe(terms, estimates),
        seed,
    )


def fitted_context(task: Task, estimates: Sequence[Estimate]) -> Context:
    """A task's context with fitted parameters; where it gives them already, their values are written out."""
    estimates = [each for each in estimates if each.name != LAG]
    if not task.context:
        changes = [Change(e.name, e.operation, _round(e.number)) for e in estimates]  # type: ignore[arg-type]
        return tuple(changes)
    model = robot_of(task).model()
    parameters = Parameters(model)
    batch = BatchParameters(parameters, ModelFields([model]))
    batch.apply([0], [task.context])
    batch.bind([(e.name, e.operation) for e in estimates]).apply(  # type: ignore[misc]
        [0], np.array([[e.number for e in estimates]])
    )
    written = []
    for name in dict.fromkeys(p.name for e in estimates for p in parameters.select(e.name)):
        values = tuple(_round(v) for v in batch.values([name])[0])
        written.append(Change(name, "set", values if len(values) > 1 else values[0]))
    return task.context + tuple(written)


def _replayed(replay: Replay, places: Floats, delay: int) -> float:
    """Loss of given physics on the windows, with the start states that suit it best."""
    replay.delay = delay
    return fit(replay, places, np.zeros(len(places), dtype=bool)).loss


def _delay_range(replay: Replay, places: Floats, chosen: int, delays: range) -> tuple[int, int]:
    """Fewest and most control steps by which commands are late, where that changes from window to window."""
    losses, none = [], np.zeros(len(places), dtype=bool)
    for replay.delay in delays:
        starts = fit(replay, places, none).starts
        losses.append(window_losses(replay.windows, replay.residuals(places[None], starts[None]))[0])
    numbers = replay.windows.valid.sum(axis=1) * replay.windows.span.size
    own, least = losses[delays.index(chosen)], np.min(losses, axis=0)
    told = ((own - least) * numbers > SURE) & (least < CLEARLY * own)
    best = np.where(told, np.argmin(losses, axis=0) + delays[0], chosen)
    often = [chosen, *(delay for delay in delays if (best == delay).mean() >= OFTEN)]
    return min(often), max(often)


def _check_identifiable(judged: Excitation) -> None:
    if not judged.identifiable.any():
        reasons = "; ".join(f"{row.name}: {row.verdict}" for row in judged.rows)
        raise WarmstartError(
            f"Too little excitation: the recordings determine none of the parameters. {reasons}. "
            "Record motion that moves every joint and touches what the robot touches, or leave out one of "
            "those that only matter together."
        )


def _split(
    task: Task, trajectories: Trajectories, window: float, delay: int, lag: float, validation: float
) -> tuple[Windows, Windows]:
    """Cut windows; the end of every one of a few blocks of time is held out."""
    robot = robot_of(task)
    model = robot.model()
    period = robot.frame_skip * float(model.opt.timestep)
    lead = delay + int(np.ceil(SETTLED * lag / period))
    windows = cut_windows(trajectories, model, window_length(window, period), lead)
    blocks = np.array_split(np.arange(len(windows)), min(BLOCKS, max(1, len(windows) // 8)))
    cuts = [round(len(block) * (1 - validation)) for block in blocks]
    if len(windows) < 8 or not all(0 < cut < len(block) for cut, block in zip(cuts, blocks, strict=True)):
        raise WarmstartError(
            f"The recordings are too short: {trajectories.duration:g} s give {len(windows)} windows of about "
            f"{window:g} s, too few to hold out {validation:.0%}. Record more, or longer episodes, as "
            "a smaller amplitude makes them, or give a smaller window."
        )
    train = np.concatenate([block[:cut] for block, cut in zip(blocks, cuts, strict=True)])
    held = np.concatenate([block[cut:] for block, cut in zip(blocks, cuts, strict=True)])
    return windows.take(train), windows.take(held)


def _estimates(
    task: Task, replay: Replay, places: Floats, widths: Floats, free: NDArray[np.bool_]
) -> tuple[Estimate, ...]:
    parameters = Parameters(replay.model)
    resolved = parameters.resolve(task.context)
    numbers = replay.values(places)
    found = []
    for i in np.flatnonzero(free):
        if replay.names[i] == LAG:
            now, low, high = (
                replay.lag(min(max(place, 0.0), 1.0))
                for place in (places[i], places[i] - widths[i], places[i] + widths[i])
            )
            found.append(Estimate(LAG, "set", now, low, high, "s", 0.0, now, bool(places[i] >= 1 - 1e-6)))
            continue
        term, number = replay.terms[i], float(numbers[i])
        low, high = term.distribution.bounds
        half = float(widths[i]) * (high - low)
        first = parameters.select(term.parameters[0])[0]
        column = parameters.columns[first.name]
        # the one component that a number stands for: gravity's third, friction's first
        component = int(np.abs(resolved[column]).argmax())
        nominal = float(resolved[column][component])
        value = {"scale": nominal * number, "add": nominal + number}.get(term.operation, number)
        at_bound = bool(places[i] <= 1e-6 or places[i] >= 1 - 1e-6)
        found.append(
            Estimate(
                term.parameters[0],
                term.operation,
                number,
                number - half,
                number + half,
                first.unit,
                nominal,
                value,
                at_bound,
            )
        )
    return tuple(found)


def _sensor_noise(task: Task, replay: Replay) -> dict[str, float]:
    """Noise of measured positions and velocities, by the names that the task's observation has for them."""
    model, stds = replay.model, np.asarray(replay.noise)
    env = make_vec(task, 1, n_threads=1)
    assert isinstance(env, BatchedEnv)  # see `robot_of`
    seen = env.observation_layout.names
    env.close()
    named = columns(model)
    found = dict(zip(named["qpos"], spread_of(model, stds[: model.nv]), strict=True))
    found |= zip(named["qvel"], stds[model.nv :], strict=True)
    return {name: _round(std) for name, std in found.items() if name in seen}


def _recipe(terms: Sequence[Term], estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Truncated normal distributions about the fit, as wide as its interval, cut off at twice that."""
    written = {}
    for term in terms:
        for each in estimates:
            if each.name != term.parameters[0]:
                continue
            half = max((each.high - each.low) / 2, FLOOR * abs(each.number))
            bottom, top = term.distribution.bounds
            low, high = max(each.number - 2 * half, bottom), min(each.number + 2 * half, top)
            about = TruncatedNormal(_round(each.number), _round(half / 1.96), _round(low), _round(high))
            written[each.name] = replace(term, distribution=about).to_json()
    return written


def _round(number: float) -> float:
    return float(f"{number:.4g}")
