"""What recorded motion says about physical parameters: replays in simulation, sensitivities, identifiability.

A recording is cut into windows. Of each the start state is unknown, since it was measured with noise, and
is estimated along with the parameters: a window that starts at measured velocities would blame their errors
on the physics (errors in variables). Everything is in units of the noise (residuals, start states) or of the
range that a parameter may come from (0 to 1). May import envs, agents and transfer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.envs.errors import WarmstartError
from warmstart.envs.parameters import BatchParameters, Parameters
from warmstart.envs.steppers import BatchStepper
from warmstart.envs.tasks import Task
from warmstart.sim2real.distributions import Uniform
from warmstart.sim2real.terms import Term, read_term
from warmstart.sim2real.trajectories import FEWEST, Trajectories, Trajectory, quaternions, robot_of

Floats = NDArray[np.float64]
NOISE = 0.01
"""Assumed noise, as a share of each dimension's range of motion, until a fit has shown it."""
ROBUST = 3.0
"""Residuals (in units of the noise) from which on the soft-L1 loss grows linearly: contacts make outliers."""
STUCK = 1.5
"""Mean loss, and multiple of the usual one, from which on a window counts less: its start wasn't found."""
FINE = (1e-3, 1e-5)
"""Finite-difference steps of start states (in units of the noise) and parameters (as shares of their ranges)
that tell what the data determines. Larger ones invent information where parameters only matter together: with
0.03 and 5e-4, one window in 150, in which Reacher's arm hits a limit, made armature, damping and gear, scaled
alike, seem known to 1%."""
DIRECTIONS = 3
"""Rounds of limiting what a window says: along the parameters, then along what is known best to worst."""
LEVERAGE = 3.0
"""How much more than most windows one may say about a parameter. Where a contact is about to be made or
lost, a derivative is enormous and holds over no distance: a few such windows would pin the parameters."""
MOST_SIMS = 4096
"""Simulations of one batch."""
WEAK = 0.1
"""Standard error, as a share of the range, above which a parameter counts as not identifiable."""


@dataclass(frozen=True)
class Windows:
    """Pieces of recordings, filled up to the same length.

    Attributes:
        qpos: Measured positions. Shape: (w, t, nq).
        qvel: Measured velocities. Shape: (w, t, nv).
        ctrl: Commanded controls, from `lead` steps before the window on. Shape: (w, lead + t, nu).
        valid: Which samples there are. Shape: (w, t).
        lead: Steps before each window whose controls are known: the longest delay.
        span: Range of motion of every dimension, positions before velocities. Shape: (2 nv,).
    """

    qpos: Floats
    qvel: Floats
    ctrl: Floats
    valid: NDArray[np.bool_]
    lead: int
    span: Floats

    def __len__(self) -> int:
        return len(self.qpos)

    @property
    def samples(self) -> int:
        """Measured states in all windows together."""
        return int(self.valid.sum())

    def take(self, chosen: NDArray[np.intp]) -> "Windows":
        """Some of the windows."""
        parts = {name: getattr(self, name)[chosen] for name in ("qpos", "qvel", "ctrl", "valid")}
        return replace(self, **parts)

    def spread(self, samples: int) -> "Windows":
        """About as many windows as have so many samples, evenly spread."""
        count = min(len(self), max(4, round(samples * len(self) / max(1, self.samples))))
        return self.take(np.unique(np.linspace(0, len(self) - 1, count).round().astype(np.intp)))


