"""What happens to a robot from outside: pushes, and starts that vary more than the task's own."""

from dataclasses import dataclass
from typing import Annotated, Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.bounds import Bounds, Pair, SettingError, Settings, State
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.keyed import keys_of, uniforms
from warmstart.core.plain import check, to_plain
from warmstart.envs.simulation.names import PartNames
from warmstart.envs.tasks.hooks import Perturbation, PerturbedEnv

Array = NDArray[Any]
GRAVITY = 9.81
"""Of the Earth, m/s2: what multiples of a weight are counted in, whatever the task's own gravity."""
Ids = NDArray[np.int32]
Size = Annotated[int | float, Bounds(0, below=True)]
"""A finite number of at least 0, kept as it was written: hashes of realities and trials are of the text."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """Forces on a body for a while, again and again."""

    force: Annotated[Pair, Bounds(0, below=True)]
    """Smallest and largest size, in multiples of the robot's weight at Earth's gravity."""
    every: Annotated[Pair, Bounds(1e-6, below=True)] = (2.0, 5.0)
    """Shortest and longest time from one push's start to the next one's, s."""
    duration: Annotated[int | float, Bounds(0, above=True)] = 0.1
    """How long it lasts, s; at least one control step."""
    body: str = ""
    """The body that is pushed at its centre of mass; empty for the first that moves, mostly the torso."""
    upwards: bool = False
    """Whether the direction is any, not only a horizontal one."""

    def __post_init__(self) -> None:
        check(self)
        for name, (low, high) in (("force", self.force), ("every", self.every)):
            if low > high:
                raise SettingError((name,), f"expected {name} from low to high, found {low:g} and {high:g}.")
        if self.duration >= self.every[0]:
            message = (
                f"expected a duration below {self.every[0]:g} s, the shortest time between pushes, found "
            )
            raise SettingError(("duration",), f"{message}{self.duration:g}.")


@dataclass(frozen=True, kw_only=True)
class StartNoise:
    """Start states that vary more; uniform noise on top of the task's own."""

    position: Size = 0.0
    """Largest deviation of a hinge (rad) or a slide (m); free joints turn and shift by as much sideways."""
    velocity: Size = 0.0
    """Largest deviation of a joint's velocity, rad/s or m/s."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Disturbances:
    """Everything that happens from outside, ``{push: {force: [0.1, 0.3]}}``; nothing by default."""

    push: Push | None = None
    start: StartNoise | None = None

    def to_json(self) -> Settings:
        """Plain values that are read back."""
        found: Settings = {key: value for key, value in to_plain(self).items() if value is not None}
        return found

    def perturbations(self, seed: int) -> tuple[Perturbation, ...]:
        """What does it in an environment; nothing where nothing happens."""
        found: list[Perturbation] = []
        if self.start is not None and (self.start.position or self.start.velocity):
            found.append(NoisyStart(self.start, seed))
        if self.push is not None and self.push.force[1] > 0:
            found.append(Pushes(self.push, seed))
        return tuple(found)


class NoisyStart(Perturbation):
    """Adds noise to start states; see `StartNoise`."""

    def __init__(self, settings: StartNoise, seed: int) -> None:
        self.settings, self.seed = settings, seed

    @override
    def on_reset(self, env: PerturbedEnv, ids: Ids) -> None:
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

    @override
    def on_reset(self, env: PerturbedEnv, ids: Ids) -> None:
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

    @override
    def before_step(self, env: PerturbedEnv, actions: Array) -> Array:
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

    @override
    def state_dict(self) -> State:
        return {name: getattr(self, f"_{name}").copy() for name in ("number", "start", "force")}

    @override
    def load_state_dict(self, state: State) -> None:
        for name, values in state.items():
            setattr(self, f"_{name}", values.copy())
