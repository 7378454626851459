"""Gymnasium's manipulation tasks: Reacher and Pusher, as in its v5 environments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from warmstart.envs.robots.base import Array, MujocoTask
from warmstart.envs.robots.locomotion import row_sum_of_squares
from warmstart.envs.simulation.simulation import Simulation


@dataclass(frozen=True)
class _Arm(MujocoTask):
    """An arm whose reward is a distance between bodies and the cost of its controls."""

    reward_dist_weight: float = 1
    reward_control_weight: float = 1

    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": 0}

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

    gymnasium_id: ClassVar[str | None] = "Reacher-v5"
    xml_file: str = "reacher.xml"
    frame_skip: int = 2
    time_limit: int | None = 50

    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": 0, "distance": 0.8, "elevation": -60.0}
    pixel_camera: ClassVar[Mapping[str, Any]] = {
        "distance": 0.72,
        "azimuth": 90.0,
        "elevation": -90.0,
        "lookat": (0.0, 0.0, 0.0),
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
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        to_target = self._body(sim, "fingertip") - self._body(sim, "target")
        reward_dist = -np.linalg.norm(to_target, axis=1) * self.reward_dist_weight
        reward_ctrl = self._reward_ctrl(actions)
        return reward_dist + reward_ctrl, {"reward_dist": reward_dist, "reward_ctrl": reward_ctrl}


@dataclass(frozen=True)
class Pusher(_Arm):
    """Pusher-v5."""

    gymnasium_id: ClassVar[str | None] = "Pusher-v5"
    xml_file: str = "pusher_v5.xml"
    frame_skip: int = 5
    time_limit: int | None = 100
    reward_near_weight: float = 0.5
    reward_control_weight: float = 0.1

    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": -1, "distance": 4.0}
    pixel_camera: ClassVar[Mapping[str, Any]] = {
        "distance": 1.9,
        "azimuth": 180.0,
        "elevation": -50.0,
        "lookat": (0.3, -0.25, -0.2),
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
        bodies = tuple(self._body(sim, name) for name in ("tips_arm", "object", "goal"))
        return np.concatenate((sim.qpos[:, :7], sim.qvel[:, :7], *bodies), axis=1)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        thing = self._body(sim, "object")
        near = -np.linalg.norm(thing - self._body(sim, "tips_arm"), axis=1) * self.reward_near_weight
        dist = -np.linalg.norm(thing - self._body(sim, "goal"), axis=1) * self.reward_dist_weight
        ctrl = self._reward_ctrl(actions)
        return dist + ctrl + near, {"reward_dist": dist, "reward_ctrl": ctrl, "reward_near": near}
