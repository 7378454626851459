"""Recorded motion of a robot, real or simulated: the files it comes in, its checks, and how to record it.

Positions and velocities are MuJoCo's `qpos` and `qvel` (m, rad, quaternions; m/s, rad/s), controls its
`ctrl`. May import envs, agents and transfer.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.envs.batched import BatchedEnv
from warmstart.envs.errors import WarmstartError, unknown_name
from warmstart.envs.hooks import ContextSource, Perturbation
from warmstart.envs.layouts import action_layout, observation_layout
from warmstart.envs.mujoco_task import MujocoTask
from warmstart.envs.names import PartNames
from warmstart.envs.robots import robots
from warmstart.envs.tasks import Task
from warmstart.envs.vector import make_vec

Floats = NDArray[np.float64]
Policy = Callable[[Floats], Any]
"""Takes an observation, shape (k,), and returns an action, shape (nu,)."""
JITTER = 0.1
"""Largest deviation of a sample's distance from the period, as a share of it."""
FEWEST = 4
"""Samples of the shortest trajectory that says anything."""
_DATA = "it needs a package that is not installed: pip install 'warmstart[data]'."


@dataclass(frozen=True)
class Trajectory:
    """One uninterrupted recording.

    Attributes:
        name: What messages call it.
        time: Seconds. Shape: (n,).
        qpos: Positions at these times. Shape: (n, nq).
        qvel: Velocities at these times. Shape: (n, nv).
        ctrl: Controls; `ctrl[k]` is commanded at `time[k]` and held until `time[k + 1]`. Shape: (n, nu).
    """

    name: str
    time: Floats
    qpos: Floats
    qvel: Floats
    ctrl: Floats

    def __post_init__(self) -> None:
        for key in ("time", "qpos", "qvel", "ctrl"):
            values = np.asarray(getattr(self, key), dtype=float)
            wanted = "(n,)" if key == "time" else f"({len(self.time)}, k)"
            if values.ndim != (1 if key == "time" else 2) or len(values) != len(self.time):
                raise WarmstartError(f"{self.name}: expected {key} of shape {wanted}, found {values.shape}.")
            object.__setattr__(self, key, values)

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Trajectories:
    """Recordings of one robot.

    Attributes:
        items: The recordings, at least one.
    """

    items: tuple[Trajectory, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))
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

    def check(self, task: Task) -> None:
        """See that the recordings are sound and fit a task.

        Raises:
            WarmstartError: A number is missing or not finite, the columns or the rate aren't the task's, time
                doesn't increase, a recording is too short, or a quaternion is none.
        """
        robot = robot_of(task)
        model = robot.model()
        period = robot.frame_skip * float(model.opt.timestep)
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
        episode = np.repeat(np.arange(len(self.items)), [len(item) for item in self.items])
        np.savez_compressed(target, episode=episode, **parts)  # type: ignore[arg-type]
        return target


def robot_of(task: Task) -> MujocoTask:
    """The class of a task with its options.

    Raises:
        WarmstartError: It is no MuJoCo task that runs batched.
    """
    task_id = task.id.removeprefix("warmstart/")
    if task_id not in robots():
        raise unknown_name("MuJoCo task", task.id, robots())
    return robots()[task_id].with_options(task.id, dict(task.options))


def columns(model: mujoco.MjModel) -> dict[str, tuple[str, ...]]:
    """Names of the columns of ``qpos``, ``qvel`` and ``ctrl``, as layouts have them.

    A hinge has ``JOINT.angle``, a slide ``JOINT.position``, both ``JOINT.velocity``; a free joint
    ``JOINT.x``, ``JOINT.qw``, ``JOINT.velocity_x``, ``JOINT.angular_velocity_x`` and so on; an actuator
    ``ACTUATOR.ctrl``, where an unnamed actuator has the name of its joint.
    """
    # the layout of a task that observes all of qpos and qvel, whatever the model
    state = observation_layout(
        "HalfCheetah-v5", model, {"exclude_current_positions_from_observation": False}
    ).names
    controls = tuple(f"{name}.ctrl" for name in PartNames(model).actuators)
    if len(controls) != model.nu:  # an actuator with several controls
        controls = action_layout(model).names
    return {"qpos": state[: model.nq], "qvel": state[model.nq :], "ctrl": controls}