def cut_windows(
    trajectories: Trajectories, model: mujoco.MjModel, length: int, lead: int = 0, span: Floats | None = None
) -> Windows:
    """Cut recordings into windows that share no sample.

    Args:
        trajectories: Checked recordings.
        model: The robot's model.
        length: Samples of a window; a shorter recording is one window, none has fewer than `FEWEST`.
        lead: Steps at the start of each recording that only give controls.
        span: Range of motion, where it is known from more recordings. Shape: (2 nv,).

    Raises:
        WarmstartError: No recording is long enough.
    """
    pieces = []
    for item in trajectories:
        usable = len(item) - lead
        count = max(1, round(usable / length))
        edges = lead + np.linspace(0, usable, count + 1).round().astype(int)
        pieces += [(item, a, b) for a, b in pairwise(edges) if b - a >= FEWEST]
    if not pieces:
        raise WarmstartError(
            f"The recordings are too short: expected {lead + FEWEST} samples in one of them, found at most "
            f"{max(map(len, trajectories))}."
        )
    longest = max(b - a for _, a, b in pieces)
    fill = np.arange(longest)
    rows = [np.minimum(a + fill, b - 1) for _, a, b in pieces]
    before = [np.minimum(np.arange(a - lead, a + longest), b - 1) for _, a, b in pieces]
    return Windows(
        np.stack([item.qpos[i] for (item, _, _), i in zip(pieces, rows, strict=True)]),
        np.stack([item.qvel[i] for (item, _, _), i in zip(pieces, rows, strict=True)]),
        np.stack([item.ctrl[i] for (item, _, _), i in zip(pieces, before, strict=True)]),
        np.stack([fill < b - a for _, a, b in pieces]),
        lead,
        range_of_motion(trajectories, model) if span is None else span,
    )


def range_of_motion(trajectories: Iterable[Trajectory], model: mujoco.MjModel) -> Floats:
    """Largest minus smallest of every velocity and of the position it moves. Shape: (2 nv,).

    A rotation's range is that of its quaternion's parts times two, rad. A dimension that stands still counts
    with a thousandth of the most mobile one's range.
    """
    items = list(trajectories)
    zero = np.broadcast_to(np.array(model.qpos0), (1, model.nq))
    qpos, qvel = (np.concatenate([getattr(item, k) for item in items]) for k in ("qpos", "qvel"))
    moved = subtract(model, qpos, np.broadcast_to(zero, qpos.shape))
    spans = [np.ptp(moved, axis=0), np.ptp(qvel, axis=0)]
    return np.concatenate([np.maximum(span, 1e-3 * span.max() + 1e-9) for span in spans])


