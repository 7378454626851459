"""What happens to a robot from outside: pushes, and starts that vary more than the task's own.

May import envs. Drawn by key, as everything here: see `keyed`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.keyed import keys_of, uniforms
from warmstart.envs.simulation.names import PartNames
from warmstart.envs.tasks.hooks import Perturbation, PerturbedEnv

Array = NDArray[Any]
GRAVITY = 9.81
"""Of the Earth, m/s2: what multiples of a weight are counted in, whatever the task's own gravity."""
Ids = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Push:
    """Forces on a body for a while, again and again."""

    force: tuple[float, float]
    """Smallest and largest size, in multiples of the robot's weight at Earth's gravity."""
    every: tuple[float, float] = (2.0, 5.0)
    """Shortest and longest time from one push's start to the next one's, s."""
    duration: float = 0.1
    """How long it lasts, s; at least one control step."""
    body: str = ""
    """The body that is pushed at its centre of mass; empty for the first that moves, mostly the torso."""
    upwards: bool = False
    """Whether the direction is any, not only a horizontal one."""

    def __post_init__(self) -> None:
        for name, least in (("force", 0.0), ("every", 1e-6)):
            low, high = _pair(f"push: {name}", getattr(self, name))
            if not least <= low <= high < math.inf:
                raise WarmstartError(
                    f"push: expected {name} from low to high, at least {least:g}, found {low:g} and {high:g}."
                )
            object.__setattr__(self, name, (low, high))
        if not 0 < self.duration < self.every[0]:
            raise WarmstartError(
                f"push: expected a duration above 0 s and below {self.every[0]:g} s, the shortest time "
                f"between pushes, found {self.duration:g}."
            )


@dataclass(frozen=True, kw_only=True)
class StartNoise:
    """Start states that vary more; uniform noise on top of the task's own."""

    position: float = 0.0
    """Largest deviation of a hinge (rad) or a slide (m); free joints turn and shift by as much sideways."""
    velocity: float = 0.0
    """Largest deviation of a joint's velocity, rad/s or m/s."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 <= value < math.inf:
                raise WarmstartError(f"start: expected {item.name} of at least 0, found {value:g}.")


@dataclass(frozen=True, kw_only=True)
class Disturbances:
    """Everything that happens from outside; nothing by default."""

    push: Push | None = None
    start: StartNoise | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values that `read_disturbances` reads back."""
        plain = {key: value for key, value in asdict(self).items() if value is not None}
        if "push" in plain:
            plain["push"] |= {key: list(plain["push"][key]) for key in ("force", "every")}
        return plain

    def perturbations(self, seed: int) -> tuple[Perturbation, ...]:
        """What does it in an environment; nothing where nothing happens."""
        found: list[Perturbation] = []
        if self.start is not None and (self.start.position or self.start.velocity):
            found.append(NoisyStart(self.start, seed))
        if self.push is not None and self.push.force[1] > 0:
            found.append(Pushes(self.push, seed))
        return tuple(found)


def read_disturbances(written: Mapping[str, Any]) -> Disturbances:
    """Read ``{push: {force: [0.1, 0.3]}, start: {position: 0.1}}``.

    Raises:
        WarmstartError: An unknown or unsound setting.
    """
    if not isinstance(written, Mapping):
        raise WarmstartError(f"Expected disturbances {{push: {{force: [0.1, 0.3]}}}}, found {written!r}.")
    kinds: dict[str, type[Push | StartNoise]] = {"push": Push, "start": StartNoise}
    made: dict[str, Any] = {}
    for name, settings in written.items():
        if name not in kinds:
            raise unknown_name("disturbance", str(name), kinds)
        if not isinstance(settings, Mapping):
            raise WarmstartError(f"{name}: expected a mapping of settings, found {settings!r}.")
        known = {item.name: item for item in fields(kinds[name])}
        for key, value in settings.items():
            if key not in known:
                raise unknown_name(f"setting of {name}", str(key), known)
            _check_kind(name, key, value)
        if name == "push" and "force" not in settings:
            raise WarmstartError("push: expected its force, such as force: [0.1, 0.3].")
        made[name] = kinds[name](**settings)
    return Disturbances(**made)


class NoisyStart(Perturbation):
    """Adds noise to start states; see `StartNoise`."""

    def __init__(self, settings: StartNoise, seed: int) -> None:
        self.settings, self.seed = settings, seed

    def on_reset(self, env: PerturbedEnv, ids: Ids) -> None:
        """See `Perturbation.on_reset`."""
        sim, model = env.sim, env.sim.model
        names = [f"start|{kind}|{dof}" for kind in ("position", "velocity") for dof in range(model.nv)]
        drawn = 2 * uniforms(self.seed, keys_of(names), ids, env.episode_ids[ids]) - 1
        moved = self.settings.position * drawn[:, : model.nv]
        for joint in range(model.njnt):
            if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
                moved[:, model.jnt_dofadr[joint] + 2] = 0.0  # no start inside the floor
        for row, env_id in enumerate(ids):
            qpos = sim.qpos[env_id].copy()
            mujoco.mj_integratePos(model, qpos, moved[row], 1.0)
            sim.qpos[env_id] = qpos
        sim.qvel[ids] += self.settings.velocity * drawn[:, model.nv :]


