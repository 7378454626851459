"""Replays recorded motion in simulation under any parameters and start states, many at once.

Of a window the start state is unknown, since it was measured with noise, and is estimated along with the
parameters: a window that starts at measured velocities would blame their errors on the physics (errors in
variables). Everything is in units of the noise (residuals, start states) or of the range that a parameter
may come from (0 to 1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.batch import BatchParameters, Binding
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.simulation.fields import ModelFields
from warmstart.envs.simulation.steppers import BatchStepper
from warmstart.envs.tasks.contexts import Context
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.windows import Windows
from warmstart.sim2real.randomization.distributions import Uniform
from warmstart.sim2real.randomization.terms import Term, read_term
from warmstart.sim2real.recordings.positions import Floats, add, subtract
from warmstart.sim2real.recordings.trajectories import robot_of

NOISE = 0.01
"""Assumed noise, as a share of each dimension's range of motion, until a fit has shown it."""
FINE = (1e-3, 1e-5)
"""Finite-difference steps of start states (in units of the noise) and parameters (as shares of their ranges)
that tell what the data determines. Larger ones invent information where parameters only matter together: with
0.03 and 5e-4, one window in 150, in which Reacher's arm hits a limit, made armature, damping and gear, scaled
alike, seem known to 1%."""
MOST_SIMS = 4096
"""Simulations of one batch."""
LAG = "action_lag"
"""Name of the time constant with which the drives follow their commands, among the fitted parameters."""