class Replay:
    """Simulates windows under any parameters, start states and delay, many at once.

    Args:
        task: The robot; its context is the nominal physics.
        windows: What was measured.
        terms: What varies, each with a number between 0 and 1: its place within the term's range.
        n_threads: Threads that simulate.

    Attributes:
        noise: Standard deviation of every dimension's noise. Shape: (2 nv,).
        delay: Control steps after which a command acts.
    """

    def __init__(self, task: Task, windows: Windows, terms: Sequence[Term], n_threads: int = 1) -> None:
        robot = robot_of(task)
        self.model = robot.model()
        if self.model.na:
            raise WarmstartError(
                f"{task.id} has actuators with a state of their own, which recordings don't hold: it can't "
                "be identified."
            )
        self.windows, self.terms, self.delay = windows, tuple(terms), 0
        self.noise: Floats = NOISE * windows.span
        self._parameters = Parameters(self.model)
        self._substeps = self._parameters.frame_skip(task.context, robot.frame_skip)
        self.nominal = self._nominal_places(task)
        jacobian = len(windows) * (1 + 4 * self.model.nv + 2 * len(self.terms))
        self._sims = BatchStepper(self.model, min(MOST_SIMS, jacobian), n_threads)
        self._batch = BatchParameters(self._parameters, self._sims)
        everyone = np.arange(self._sims.nsim)
        if task.context:
            self._batch.apply(everyone, [task.context] * self._sims.nsim)
        self._binding = self._batch.bind([(s, t.operation) for t in self.terms for s in t.parameters])
        self._column = np.repeat(np.arange(len(self.terms)), [len(t.parameters) for t in self.terms])
        bounds = np.array([term.distribution.bounds for term in self.terms]).reshape(-1, 2)[self._column].T
        if self.terms:
            self._binding.check(*bounds)
        self._qpos, self._qvel, self._ctrl = (self._sims.bind(name) for name in ("qpos", "qvel", "ctrl"))

    def starts(self) -> Floats:
        """Where start states are estimated from: as they were measured, 0. Shape: (w, 2 nv)."""
        return np.zeros((len(self.windows), 2 * self.model.nv))

    def residuals(self, places: Floats, starts: Floats) -> Floats:
        """Predicted minus measured, in units of the noise, 0 where nothing was measured.

        Args:
            places: Parameters, between 0 and 1. Shape: (k, p).
            starts: Offsets of start states from the measured ones, in units of the noise. Shape:
                (k, w, 2 nv).

        Returns:
            Shape: (k, w, t · 2 nv).
        """
        k, w = starts.shape[:2]
        window = np.tile(np.arange(w), k)
        return self._run(np.repeat(places, w, axis=0), starts.reshape(k * w, -1), window).reshape(k, w, -1)

    def linearize(
        self, places: Floats, starts: Floats, steps: tuple[float, float] = FINE
    ) -> tuple[Floats, Floats, Floats]:
        """Residuals and their derivatives, by central differences in one batch.

        Args:
            places: Shape: (p,).
            starts: Shape: (w, 2 nv).
            steps: Of start states and parameters; see `FINE`.

        Returns:
            Residuals (w, m), derivatives by start states (w, m, 2 nv) and by parameters (w, m, p), where
            m = t · 2 nv.
        """
        n, p = starts.shape[1], len(places)
        step, place_step = steps
        up, down = (np.clip(places + sign * place_step, 0, 1) for sign in (1, -1))
        shifted, moved = (np.repeat(each[None], 1 + 2 * (n + p), axis=0) for each in (places, starts))
        for i in range(n):
            moved[1 + i, :, i] += step
            moved[1 + n + i, :, i] -= step
        for i in range(p):
            shifted[1 + 2 * n + i, i], shifted[1 + 2 * n + p + i, i] = up[i], down[i]
        found = self.residuals(shifted, moved).reshape(len(moved), len(starts), -1)
        by_start = (found[1 : 1 + n] - found[1 + n : 1 + 2 * n]) / (2 * step)
        by_place = found[1 + 2 * n : 1 + 2 * n + p] - found[1 + 2 * n + p :]
        by_place /= (up - down)[:, None, None]
        return found[0], by_start.transpose(1, 2, 0), by_place.transpose(1, 2, 0)

    def _run(self, places: Floats, starts: Floats, window: NDArray[np.intp]) -> Floats:
        """Residuals of simulations, each of one window. Shape: (k, t, 2 nv)."""
        size = self._sims.nsim
        return np.concatenate(
            [
                self._run_batch(places[i : i + size], starts[i : i + size], window[i : i + size])
                for i in range(0, len(window), size)
            ]
        )

    def _run_batch(self, places: Floats, starts: Floats, window: NDArray[np.intp]) -> Floats:
        windows, nv, n = self.windows, self.model.nv, len(window)
        ids = np.arange(n, dtype=np.intp)
        offsets = starts * self.noise
        if self.terms:
            self._binding.apply(ids, self.values(places)[:, self._column])
        self._sims.reset(ids)
        self._qpos[:n] = add(self.model, windows.qpos[window, 0], offsets[:, :nv])
        self._qvel[:n] = windows.qvel[window, 0] + offsets[:, nv:]
        length = windows.valid.shape[1]
        found = np.empty((n, length, 2 * nv))
        for t in range(length):
            found[:, t, :nv] = subtract(self.model, self._qpos[:n], windows.qpos[window, t])
            found[:, t, nv:] = self._qvel[:n] - windows.qvel[window, t]
            if t + 1 < length:
                self._ctrl[:n] = windows.ctrl[window, windows.lead + t - self.delay]
                self._sims.step(ids, self._substeps)
        found /= self.noise
        found[~windows.valid[window]] = 0.0
        # a diverged simulation is very wrong, but not infinitely
        return np.asarray(np.clip(np.nan_to_num(found, nan=1e3), -1e3, 1e3))

    def _nominal_places(self, task: Task) -> Floats:
        """Where the nominal physics lies within the terms' ranges. Shape: (p,)."""
        values = self._parameters.resolve(task.context)
        places = []
        for term in self.terms:
            low, high = term.distribution.bounds
            number = {"scale": 1.0, "add": 0.0}.get(term.operation)
            if number is None:
                own = {
                    float(values[self._parameters.columns[p.name]][0])
                    for s in term.parameters
                    for p in self._parameters.select(s)
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
            places.append((number - low) / (high - low))
        return np.array(places)

    def values(self, places: Floats) -> Floats:
        """Factors, offsets or values of the terms from their places in the ranges; same shape."""
        columns = [term.distribution.quantile(places[..., i]) for i, term in enumerate(self.terms)]
        return np.stack(columns, axis=-1)


def read_parameters(parameters: Mapping[str, Any]) -> tuple[Term, ...]:
    """Read selectors with the ranges they may come from, such as ``{"torso.mass": "x0.5:x2"}``.

    Raises:
        WarmstartError: There is none, or a range is none or a point.
    """
    if not parameters:
        raise WarmstartError("Expected parameters to fit, such as torso.mass=x0.5:x2, found none.")
    terms = []
    for selector, written in parameters.items():
        term = read_term(selector, written)
        low, high = term.distribution.bounds
        if not isinstance(term.distribution, Uniform) or not low < high:
            raise WarmstartError(f"Expected a range for {selector!r} such as x0.5:x2, found {written!r}.")
        terms.append(term)
    return tuple(terms)


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


@dataclass(frozen=True)
class Row:
    """What the data says about one parameter.

    Attributes:
        name: The parameter or pattern.
        alone: Standard error if all others were known, as a share of the range.
        error: Standard error together with the others, as a share of the range.
        identifiable: Whether the data determines it.
        verdict: The same in words, and why not.
    """

    name: str
    alone: float
    error: float
    identifiable: bool
    verdict: str


@dataclass(frozen=True)
class Excitation:
    """Which parameters recorded motion determines.

    Attributes:
        rows: One for each parameter, in the order in which they were given.
    """

    rows: tuple[Row, ...]

    @property
    def identifiable(self) -> NDArray[np.bool_]:
        """Which parameters can be fitted. Shape: (p,)."""
        return np.array([row.identifiable for row in self.rows], dtype=bool)

    def updated(self, later: "Excitation") -> "Excitation":
        """This with the rows of the parameters that were judged again."""
        again = {row.name: row for row in later.rows}
        return Excitation(tuple(again.get(row.name, row) for row in self.rows))

    def table(self) -> list[dict[str, str]]:
        """Rows of a table: parameter, standard error, verdict."""
        return [
            {"parameter": row.name, "standard error": f"{row.error:.1%} of the range", "verdict": row.verdict}
            for row in self.rows
        ]

    @classmethod
    def of(cls, names: Sequence[str], information: Floats, weak: float = WEAK) -> "Excitation":
        """Judge an information matrix.

        A parameter whose error is too large even if all others were known isn't felt in the data. Of the
        others, those are not identifiable that are part of a direction in which the data says too little:
        they only matter together, and all of them are named.

        Args:
            names: The parameters.
            information: In units of their ranges. Shape: (p, p).
            weak: Largest standard error of an identifiable parameter, as a share of its range.
        """
        alone = 1 / np.sqrt(np.maximum(np.diag(information), 1e-12))
        felt = alone <= weak
        errors, together = alone.copy(), dict[int, list[int]]()
        if felt.any():
            places = np.flatnonzero(felt)
            part = information[np.ix_(places, places)]
            errors[places] = np.sqrt(np.diag(invert(part)))
            values, vectors = np.linalg.eigh(part)
            for value, direction in zip(values, vectors.T, strict=True):
                if value * weak**2 >= 1:
                    continue
                members = places[np.abs(direction) > 0.2 * np.abs(direction).max()]
                for member in members:
                    together.setdefault(int(member), []).extend(int(m) for m in members if m != member)
        rows = []
        for i, name in enumerate(names):
            error = min(float(errors[i]), 99.0)
            if not felt[i]:
                share = f"{min(float(alone[i]), 9.99):.0%}"
                verdict = (
                    f"not identifiable: the motion says too little about it (error {share} of its range)"
                )
            elif errors[i] > weak:
                others = " and ".join(names[m] for m in dict.fromkeys(together.get(i, ())))
                verdict = f"not identifiable: {name} and {others or 'the others'} only matter together"
            else:
                verdict = "identifiable"
            rows.append(Row(name, min(float(alone[i]), 99.0), error, verdict == "identifiable", verdict))
        return cls(tuple(rows))


def excitation(
    task: Task | str,
    trajectories: Trajectories,
    parameters: Mapping[str, Any],
    *,
    window: float = 0.1,
    weak: float = WEAK,
    n_threads: int = 1,
) -> Excitation:
    """Say which parameters recorded motion determines, before anything is fitted.

    Args:
        task: The robot; its context is the nominal physics.
        trajectories: Its recorded motion.
        parameters: Ranges by selector: ``{"torso.mass": "x0.5:x2"}``.
        window: Seconds of a window.
        weak: Largest standard error of an identifiable parameter, as a share of its range.
        n_threads: Threads that simulate.

    Raises:
        WarmstartError: A selector or range isn't sound, or the recordings don't fit the task.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    trajectories.check(task)
    terms = read_parameters(parameters)
    robot = robot_of(task)
    model = robot.model()
    length = max(FEWEST, round(window / (robot.frame_skip * float(model.opt.timestep))))
    replay = Replay(task, cut_windows(trajectories, model, length), terms, n_threads)
    return Excitation.of([term.name for term in terms], nominal_information(replay), weak)


def nominal_information(replay: Replay) -> Floats:
    """What the windows say about the parameters if nominal physics is nearly right. Shape: (p, p)."""
    residuals, by_start, by_place = replay.linearize(replay.nominal, replay.starts())
    return Normal.of(replay.windows, np.zeros_like(residuals), by_start, by_place).information


def subtract(model: mujoco.MjModel, qpos: Floats, other: Floats) -> Floats:
    """Differences of positions as velocities over a second (`mj_differentiatePos`). Shape: (n, nv)."""
    if model.nq == model.nv:
        return np.asarray(qpos - other)
    found = np.empty((len(qpos), model.nv))
    for q, v, turns in _parts(model):
        if not turns:
            found[:, v] = qpos[:, q] - other[:, q]
            continue
        w, x = _product(other[:, q : q + 4] * [1, -1, -1, -1], qpos[:, q : q + 4])
        x = np.where(w[:, None] < 0, -x, x)
        sine = np.linalg.norm(x, axis=1)
        angle = 2 * np.arctan2(sine, np.abs(w))
        found[:, v : v + 3] = x * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)[:, None]
    return found


def add(model: mujoco.MjModel, qpos: Floats, velocity: Floats) -> Floats:
    """Positions a second later (`mj_integratePos`). Shape: (n, nq)."""
    if model.nq == model.nv:
        return np.asarray(qpos + velocity)
    found = np.empty_like(qpos)
    for q, v, turns in _parts(model):
        if not turns:
            found[:, q] = qpos[:, q] + velocity[:, v]
            continue
        turn = velocity[:, v : v + 3]
        half = np.linalg.norm(turn, axis=1)[:, None] / 2
        step = np.concatenate([np.cos(half), turn * np.sinc(half / np.pi) / 2], axis=1)
        w, x = _product(qpos[:, q : q + 4], step)
        rotated = np.concatenate([w[:, None], x], axis=1)
        found[:, q : q + 4] = rotated / np.linalg.norm(rotated, axis=1)[:, None]
    return found


def _parts(model: mujoco.MjModel) -> Iterable[tuple[int, int, bool]]:
    """Where each coordinate or rotation starts in qpos and in qvel."""
    turning, q, v = quaternions(model), 0, 0
    while q < model.nq:
        turns = q in turning
        yield q, v, turns
        q, v = (q + 4, v + 3) if turns else (q + 1, v + 1)


def _product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Real and imaginary parts of products of quaternions. Shapes: (n,) and (n, 3)."""
    w = a[:, 0] * b[:, 0] - (a[:, 1:] * b[:, 1:]).sum(axis=1)
    x = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])
    return w, x
