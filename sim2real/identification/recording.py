"""Record a simulated robot's motion under excitation signals or a policy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import mujoco
import numpy as np

from warmstart.core.bounds import Natural, Positive
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.tasks.hooks import ContextSource, Perturbation
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.sim2real.identification.settings import RecordingSettings
from warmstart.sim2real.imperfections.imperfections import Imperfections
from warmstart.sim2real.imperfections.settings import Setting
from warmstart.sim2real.recordings.positions import Floats, columns, quaternions
from warmstart.sim2real.recordings.trajectories import (
    FEWEST,
    Trajectories,
    Trajectory,
    control_period,
    robot_of,
)

Policy = Callable[[Floats], Any]
"""Takes an observation, shape (k,), and returns an action, shape (nu,)."""
NOISE_STD = 0.01
"""Standard deviation of the measurement noise, as a share of each range of motion."""


def record(
    task: Task | str,
    steps: int,
    policy: Policy | str | None = None,
    seed: int = 0,
    noise_std: float = NOISE_STD,
    rate: float | None = None,
    *,
    amplitude: float = 1.0,
    sensors: Imperfections | None = None,
    context_source: ContextSource | None = None,
    perturbations: Sequence[Perturbation] = (),
) -> Trajectories:
    """Record a simulated robot, its controls as commanded; an episode that ends begins another recording.

    Args:
        task: The robot, physics included.
        steps: Control steps to simulate.
        policy: Takes observations; or an excitation (`SIGNALS`); None is ``"held"``.
        seed: Of start states, excitation and noise.
        noise_std: Standard deviation of the measurement noise of every position and velocity, as a share of
            its range of motion in the recording.
        rate: Samples per second; the task's control rate (None) or a whole fraction of it, with controls held
            in between.
        amplitude: Share of the controls' ranges that an excitation uses; where it is small, robots that fall
            stay up longer.
        sensors: Whose bias, noise and resolution the measurements have, in place of ``noise_std``.
        context_source: Draws the physics of every episode.
        perturbations: What makes the robot differ from its simulation.

    Raises:
        WarmstartError: The task or signal isn't known, or a number isn't sound.
    """
    signal = policy if isinstance(policy, str) else "held"
    read(RecordingSettings, {"signal": signal, "noise_std": noise_std, "amplitude": amplitude})
    read(Natural, seed, ("seed",))
    read(Positive | None, rate, ("rate",))
    task = Task.parse(task) if isinstance(task, str) else task
    robot_of(task)
    if steps < FEWEST:
        raise WarmstartError(f"Expected at least {FEWEST} steps to record, found {steps}.")
    env = make_vec(
        task, 1, seed, n_threads=1, context_source=context_source, perturbations=tuple(perturbations)
    )
    assert isinstance(env, BatchedEnv)  # every task that robot_of knows, pixels aside
    try:
        rng = np.random.default_rng([seed, 1])
        items = _record(env, steps, policy, seed, rate, amplitude, rng)
        model = env.sim.model
    finally:
        env.close()
    if sensors is not None:
        return Trajectories(tuple(_sensed(items, sensors, model, rng)), angles="radians")
    return Trajectories(tuple(_measured(items, noise_std, model, rng)), angles="radians")


def recording_steps(task: Task, seconds: float) -> int:
    """Control steps of a recording.

    Raises:
        WarmstartError: They are fewer than `FEWEST`, or the task is no robot.
    """
    read(Positive, seconds, ("seconds",))
    period = control_period(task)
    steps = round(seconds / period)
    if steps < FEWEST:
        raise WarmstartError(
            f"Expected at least {FEWEST * period:g} s to record ({FEWEST} steps of {period:g} s), found "
            f"{seconds:g} s."
        )
    return steps


def _record(
    env: BatchedEnv,
    steps: int,
    policy: Policy | str | None,
    seed: int,
    rate: float | None,
    amplitude: float,
    rng: np.random.Generator,
) -> list[Trajectory]:
    """Recordings of the true motion."""
    period, model = float(env.sim.dt[0]), env.sim.model
    hold = 1 if rate is None else max(1, round(1 / (rate * period)))
    if rate is not None and abs(hold * rate * period - 1) > 1e-6:
        raise WarmstartError(
            f"Expected a rate of {1 / period:g} Hz ({env.task.id}'s control rate) or a whole fraction of it, "
            f"found {rate:g} Hz; {1 / (hold * period):g} Hz would do."
        )
    act = (
        policy if callable(policy) else _excite(policy or "held", model, steps, hold * period, amplitude, rng)
    )
    observations, _ = env.reset(seed=seed)
    rows: list[list[tuple[Any, Floats, Floats, Floats]]] = [[]]
    action = np.zeros((1, model.nu), dtype=np.float32)
    for _ in range(steps):
        if int(env.elapsed[0]) % hold == 0:
            action = np.asarray(act(observations[0]), dtype=np.float32)[None]
            time = int(env.elapsed[0]) * period
            rows[-1].append((time, env.sim.qpos[0].copy(), env.sim.qvel[0].copy(), action[0].astype(float)))
        observations, _, ends, cuts, _ = env.step(action)
        if ends[0] or cuts[0]:
            rows.append([])
    items = [
        Trajectory(f"episode {number}", *(np.array(column) for column in zip(*part, strict=True)))
        for number, part in enumerate(rows)
        if len(part) >= FEWEST
    ]
    if not items:
        raise WarmstartError(
            f"Every episode of {env.task} ended within {FEWEST} samples: a smaller amplitude, or a policy "
            "that stays up, makes longer ones."
        )
    return items


def _excite(
    name: str, model: mujoco.MjModel, steps: int, period: float, amplitude: float, rng: np.random.Generator
) -> Policy:
    """A signal over the controls' ranges (-1 to 1 where they have none) as a policy."""
    low, high = np.where(model.actuator_ctrllimited[:, None], model.actuator_ctrlrange, [-1.0, 1.0]).T
    signal = iter(low + (high - low) * (amplitude * SIGNALS[name](steps, model.nu, period, rng) + 1) / 2)
    return lambda _: next(signal)