class Pushes(Perturbation):
    """Pushes a body; see `Push`.

    The pushes of an episode are numbered: gap, size and direction are looked up by the number.
    """

    def __init__(self, settings: Push, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self._keys = keys_of(["push|gap", "push|size", "push|azimuth", "push|height"])
        self._body, self._weight = -1, 0.0
        self._number: Array = np.zeros(0, dtype=np.int64)
        self._start: Array = np.zeros(0)
        self._force: Array = np.zeros((0, 3))

    def _find_body(self, env: PerturbedEnv) -> int:
        """The pushed body; an environment's model stays the same."""
        if self._body >= 0:
            return self._body
        model = env.sim.model
        names = PartNames(model).bodies
        moving = [body for body in range(1, model.nbody) if model.body_weldid[body] != 0]
        body = self.settings.body
        if body and body not in names:
            raise unknown_name(f"body of {env.task.id}", body, [names[i] for i in moving])
        self._body = list(names).index(body) if body else moving[0]
        if self._body not in moving:
            raise WarmstartError(f"push: the body {body} is fixed to the world and can't be pushed.")
        self._weight = float(model.body_subtreemass[model.body_rootid[self._body]]) * GRAVITY
        return self._body

    def on_reset(self, env: PerturbedEnv, ids: Ids) -> None:
        """Plan the episode's first push."""
        self._find_body(env)
        if len(self._number) != env.num_envs:
            self._number = np.zeros(env.num_envs, dtype=np.int64)
            self._start, self._force = np.zeros(env.num_envs), np.zeros((env.num_envs, 3))
        self._number[ids], self._start[ids] = -1, 0.0
        self._next(env, ids)

    def _next(self, env: PerturbedEnv, ids: Ids) -> None:
        """Look up the next push of some environments."""
        self._number[ids] += 1
        drawn = uniforms(self.seed, self._keys, ids, env.episode_ids[ids], self._number[ids])
        settings = self.settings
        gap = settings.every[0] + drawn[:, 0] * (settings.every[1] - settings.every[0])
        size = settings.force[0] + drawn[:, 1] * (settings.force[1] - settings.force[0])
        angle = 2 * np.pi * drawn[:, 2]
        height = 2 * drawn[:, 3] - 1 if settings.upwards else np.zeros(len(ids))
        flat = np.sqrt(1 - height**2)
        direction = np.stack((flat * np.cos(angle), flat * np.sin(angle), height), axis=1)
        self._start[ids] += gap
        self._force[ids] = self._weight * size[:, None] * direction

    def before_step(self, env: PerturbedEnv, actions: Array) -> Array:
        """Let forces begin and end."""
        time = env.elapsed * env.sim.dt
        now = time - self._start
        half = 0.5 * env.sim.dt  # a control step counts for the push that it mostly lies in
        end = np.maximum(self.settings.duration - half, half)
        pushed = (now >= -half) & (now < end)
        applied = env.sim.read("xfrc_applied")
        applied[:, self._find_body(env), :3] = np.where(pushed[:, None], self._force, 0.0)
        over = np.flatnonzero(now >= end).astype(np.int32)
        if over.size:
            self._next(env, over)
        return actions

    def state_dict(self) -> dict[str, Any]:
        """The push that comes next or goes on, of each environment."""
        return {"number": self._number.copy(), "start": self._start.copy(), "force": self._force.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._number, self._start = state["number"].copy(), state["start"].copy()
        self._force = state["force"].copy()


def _check_kind(name: str, key: str, value: Any) -> None:
    """See that a setting's value is of its kind."""
    if key == "body":
        sound, wanted = isinstance(value, str), "a body's name"
    elif key == "upwards":
        sound, wanted = isinstance(value, bool), "true or false"
    elif key in ("force", "every"):
        both = value if isinstance(value, list | tuple) else (value, value)
        sound, wanted = len(both) == 2 and all(map(_is_number, both)), "one number or two, [low, high],"
    else:
        sound, wanted = _is_number(value), "a number"
    if not sound:
        raise WarmstartError(f"{name}: expected {wanted} as {key}, found {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pair(what: str, value: Any) -> tuple[float, float]:
    """Two numbers, or one twice."""
    numbers = (value, value) if isinstance(value, int | float) else tuple(value)
    if len(numbers) != 2 or not all(isinstance(v, int | float) for v in numbers):
        raise WarmstartError(f"{what}: expected one number or two, [low, high], found {value!r}.")
    return float(numbers[0]), float(numbers[1])