def read(path: str | Path, task: Task, names: Mapping[str, str] | None = None) -> Trajectories:
    """Read recordings by what they are: ``.npz``, ``.csv``, a LeRobot folder, else a Minari dataset's id.

    Args:
        path: A file, a folder or ``minari:ID``.
        task: The task whose robot it is.
        names: For CSV and LeRobot: what the file's columns are called here; see `columns`.

    Raises:
        WarmstartError: It can't be read, or it doesn't fit the task.
    """
    text = str(path)
    robot = robot_of(task)
    model = robot.model()
    if text.startswith("minari:"):
        period = robot.frame_skip * float(model.opt.timestep)
        found = read_minari(text.removeprefix("minari:"), period)
    elif not Path(text).exists():
        raise WarmstartError(f"Expected recorded trajectories at {text}, found nothing there.")
    elif Path(text).is_dir():
        found = read_lerobot(text, model, names)
    elif text.endswith(".csv"):
        found = read_csv(text, model, names)
    elif text.endswith(".npz"):
        found = read_npz(text)
    else:
        raise WarmstartError(f"Expected a .npz or .csv file or a LeRobot folder, found {text}.")
    found.check(task)
    return found


def read_npz(path: str | Path) -> Trajectories:
    """Read arrays ``time`` (n,), ``qpos`` (n, nq), ``qvel`` (n, nv), ``ctrl`` or ``action`` (n, nu).

    An array ``episode`` (n,) of ids says which rows belong together; without it they are one recording.

    Raises:
        WarmstartError: An array is missing or has another shape.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if "ctrl" not in arrays and "action" in arrays:
        arrays["ctrl"] = arrays["action"]
    for key in ("time", "qpos", "qvel", "ctrl"):
        if key not in arrays:
            raise unknown_name(f"array (expected in {path})", key, arrays)
    whole = Trajectory(Path(path).stem, arrays["time"], arrays["qpos"], arrays["qvel"], arrays["ctrl"])
    return _split(whole, arrays.get("episode"))


def read_csv(path: str | Path, model: mujoco.MjModel, names: Mapping[str, str] | None = None) -> Trajectories:
    """Read a table with a column ``time``, one for each of `columns`, and perhaps ``episode``.

    ``JOINT.position`` may stand for ``JOINT.angle`` and the other way round, an action's name in the task's
    layout (``JOINT.torque``) for ``ACTUATOR.ctrl``.

    Args:
        path: The file; the first row names the columns.
        model: The robot's model.
        names: What the file's columns are called here, where they have other names.

    Raises:
        WarmstartError: A column is missing (the nearest are named) or a cell is no number.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    header = [name.strip() for name in header]
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise WarmstartError(f"{path}: expected {len(header)} cells in row {number}, found {len(row)}.")
    table = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    numbers = {name: _numbers(path, name, cells) for name, cells in table.items() if name != "episode"}
    parts = _pick(numbers, model, names or {}, str(path))
    if "time" not in numbers:
        raise unknown_name(f"column (expected in {path})", "time", numbers)
    episode = np.array(table["episode"]) if "episode" in table else None
    return _split(Trajectory(Path(path).stem, numbers["time"], *parts), episode)


def read_minari(dataset: Any, period: float) -> Trajectories:
    """Read a Minari dataset whose infos hold ``qpos`` and ``qvel`` for every observation.

    Args:
        dataset: A dataset, or the id of one that lies on this machine.
        period: Seconds between its steps, which Minari doesn't record.

    Raises:
        WarmstartError: Minari isn't installed, or the dataset has no full state.
    """
    if isinstance(dataset, str):
        try:
            import minari  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise WarmstartError(f"To read the Minari dataset {dataset}, {_DATA}") from None
        dataset = minari.load_dataset(dataset)
    items = []
    for episode in dataset.iterate_episodes():
        infos, actions = episode.infos or {}, np.asarray(episode.actions, dtype=float)
        for key in ("qpos", "qvel"):
            if key not in infos:
                raise WarmstartError(
                    f"Expected infos with qpos and qvel in episode {episode.id}, found "
                    f"{', '.join(sorted(infos)) or 'none'}: observations alone don't hold a full state. "
                    "Record the dataset with the environment's qpos and qvel in its infos."
                )
        qpos, qvel = (np.asarray(infos[key], dtype=float) for key in ("qpos", "qvel"))
        n = min(len(qpos), len(actions) + 1)
        ctrl: Floats = np.concatenate([actions, actions[-1:]])[:n]
        items.append(
            Trajectory(f"episode {episode.id}", period * np.arange(float(n)), qpos[:n], qvel[:n], ctrl)
        )
    return Trajectories(tuple(items))


