"""Recorded motion of a robot, real or simulated, and its checks.

Positions and velocities are MuJoCo's `qpos` and `qvel` (m, rad, quaternions; m/s, rad/s), controls its
`ctrl`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.frames.options import sees_pixels
from warmstart.envs.robots.base import MujocoTask
from warmstart.envs.robots.table import robots
from warmstart.envs.tasks.task import Task
from warmstart.sim2real.recordings.positions import Floats, columns, quaternions, subtract
from warmstart.sim2real.recordings.units import check_units, clamped, radians_from_degrees

Angles = Literal["radians", "degrees"]
JITTER = 0.1
"""Largest deviation of a sample's distance from the period, as a share of it."""
MOST = 1e12
"""Largest number that a recording holds, whatever its unit."""
FEWEST = 4
"""Samples of the shortest trajectory that says anything."""


@dataclass(frozen=True)
class Trajectory:
    """One uninterrupted recording.

    Attributes:
        name: What messages call it.
        time: Seconds. Shape: (n,).
        qpos: Positions at these times. Shape: (n, nq).
        qvel: Velocities at these times; NaN throughout in a column that wasn't measured. Shape: (n, nv).
        ctrl: Controls; `ctrl[k]` is commanded at `time[k]` and held until `time[k + 1]`. Shape: (n, nu).

    Raises:
        WarmstartError: Something else than numbers, or another shape.
    """

    name: str
    time: Floats
    qpos: Floats
    qvel: Floats
    ctrl: Floats

    def __post_init__(self) -> None:
        for key in ("time", "qpos", "qvel", "ctrl"):
            given = np.asarray(getattr(self, key))
            if given.dtype.kind not in "biuf":
                raise WarmstartError(
                    f"{self.name}: expected numbers as {key}, found {given.dtype} of shape {given.shape}."
                )
            values = given.astype(float, copy=False)
            object.__setattr__(self, key, values)
            is_time, n = key == "time", len(np.atleast_1d(self.time))
            if values.ndim != (1 if is_time else 2) or len(values) != n:
                wanted = "(n,)" if is_time else f"({n}, k)"
                raise WarmstartError(f"{self.name}: expected {key} of shape {wanted}, found {values.shape}.")

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Trajectories:
    """Recordings of one robot.

    Attributes:
        items: The recordings, at least one.
        angles: What their angles are in, where somebody vouches for it; None lets `prepare` refuse what looks
            like degrees.
        differenced: Columns of qvel that are differences of positions, not measurements.
        notes: What was guessed or left out when they were read, in a sentence each.
    """

    items: tuple[Trajectory, ...]
    angles: Angles | None = None
    differenced: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))
        if self.angles is not None and self.angles not in get_args(Angles):
            raise unknown_name("unit of angles", str(self.angles), get_args(Angles))
        if not self.items:
            raise WarmstartError("Expected at least one trajectory, found none.")

    def __iter__(self) -> Iterator[Trajectory]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Trajectory:
        return self.items[index]

    @property
    def duration(self) -> float:
        """Seconds of all recordings together."""
        return float(sum(item.time[-1] - item.time[0] for item in self.items))

    def prepare(self, task: Task) -> "Trajectories":
        """Return them checked and in MuJoCo's units, velocities that weren't measured as differences.

        Angles in degrees (`angles`) become radians; where nobody vouches for their unit, recordings that look
        like degrees are refused.

        Raises:
            WarmstartError: They aren't sound, don't fit the task, or their angles look like degrees.
        """
        model, found = robot_of(task).model(), self
        if self.angles == "degrees":
            items = [
                Trajectory(**{**vars(item), **radians_from_degrees(model, vars(item))}) for item in self.items
            ]
            found = replace(found, items=tuple(items), angles="radians")
        found = found._with_velocities(model)
        found.check(task)
        for item in found if self.angles != "radians" else ():
            qvel = item.qvel.copy()
            qvel[:, found.differenced] = 0.0
            check_units(model, item.name, item.time, item.qpos, qvel, item.ctrl, self.angles is not None)
        return replace(found, notes=(*found.notes, *clamped(model, [item.ctrl for item in found])))

    def _with_velocities(self, model: mujoco.MjModel) -> "Trajectories":
        """Fill the columns of velocities that weren't measured in with central differences of positions."""
        whole = all(item.qvel.shape[1] == model.nv for item in self.items)  # else `check` says so
        if not whole or min(map(len, self.items)) < FEWEST:
            return self
        missing = np.all([np.isnan(item.qvel).all(axis=0) for item in self.items], axis=0)
        if not missing.any():
            return self
        items = []
        for item in self.items:
            rows = np.arange(len(item))
            before, after = np.maximum(rows - 1, 0), np.minimum(rows + 1, len(item) - 1)
            # what is no number, and time that stands still, is said by `check`
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                moved = subtract(model, item.qpos[after], item.qpos[before])
                rates = moved / (item.time[after] - item.time[before])[:, None]
            items.append(replace(item, qvel=np.where(missing, rates, item.qvel)))
        names = ", ".join(np.array(columns(model)["qvel"])[missing])
        note = (
            f"The recordings hold no {'velocities' if missing.all() else names}: motion starts from "
            "differences of positions, and only what was measured is fitted."
        )
        derived = tuple(np.flatnonzero(missing).tolist())
        return replace(self, items=tuple(items), differenced=derived, notes=(*self.notes, note))

    def check(self, task: Task) -> None:
        """See that the recordings are sound and fit a task.

        Raises:
            WarmstartError: A number is missing or not finite, the columns or the rate aren't the task's, time
                doesn't increase, a recording is too short, or a quaternion is none.
        """
        model, period = robot_of(task).model(), control_period(task)
        names = columns(model)
        for item in self.items:
            _check_values(item, names)
            _check_time(item, period, task)
            _check_quaternions(item, model)

    def save_npz(self, path: str | Path) -> Path:
        """Write the arrays that `read_npz` reads; returns the file's path, which ends in ``.npz``."""
        target = Path(path) if str(path).endswith(".npz") else Path(f"{path}.npz")
        target.parent.mkdir(parents=True, exist_ok=True)
        parts = {
            key: np.concatenate([getattr(item, key) for item in self.items])
            for key in ("time", "qpos", "qvel", "ctrl")
        }
        parts["qvel"][:, self.differenced] = np.nan  # which reads as not measured
        episode = np.repeat(np.arange(len(self.items)), [len(item) for item in self.items])
        np.savez_compressed(target, episode=episode, **parts)  # type: ignore[arg-type]
        return target


