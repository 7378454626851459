"""What a fit says in physical units, and what to train with after it: a task's context, a recipe, noise."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import Settings
from warmstart.envs.describe import describe
from warmstart.envs.physics.batch import BatchParameters
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.fields import ModelFields
from warmstart.envs.tasks.contexts import Change, Context
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.replay import LAG, Replay
from warmstart.sim2real.identification.result import Estimate
from warmstart.sim2real.randomization.distributions import TruncatedNormal
from warmstart.sim2real.randomization.terms import Term
from warmstart.sim2real.recordings.positions import Floats, columns, spread_of
from warmstart.sim2real.recordings.trajectories import robot_of

FLOOR = 0.05
"""Smallest half-width of a recipe's interval, as a share of the value: what a model leaves out biases a fit
by more than its statistical interval says."""


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


def estimates(
    task: Task, replay: Replay, normalised: Floats, widths: Floats, free: NDArray[np.bool_]
) -> tuple[Estimate, ...]:
    """What a fit found of the free parameters, each with its interval.

    Args:
        task: The nominal task.
        replay: What was fitted with.
        normalised: The fit, as shares of the parameters' ranges. Shape: (p,).
        widths: Half of the intervals' widths, likewise. Shape: (p,).
        free: Which parameters were fitted. Shape: (p,).
    """
    parameters = Parameters(replay.model)
    resolved = parameters.resolve(task.context)
    numbers = replay.values(normalised)
    found = []
    for i in np.flatnonzero(free):
        if replay.names[i] == LAG:
            now, low, high = (
                replay.lag(min(max(place, 0.0), 1.0))
                for place in (normalised[i], normalised[i] - widths[i], normalised[i] + widths[i])
            )
            found.append(Estimate(LAG, "set", now, low, high, "s", 0.0, now, bool(normalised[i] >= 1 - 1e-6)))
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
        at_bound = bool(normalised[i] <= 1e-6 or normalised[i] >= 1 - 1e-6)
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


def sensor_noise(task: Task, replay: Replay) -> dict[str, float]:
    """Noise of measured positions and velocities, by the names that the task's observation has for them."""
    model, stds = replay.model, np.asarray(replay.noise)
    layout = describe(task).observation_layout
    assert layout is not None  # see `robot_of`
    named = columns(model)
    found = dict(zip(named["qpos"], spread_of(model, stds[: model.nv]), strict=True))
    velocities = zip(named["qvel"], stds[model.nv :], replay.windows.measured[model.nv :], strict=True)
    found |= {name: std for name, std, measured in velocities if measured}
    return {name: _round(std) for name, std in found.items() if name in layout.names}


def recipe(terms: Sequence[Term], estimates: Sequence[Estimate]) -> Settings:
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