class Replay:
    """Simulates windows under any parameters, start states and delay, many at once.

    Args:
        task: The robot; its context is the nominal physics.
        windows: What was measured.
        terms: What varies, each with a number between 0 and 1: its place within the term's range.
        n_threads: Threads that simulate.
        lag: Largest time constant, s, of a lag of all drives, which then is the last of the parameters; 0 for
            none. Its place is linear in the share of the last output that is left after a control step.

    Attributes:
        names: Of the parameters.
        nominal: Places of the nominal physics.
        noise: Standard deviation of every dimension's noise. Shape: (2 nv,).
        delay: Control steps after which a command acts.
    """

    def __init__(
        self, task: Task, windows: Windows, terms: Sequence[Term], n_threads: int = 1, lag: float = 0.0
    ) -> None:
        robot = robot_of(task)
        self.model = _model(task)
        self.windows, self.terms, self.delay = windows, tuple(terms), 0
        self.noise: Floats = NOISE * windows.span
        self._parameters = Parameters(self.model)
        self._substeps = self._parameters.frame_skip(task.context, robot.frame_skip)
        self._period = robot.frame_skip * float(self.model.opt.timestep)
        self._most_left = float(np.exp(-self._period / lag)) if lag else 0.0
        self.names = (*(term.name for term in self.terms), *([LAG] if lag else []))
        self.nominal = np.append(
            normalised_nominal(self._parameters, self.terms, task.context), [0.0] * bool(lag)
        )
        jacobian = len(windows) * (1 + 4 * self.model.nv + 2 * len(self.names))
        self._sims = BatchStepper(self.model, min(MOST_SIMS, jacobian), n_threads)
        self._batch = BatchParameters(self._parameters, self._sims)
        everyone = np.arange(self._sims.nsim)
        if task.context:
            self._batch.apply(everyone, [task.context] * self._sims.nsim)
        self._binding, self._column = _bound(self._batch, self.terms)
        self._qpos, self._qvel, self._ctrl = (self._sims.bind(name) for name in ("qpos", "qvel", "ctrl"))

    def starts(self) -> Floats:
        """Where start states are estimated from: as they were measured, 0. Shape: (w, 2 nv)."""
        return np.zeros((len(self.windows), 2 * self.model.nv))

    def residuals(self, normalised: Floats, starts: Floats) -> Floats:
        """Predicted minus measured, in units of the noise, 0 where nothing was measured.

        Args:
            normalised: Parameters, between 0 and 1. Shape: (k, p).
            starts: Offsets of start states from the measured ones, in units of the noise. Shape:
                (k, w, 2 nv).

        Returns:
            Shape: (k, w, t · 2 nv).
        """
        k, w = starts.shape[:2]
        window = np.tile(np.arange(w), k)
        return self._run(np.repeat(normalised, w, axis=0), starts.reshape(k * w, -1), window).reshape(
            k, w, -1
        )

    def linearize(
        self, normalised: Floats, starts: Floats, steps: tuple[float, float] = FINE
    ) -> tuple[Floats, Floats, Floats]:
        """Residuals and their derivatives, by central differences in one batch.

        Args:
            normalised: Shape: (p,).
            starts: Shape: (w, 2 nv).
            steps: Of start states and parameters; see `FINE`.

        Returns:
            Residuals (w, m), derivatives by start states (w, m, 2 nv) and by parameters (w, m, p), where
            m = t · 2 nv.
        """
        n, p = starts.shape[1], len(normalised)
        step, parameter_step = steps
        up, down = (np.clip(normalised + sign * parameter_step, 0, 1) for sign in (1, -1))
        shifted, moved = (np.repeat(each[None], 1 + 2 * (n + p), axis=0) for each in (normalised, starts))
        for i in range(n):
            moved[1 + i, :, i] += step
            moved[1 + n + i, :, i] -= step
        for i in range(p):
            shifted[1 + 2 * n + i, i], shifted[1 + 2 * n + p + i, i] = up[i], down[i]
        found = self.residuals(shifted, moved).reshape(len(moved), len(starts), -1)
        by_start = (found[1 : 1 + n] - found[1 + n : 1 + 2 * n]) / (2 * step)
        by_parameter = found[1 + 2 * n : 1 + 2 * n + p] - found[1 + 2 * n + p :]
        by_parameter /= (up - down)[:, None, None]
        return found[0], by_start.transpose(1, 2, 0), by_parameter.transpose(1, 2, 0)

    def _run(self, normalised: Floats, starts: Floats, window: NDArray[np.intp]) -> Floats:
        """Residuals of simulations, each of one window. Shape: (k, t, 2 nv)."""
        size = self._sims.nsim
        return np.concatenate(
            [
                self._run_batch(normalised[i : i + size], starts[i : i + size], window[i : i + size])
                for i in range(0, len(window), size)
            ]
        )

    def _run_batch(self, normalised: Floats, starts: Floats, window: NDArray[np.intp]) -> Floats:
        windows, nv, n = self.windows, self.model.nv, len(window)
        ids = np.arange(n, dtype=np.intp)
        offsets = starts * self.noise
        if self.terms:
            self._binding.apply(ids, self.values(normalised)[:, self._column])
        self._sims.reset(ids)
        self._qpos[:n] = add(self.model, windows.qpos[window, 0], offsets[:, :nv])
        self._qvel[:n] = windows.qvel[window, 0] + offsets[:, nv:]
        length, first = windows.valid.shape[1], windows.lead - self.delay
        found = np.empty((n, length, 2 * nv))
        output = windows.ctrl[window, 0]
        left = normalised[:, -1:] * self._most_left if self._most_left else np.zeros((n, 1))
        for k in range(first if self._most_left else 0):
            output = left * output + (1 - left) * windows.ctrl[window, k]
        for t in range(length):
            found[:, t, :nv] = subtract(self.model, self._qpos[:n], windows.qpos[window, t])
            found[:, t, nv:] = self._qvel[:n] - windows.qvel[window, t]
            if t + 1 < length:
                output = left * output + (1 - left) * windows.ctrl[window, first + t]
                self._ctrl[:n] = output
                self._sims.step(ids, self._substeps)
        found /= self.noise
        found[~windows.valid[window]] = 0.0
        found[..., ~windows.measured] = 0.0
        # a diverged simulation is very wrong, but not infinitely
        return np.asarray(np.clip(np.nan_to_num(found, nan=1e3), -1e3, 1e3))

    def lag(self, place: float) -> float:
        """Time constant of the drives, s, from its place."""
        left = place * self._most_left
        return float(-self._period / np.log(left)) if left > 0 else 0.0

    def values(self, normalised: Floats) -> Floats:
        """Factors, offsets or values of the terms from the normalised. Shape: (..., p) to (..., terms)."""
        columns = [term.distribution.quantile(normalised[..., i]) for i, term in enumerate(self.terms)]
        return np.stack(columns, axis=-1)