def _measured(
    items: Sequence[Trajectory], noise_std: float, model: mujoco.MjModel, rng: np.random.Generator
) -> Iterator[Trajectory]:
    """Recordings with measurement noise."""
    spans = {
        k: np.ptp(np.concatenate([getattr(item, k) for item in items]), axis=0) for k in ("qpos", "qvel")
    }
    for item in items:
        qpos, qvel = (
            getattr(item, k) + noise_std * span * rng.standard_normal(getattr(item, k).shape)
            for k, span in spans.items()
        )
        yield replace(item, qpos=_unit(qpos, model), qvel=qvel)


def _sensed(
    items: Sequence[Trajectory], sensors: Imperfections, model: mujoco.MjModel, rng: np.random.Generator
) -> Iterator[Trajectory]:
    """Recordings by imperfect sensors; a setting means the columns that are called as its sensors are."""
    names = columns(model)
    for item in items:
        read = {}
        for key in ("qpos", "qvel"):
            value: Floats = getattr(item, key)
            value = value + _of(names[key], sensors.bias, "std") * rng.standard_normal(value.shape[1])
            value += _of(names[key], sensors.noise, "std") * rng.standard_normal(value.shape)
            resolution = _of(names[key], sensors.quantisation, "resolution")
            rounded = np.rint(value / np.maximum(resolution, 1e-300)) * resolution
            read[key] = np.where(resolution > 0, rounded, value)
        yield replace(item, qpos=_unit(read["qpos"], model), qvel=read["qvel"])


def _of(names: Sequence[str], settings: Sequence[Setting], number: str) -> Floats:
    """A number of the settings for each name, of which the last that means it holds; 0 for none."""
    found = np.zeros(len(names))
    for setting in settings:
        for i, name in enumerate(names):
            if any(fnmatchcase(name, pattern) for pattern in setting.patterns or ("*",)):
                found[i] = getattr(setting, number)
    return found


def _unit(qpos: Floats, model: mujoco.MjModel) -> Floats:
    """Positions, their quaternions of length 1."""
    for start in quaternions(model):
        qpos[:, start : start + 4] /= np.linalg.norm(qpos[:, start : start + 4], axis=1)[:, None]
    return qpos


def _held(n: int, nu: int, period: float, rng: np.random.Generator) -> Floats:
    """Uniform values, each held for 0.05 to 0.3 s, every control on its own."""
    signal = np.empty((n, nu))
    for column in range(nu):
        start = 0
        while start < n:
            length = max(1, round(rng.uniform(0.05, 0.3) / period))
            signal[start : start + length, column] = rng.uniform(-1, 1)
            start += length
    return signal


def _chirp(n: int, nu: int, period: float, rng: np.random.Generator) -> Floats:
    """A sine whose frequency rises from 0.2 Hz to `_fastest` within 10 s, again and again."""
    time = (np.arange(n)[:, None] * period + rng.uniform(0, 10, nu)) % 10
    phase = 2 * np.pi * (0.2 * time + (_fastest(period) - 0.2) * time**2 / 20)
    return np.sin(phase + rng.uniform(0, 2 * np.pi, nu))


def _multisine(n: int, nu: int, period: float, rng: np.random.Generator) -> Floats:
    """Eight sines from 0.2 Hz to `_fastest` at random phases, scaled to the whole range."""
    time = np.arange(n)[:, None, None] * period
    frequency = np.geomspace(0.2, _fastest(period), 8)[:, None] * rng.uniform(0.9, 1.1, (8, nu))
    signal = np.sin(2 * np.pi * frequency * time + rng.uniform(0, 2 * np.pi, (8, nu))).sum(axis=1)
    return np.asarray(signal / np.abs(signal).max(axis=0))


def _fastest(period: float) -> float:
    """Highest frequency, Hz: 5, or what ten samples can show."""
    return min(5.0, 0.1 / period)


SIGNALS: Mapping[str, Callable[[int, int, float, np.random.Generator], Floats]] = {
    "held": _held,
    "chirp": _chirp,
    "multisine": _multisine,
}
"""Excitations between -1 and 1 (the control's range) by name, from steps, controls, period (s), generator."""