def robot_of(task: Task) -> MujocoTask:
    """The class of a task with its options.

    Raises:
        WarmstartError: It is no MuJoCo task that runs batched.
    """
    if sees_pixels(task):
        raise WarmstartError(
            f"{task} is seen in frames, and this needs its robot's states: leave the options of frames out."
        )
    task_id = task.id.removeprefix("warmstart/")
    if task_id not in robots():
        raise unknown_name("robot (a MuJoCo task that is simulated in batches)", task.id, robots())
    return robots()[task_id].with_options(task.id, dict(task.options))


def control_period(task: Task) -> float:
    """Seconds of a control step of a task's robot; see `robot_of`."""
    robot = robot_of(task)
    return robot.frame_skip * float(robot.model().opt.timestep)


def _check_values(item: Trajectory, names: Mapping[str, tuple[str, ...]]) -> None:
    if len(item) < FEWEST:
        raise WarmstartError(
            f"{item.name} is too short: expected at least {FEWEST} samples, found {len(item)}."
        )
    for key, wanted in (("time", ("time",)), *names.items()):
        values = getattr(item, key).reshape(len(item), -1)
        if values.shape[1] != len(wanted):
            raise WarmstartError(
                f"{item.name}: expected {len(wanted)} columns of {key} ({', '.join(wanted)}), found "
                f"{values.shape[1]}."
            )
        bad = np.argwhere(~(np.abs(values) <= MOST))
        if len(bad):
            row, column = bad[0]
            raise WarmstartError(
                f"{item.name}: expected finite numbers up to {MOST:g}, found {values[row, column]} in "
                f"{wanted[column]}, sample {row}; {len(bad)} in all. Cut the recording there, or fill it in."
            )


def _check_time(item: Trajectory, period: float, task: Task) -> None:
    gaps = np.diff(item.time)
    if (gaps <= 0).any():
        row = int(np.argmax(gaps <= 0)) + 1
        raise WarmstartError(
            f"{item.name}: expected time to increase, found {item.time[row]:g} s in sample {row} after "
            f"{item.time[row - 1]:g} s. Where recordings follow one another, give episode ids."
        )
    usual = float(np.median(gaps))
    factor = {3: "milliseconds", 6: "microseconds", 9: "nanoseconds"}.get(round(np.log10(usual / period)))
    hint = f" They look like {factor}: time is in seconds." if factor else ""
    wanted = f"a sample every {period:g} s (the control period of {task.id})"
    if abs(usual - period) > 0.01 * period:
        raise WarmstartError(
            f"{item.name}: expected {wanted}, found one every {usual:g} s.{hint} Resample the recording, or "
            "give the task the robot's control period by its option frame_skip."
        )
    odd = np.abs(gaps - period) > JITTER * period
    if odd.any():
        row = int(np.argmax(odd)) + 1
        raise WarmstartError(
            f"{item.name}: expected {wanted}, found {gaps[row - 1]:g} s between samples {row - 1} and {row} "
            f"({int(odd.sum())} such gaps): resample the recording, or cut it into episodes there."
        )


def _check_quaternions(item: Trajectory, model: mujoco.MjModel) -> None:
    for start in quaternions(model):
        lengths = np.linalg.norm(item.qpos[:, start : start + 4], axis=1)
        bad = np.abs(lengths - 1) > 0.05
        if bad.any():
            row = int(np.argmax(bad))
            raise WarmstartError(
                f"{item.name}: expected unit quaternions (w, x, y, z), found one of length {lengths[row]:g} "
                f"in {columns(model)['qpos'][start]} and following, sample {row}."
            )


def split_episodes(
    whole: Trajectory, episode: NDArray[Any] | None, notes: tuple[str, ...] = ()
) -> Trajectories:
    """Make a recording of every run of rows with the same episode id.

    Args:
        whole: All rows, n of them.
        episode: Id of each row's episode; None where all are one recording. Shape: (n,).
        notes: Those of the recordings.

    Raises:
        WarmstartError: There are no rows, or not as many ids.
    """
    if episode is None:
        return Trajectories((whole,), notes=notes)
    if not len(whole):
        raise WarmstartError(f"{whole.name}: expected samples, found none.")
    if episode.shape != (len(whole),):
        raise WarmstartError(
            f"{whole.name}: expected episode ids of shape ({len(whole)},), found {episode.shape}."
        )
    cuts = np.flatnonzero(episode[1:] != episode[:-1]) + 1
    parts = zip(*(np.split(v, cuts) for v in (whole.time, whole.qpos, whole.qvel, whole.ctrl)), strict=True)
    ids = episode[np.concatenate([[0], cuts]).astype(int)]
    # whole numbers that went through floats are shown as whole numbers
    shown = [re.sub(r"^(-?\d+)\.0+$", r"\1", str(i)) for i in ids]
    return Trajectories(
        tuple(Trajectory(f"{whole.name}, episode {i}", *part) for i, part in zip(shown, parts, strict=True)),
        notes=notes,
    )