def read_lerobot(
    folder: str | Path, model: mujoco.MjModel, names: Mapping[str, str] | None = None
) -> Trajectories:
    """Read a LeRobot dataset: Parquet files under ``data/``, described by ``meta/info.json``.

    Read are ``observation.state``, ``action``, ``timestamp`` and ``episode_index``. The names of the state's
    and action's parts come from ``meta/info.json``; units must be those of `columns` (rad, not degrees).

    Args:
        folder: The dataset.
        model: The robot's model.
        names: What the parts are called here (`columns`), by their name there; an action's name is looked up
            with ``action/`` in front first, since state and action often share names.

    Raises:
        WarmstartError: pyarrow isn't installed, the folder is none, or a column isn't there.
    """
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]
    except ImportError:
        raise WarmstartError(f"To read the LeRobot dataset {folder}, {_DATA}") from None
    info, files = Path(folder) / "meta" / "info.json", sorted(Path(folder).glob("data/**/*.parquet"))
    if not info.is_file() or not files:
        raise WarmstartError(f"Expected meta/info.json and data/**/*.parquet in {folder}, found no such.")
    features = json.loads(info.read_text(encoding="utf-8")).get("features", {})
    wanted = ("observation.state", "action", "timestamp", "episode_index")
    tables = []
    for file in files:
        there = parquet.read_schema(file).names
        for key in wanted:
            if key not in there:
                raise unknown_name(f"column (expected in {file})", key, there)
        tables.append(parquet.read_table(file, columns=list(wanted)).to_pydict())
    data = {key: np.array([value for table in tables for value in table[key]]) for key in wanted}
    mapping, numbers = dict(names or {}), dict[str, Floats]()
    for key, prefix in (("observation.state", ""), ("action", "action/")):
        named = _feature_names(features.get(key, {}).get("names"), key, data[key].shape[1], folder)
        for i, part in enumerate(named):
            own = mapping.get(f"{prefix}{part}", mapping.get(part) if not prefix else None)
            numbers.setdefault(own or (part if part not in numbers else f"{prefix}{part}"), data[key][:, i])
    order = np.lexsort((data["timestamp"], data["episode_index"]))
    parts = _pick({k: v[order] for k, v in numbers.items()}, model, {}, str(folder))
    whole = Trajectory(Path(folder).name, data["timestamp"][order], *parts)
    return _split(whole, data["episode_index"][order])


def record(
    task: Task | str,
    steps: int,
    policy: Policy | str | None = None,
    seed: int = 0,
    noise_std: float = 0.01,
    rate: float | None = None,
    *,
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
        context_source: Draws the physics of every episode.
        perturbations: What makes the robot differ from its simulation.

    Raises:
        WarmstartError: The task, rate or signal isn't known.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    robot_of(task)
    if steps < FEWEST:
        raise WarmstartError(f"Expected at least {FEWEST} steps to record, found {steps}.")
    env = make_vec(
        task, 1, seed, n_threads=1, context_source=context_source, perturbations=tuple(perturbations)
    )
    assert isinstance(env, BatchedEnv)  # every task that robot_of knows, pixels aside
    try:
        return _record(env, steps, policy, seed, noise_std, rate)
    finally:
        env.close()


def _record(
    env: BatchedEnv, steps: int, policy: Policy | str | None, seed: int, noise_std: float, rate: float | None
) -> Trajectories:
    period, model = float(env.sim.dt[0]), env.sim.model
    hold = 1 if rate is None else max(1, round(1 / (rate * period)))
    if rate is not None and abs(hold * rate * period - 1) > 1e-6:
        raise WarmstartError(
            f"Expected a rate of {1 / period:g} Hz ({env.task.id}'s control rate) or a whole fraction of it, "
            f"found {rate:g} Hz; {1 / (hold * period):g} Hz would do."
        )
    rng = np.random.default_rng([seed, 1])
    act = policy if callable(policy) else _excite(policy or "held", model, steps, hold * period, rng)
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
            f"Every episode of {env.task} ended within {FEWEST} samples: give a policy that lives longer."
        )
    return Trajectories(tuple(_measured(items, noise_std, model, rng)))


def _excite(name: str, model: mujoco.MjModel, steps: int, period: float, rng: np.random.Generator) -> Policy:
    """A signal over the controls' ranges (-1 to 1 where they have none) as a policy."""
    if name not in SIGNALS:
        raise unknown_name("excitation", name, SIGNALS)
    low, high = np.where(model.actuator_ctrllimited[:, None], model.actuator_ctrlrange, [-1.0, 1.0]).T
    signal = iter(low + (high - low) * (SIGNALS[name](steps, model.nu, period, rng) + 1) / 2)
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
        for start in quaternions(model):
            qpos[:, start : start + 4] /= np.linalg.norm(qpos[:, start : start + 4], axis=1)[:, None]
        yield replace(item, qpos=qpos, qvel=qvel)


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


