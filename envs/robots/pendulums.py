"""Gymnasium's balancing tasks: InvertedPendulum and InvertedDoublePendulum, as in its v5 environments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.envs.robots.base import Array, MujocoTask
from warmstart.envs.robots.locomotion import normal_velocity_noise, rows_finite, uniform_noise
from warmstart.envs.simulation.simulation import Simulation


@dataclass(frozen=True)
class InvertedPendulum(MujocoTask):
    """InvertedPendulum-v5."""

    gymnasium_id: ClassVar[str | None] = "InvertedPendulum-v5"
    xml_file: str = "inverted_pendulum.xml"
    frame_skip: int = 2
    time_limit: int | None = 1000
    reset_noise_scale: float = 0.01

    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": 0, "distance": 2.04}
    pixel_camera: ClassVar[Mapping[str, Any]] = {
        "distance": 2.1,
        "azimuth": 90.0,
        "elevation": -5.0,
        "lookat": (0.0, 0.0, 0.25),
    }

    @override
    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        return uniform_noise(sim, rng, self.reset_noise_scale)

    @override
    def terminated(self, sim: Simulation) -> NDArray[np.bool_]:
        finite = rows_finite(sim.qpos) & rows_finite(sim.qvel)
        return ~finite | (np.abs(sim.qpos[:, 1]) > 0.2)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        del actions
        upright = ~self.terminated(sim)
        return upright.astype(np.float64), {"reward_survive": upright.astype(np.int64)}


@dataclass(frozen=True)
class InvertedDoublePendulum(MujocoTask):
    """InvertedDoublePendulum-v5. The tip's position is one substep behind the state."""

    gymnasium_id: ClassVar[str | None] = "InvertedDoublePendulum-v5"
    xml_file: str = "inverted_double_pendulum.xml"
    frame_skip: int = 5
    time_limit: int | None = 1000
    healthy_reward: float = 10.0
    reset_noise_scale: float = 0.1

    camera: ClassVar[Mapping[str, Any]] = {
        "trackbodyid": 0,
        "distance": 4.1225,
        "lookat": np.array((0.0, 0.0, 0.1225)),
    }
    pixel_camera: ClassVar[Mapping[str, Any]] = {
        "distance": 3.2,
        "azimuth": 90.0,
        "elevation": -5.0,
        "lookat": (0.0, 0.0, 0.55),
    }

    @property
    @override
    def reads(self) -> tuple[str, ...]:
        return ("site_xpos", "qfrc_constraint")

    @override
    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        return normal_velocity_noise(sim, rng, self.reset_noise_scale)

    @override
    def observe(self, sim: Simulation) -> Array:
        cart, angles = sim.qpos[:, :1], sim.qpos[:, 1:]
        velocity = np.clip(sim.qvel, -10, 10)
        constraint = np.clip(sim.read("qfrc_constraint")[:, :1], -10, 10)
        return np.concatenate((cart, np.sin(angles), np.cos(angles), velocity, constraint), axis=1)

    @override
    def terminated(self, sim: Simulation) -> NDArray[np.bool_]:
        fallen: NDArray[np.bool_] = sim.read("site_xpos")[:, 0, 2] <= 1
        return fallen

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        del actions
        tip = sim.read("site_xpos")[:, 0]
        x, y = tip[:, 0], tip[:, 2]
        distance_penalty = 0.01 * x**2 + (y - 2) ** 2
        velocity_penalty = 1e-3 * sim.qvel[:, 1] ** 2 + 5e-3 * sim.qvel[:, 2] ** 2
        alive = float(self.healthy_reward) * ~self.terminated(sim)
        return alive - distance_penalty - velocity_penalty, {
            "reward_survive": alive,
            "distance_penalty": -distance_penalty,
            "velocity_penalty": -velocity_penalty,
        }