def read_parameters(parameters: Mapping[str, Any]) -> tuple[Term, ...]:
    """Read selectors with the ranges they may come from, such as ``{"torso.mass": "x0.5:x2"}``.

    Raises:
        WarmstartError: There is none, or a range is none, a point or about several selectors.
    """
    if not parameters:
        raise WarmstartError("Expected parameters to fit, such as torso.mass=x0.5:x2, found none.")
    terms = []
    for selector, written in parameters.items():
        term = read_term(selector, written)
        low, high = term.distribution.bounds
        if len(term.parameters) > 1:
            raise WarmstartError(
                f"Expected one parameter or pattern to fit as {selector!r}, found {list(term.parameters)}."
            )
        if not isinstance(term.distribution, Uniform) or not low < high:
            raise WarmstartError(f"Expected a range for {selector!r} such as x0.5:x2, found {written!r}.")
        terms.append(term)
    return tuple(terms)


def check_parameters(task: Task, parameters: Mapping[str, Any]) -> None:
    """See that parameters can be fitted to a task's robot, before it moves.

    Args:
        task: The robot; its context is the nominal physics.
        parameters: As `read_parameters` has them.

    Raises:
        WarmstartError: A parameter is unknown or without effect, or a range is none, hasn't the nominal value
            in it or reaches values that can't be; or the robot can't be identified.
    """
    terms, model = read_parameters(parameters), _model(task)
    known = Parameters(model)
    normalised_nominal(known, terms, task.context)
    batch = BatchParameters(known, ModelFields([model]))
    batch.apply([0], [task.context])
    binding, column = _bound(batch, terms)
    lowest = np.array([term.distribution.bounds[0] for term in terms])
    binding.apply([0], lowest[None, column])  # which notices what is without effect


def _model(task: Task) -> mujoco.MjModel:
    """The model of a task's robot, which must have no state beside positions and velocities."""
    model = robot_of(task).model()
    if model.na:
        raise WarmstartError(
            f"{task.id} has actuators with a state of their own, which recordings don't hold: it can't be "
            "identified."
        )
    return model


def normalised_nominal(parameters: Parameters, terms: Sequence[Term], context: Context) -> Floats:
    """Where the nominal physics lies within the terms' ranges. Shape: (p,)."""
    values = parameters.resolve(context)
    normalised = []
    for term in terms:
        low, high = term.distribution.bounds
        number = {"scale": 1.0, "add": 0.0}.get(term.operation)
        if number is None:
            own = {
                float(values[parameters.columns[p.name]][0])
                for s in term.parameters
                for p in parameters.select(s)
            }
            number = own.pop()
            if own:
                raise WarmstartError(
                    f"{term.name} has several nominal values: give a range of factors, such as x0.5:x2."
                )
        if not low <= number <= high:
            raise WarmstartError(
                f"Expected a range of {term.name} with the nominal value in it ({number:g}), found "
                f"{low:g} to {high:g}."
            )
        normalised.append((number - low) / (high - low))
    return np.array(normalised)


def _bound(batch: BatchParameters, terms: Sequence[Term]) -> tuple[Binding, NDArray[np.intp]]:
    """What writes the terms' numbers, and of which term each of its columns is.

    Raises:
        WarmstartError: A range reaches values that can't be, or others take all that a selector means.
    """
    selectors = [selector for term in terms for selector in term.parameters]
    column = np.repeat(np.arange(len(terms)), [len(term.parameters) for term in terms])
    won = batch.parameters.winners(selectors)
    for position, selector in enumerate(selectors):
        if position not in won:
            raise WarmstartError(
                f"Varying {selector} would have no effect: each of its parameters is named by another range."
            )
    binding = batch.bind([(s, term.operation) for term in terms for s in term.parameters])
    if terms:
        binding.check(*np.array([term.distribution.bounds for term in terms])[column].T)
    return binding, column