def quaternions(model: mujoco.MjModel) -> list[int]:
    """Where quaternions start within qpos."""
    kinds = {int(mujoco.mjtJoint.mjJNT_FREE): 3, int(mujoco.mjtJoint.mjJNT_BALL): 0}
    return [
        int(model.jnt_qposadr[i]) + kinds[int(model.jnt_type[i])]
        for i in range(model.njnt)
        if int(model.jnt_type[i]) in kinds
    ]


def _split(whole: Trajectory, episode: NDArray[Any] | None) -> Trajectories:
    """Make a recording of every run of rows with the same episode id."""
    if episode is None:
        return Trajectories((whole,))
    if len(episode) != len(whole):
        raise WarmstartError(f"{whole.name}: expected {len(whole)} episode ids, found {len(episode)}.")
    cuts = np.flatnonzero(episode[1:] != episode[:-1]) + 1
    parts = zip(*(np.split(v, cuts) for v in (whole.time, whole.qpos, whole.qvel, whole.ctrl)), strict=True)
    ids = episode[np.concatenate([[0], cuts]).astype(int)]
    return Trajectories(
        tuple(Trajectory(f"{whole.name}, episode {i}", *part) for i, part in zip(ids, parts, strict=True))
    )


def _numbers(path: str | Path, name: str, cells: Iterable[str]) -> Floats:
    found = []
    for row, cell in enumerate(cells):
        try:
            found.append(float(cell or "nan"))
        except ValueError:
            raise WarmstartError(
                f"{path}: expected numbers in {name}, found {cell!r} in row {row}."
            ) from None
    return np.array(found)


def _pick(
    numbers: Mapping[str, Floats], model: mujoco.MjModel, names: Mapping[str, str], where: str
) -> tuple[Floats, Floats, Floats]:
    """Put the columns that are there into MuJoCo's order."""
    there = {names.get(name, name): values for name, values in numbers.items()}
    by_action = dict(zip(columns(model)["ctrl"], action_layout(model).names, strict=True))
    parts = []
    for kind in ("qpos", "qvel", "ctrl"):
        found = []
        for name in columns(model)[kind]:
            stem, _, last = name.rpartition(".")
            other = {"angle": "position", "position": "angle"}.get(last)
            for spelling in (name, f"{stem}.{other}", by_action.get(name)):
                if spelling in there:
                    found.append(there[spelling])
                    break
            else:
                raise unknown_name(f"column (expected in {where})", name, there)
        parts.append(np.stack(found, axis=1) if found else np.zeros((len(next(iter(there.values()))), 0)))
    qpos, qvel, ctrl = parts
    return qpos, qvel, ctrl


def _feature_names(written: Any, key: str, size: int, folder: str | Path) -> list[str]:
    """Names of a LeRobot feature's parts: a list, or a list under some word such as ``motors``."""
    while isinstance(written, Mapping) and len(written) == 1:
        written = next(iter(written.values()))
    if isinstance(written, Mapping):
        written = list(written)
    if not isinstance(written, list) or len(written) != size:
        raise WarmstartError(
            f"Expected the names of the {size} parts of {key} in {folder}/meta/info.json, found {written!r}."
        )
    return [str(name) for name in written]


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
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise WarmstartError(
                f"{item.name}: expected finite numbers, found {values[row, column]} in {wanted[column]}, "
                f"row {row}; {len(bad)} in all. Cut the recording there, or fill them in."
            )


def _check_time(item: Trajectory, period: float, task: Task) -> None:
    gaps = np.diff(item.time)
    if (gaps <= 0).any():
        row = int(np.argmax(gaps <= 0)) + 1
        raise WarmstartError(
            f"{item.name}: expected time to increase, found {item.time[row]:g} s in row {row} after "
            f"{item.time[row - 1]:g} s. Where recordings follow one another, give episode ids."
        )
    usual = float(np.median(gaps))
    wanted = f"a sample every {period:g} s (the control period of {task.id})"
    if abs(usual - period) > 0.01 * period:
        raise WarmstartError(
            f"{item.name}: expected {wanted}, found one every {usual:g} s: resample the recording, or give "
            "the task the robot's control period by its option frame_skip."
        )
    odd = np.abs(gaps - period) > JITTER * period
    if odd.any():
        row = int(np.argmax(odd)) + 1
        raise WarmstartError(
            f"{item.name}: expected {wanted}, found {gaps[row - 1]:g} s between rows {row - 1} and {row} "
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
                f"in {columns(model)['qpos'][start]} and following, row {row}."
            )
