"""Gymnasium's manipulation tasks: Reacher and Pusher, as in its v5 environments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np
from typing_extensions import override

from warmstart.envs.robots.base import Array, MujocoTask, Target, View, row_sum_of_squares
from warmstart.envs.simulation.dimensions import AXES, ModelDimensions, trigonometric
from warmstart.envs.simulation.layouts import Dimension
from warmstart.envs.simulation.simulation import Simulation

_OBSERVED_BODIES = ("tips_arm", "object", "goal")


@dataclass(frozen=True)
class _Arm(MujocoTask):
    """An arm whose reward is a distance between bodies and the cost of its controls."""

    reward_dist_weight: float = 1
    reward_control_weight: float = 1

    @property
    @override
    def reads(self) -> tuple[str, ...]:
        return ("xpos",)

    def _body(self, sim: Simulation, name: str) -> Array:
        """Position of a body, m, one substep behind the state. Shape: (n, 3)."""
        return sim.read("xpos")[:, sim.model.body(name).id]

    def _reward_ctrl(self, actions: Array) -> Array:
        return -row_sum_of_squares(actions) * self.reward_control_weight


@dataclass(frozen=True)
class Reacher(_Arm):
    """Reacher-v5."""

    xml_file: str = "reacher.xml"
    frame_skip: int = 2
    time_limit: int | None = 50

    gymnasium_id: ClassVar[str] = "Reacher-v5"
    film_view: ClassVar[View] = View(0.8, elevation=-60.0, trackbodyid=0)
    pixel_view: ClassVar[View] = View(0.72, 90.0, -90.0, (0.0, 0.0, 0.0))
    short_name: ClassVar[str] = "reacher"
    targets: ClassVar[tuple[Target, ...]] = (
        Target("weak-motors", "@motor=x0.5", "Motors of half the strength."),
        Target("stiff-joints", "@joint?.damping=x3", "Joints with 3 times the damping."),
        Target("heavy-arm", "@body?.mass=x20", "Arm segments 20 times as heavy."),
        Target("narrow-elbow", "@joint1.range=x0.5", "The elbow keeps half its range."),
    )
    recipe_parts: ClassVar[Mapping[str, str]] = {  # of the arm, not of the target
        "mass": "body*.mass",
        "motor": "gear",
        "damping": "joint.joint*.damping",
    }

    @override
    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        qpos = rng.uniform(-0.1, 0.1, sim.initial_qpos.size) + sim.initial_qpos
        goal = rng.uniform(-0.2, 0.2, 2)
        while np.linalg.norm(goal) >= 0.2:
            goal = rng.uniform(-0.2, 0.2, 2)
        qpos[-2:] = goal
        qvel = sim.initial_qvel + rng.uniform(-0.005, 0.005, sim.initial_qvel.size)
        qvel[-2:] = 0
        return qpos, qvel

    @override
    def observe(self, sim: Simulation) -> Array:
        theta = sim.qpos[:, :2]
        to_target = self._body(sim, "fingertip") - self._body(sim, "target")
        return np.concatenate(
            (np.cos(theta), np.sin(theta), sim.qpos[:, 2:], sim.qvel[:, :2], to_target[:, :2]), axis=1
        )

    @override
    def dimensions(self, model: mujoco.MjModel) -> Iterable[Dimension]:
        read = ModelDimensions(model)
        arm = read.joints[:2]
        yield from trigonometric(arm, "cos") + trigonometric(arm, "sin") + read.qpos[2:] + read.qvel[:2]
        yield from (Dimension(f"fingertip.from_target_{axis}", "m") for axis in "xy")

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        to_target = self._body(sim, "fingertip") - self._body(sim, "target")
        reward_dist = -np.linalg.norm(to_target, axis=1) * self.reward_dist_weight
        reward_ctrl = self._reward_ctrl(actions)
        return reward_dist + reward_ctrl, {"reward_dist": reward_dist, "reward_ctrl": reward_ctrl}


@dataclass(frozen=True)
class Pusher(_Arm):
    """Pusher-v5."""

    xml_file: str = "pusher_v5.xml"
    frame_skip: int = 5
    time_limit: int | None = 100
    reward_near_weight: float = 0.5
    reward_control_weight: float = 0.1

    gymnasium_id: ClassVar[str] = "Pusher-v5"
    film_view: ClassVar[View] = View(4.0, trackbodyid=-1)
    pixel_view: ClassVar[View] = View(1.9, 180.0, -50.0, (0.3, -0.25, -0.2))
    short_name: ClassVar[str] = "pusher"
    targets: ClassVar[tuple[Target, ...]] = (
        Target("heavy-arm", "@r_*.mass=x2", "Arm segments twice as heavy."),
        Target("sticky-object", "@obj_*.damping=x4", "The object slides 4 times as hard."),
    )
    recipe_parts: ClassVar[Mapping[str, str]] = {
        "mass": "body.*.mass",
        "motor": "gear",
        "damping": "damping",
    }

    @override
    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        qpos = sim.initial_qpos.copy()
        goal = np.zeros(2)
        while True:
            cylinder = np.concatenate((rng.uniform(-0.3, 0, 1), rng.uniform(-0.2, 0.2, 1)))
            if np.linalg.norm(cylinder - goal) > 0.17:
                break
        qpos[-4:-2] = cylinder
        qpos[-2:] = goal
        qvel = sim.initial_qvel + rng.uniform(-0.005, 0.005, sim.initial_qvel.size)
        qvel[-4:] = 0
        return qpos, qvel

    @override
    def observe(self, sim: Simulation) -> Array:
        bodies = tuple(self._body(sim, name) for name in _OBSERVED_BODIES)
        return np.concatenate((sim.qpos[:, :7], sim.qvel[:, :7], *bodies), axis=1)

    @override
    def dimensions(self, model: mujoco.MjModel) -> Iterable[Dimension]:
        read = ModelDimensions(model)
        yield from read.qpos[:7] + read.qvel[:7]
        yield from (Dimension(f"{body}.{axis}", "m") for body in _OBSERVED_BODIES for axis in AXES)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        thing = self._body(sim, "object")
        near = -np.linalg.norm(thing - self._body(sim, "tips_arm"), axis=1) * self.reward_near_weight
        dist = -np.linalg.norm(thing - self._body(sim, "goal"), axis=1) * self.reward_dist_weight
        ctrl = self._reward_ctrl(actions)
        return dist + ctrl + near, {"reward_dist": dist, "reward_ctrl": ctrl, "reward_near": near}
