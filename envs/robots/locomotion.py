"""Gymnasium's runners and crawlers: HalfCheetah, Hopper, Walker2d, Swimmer, Ant.

Rewards and observations are those of Gymnasium's v5 environments, operation by operation, so that results are
equal to the last bit; the control cost has the actions' own precision (float32) there as here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.envs.robots.base import Array, MujocoTask
from warmstart.envs.simulation.simulation import Simulation


def uniform_noise(sim: Simulation, rng: np.random.Generator, scale: float) -> tuple[Array, Array]:
    """The default pose and velocity, each with uniform noise in ±scale (m, rad; m/s, rad/s)."""
    qpos = sim.initial_qpos + rng.uniform(-scale, scale, sim.initial_qpos.size)
    qvel = sim.initial_qvel + rng.uniform(-scale, scale, sim.initial_qvel.size)
    return qpos, qvel


def normal_velocity_noise(sim: Simulation, rng: np.random.Generator, scale: float) -> tuple[Array, Array]:
    """The default pose with uniform noise in ±scale and a normal velocity of that standard deviation."""
    qpos = sim.initial_qpos + rng.uniform(-scale, scale, sim.initial_qpos.size)
    qvel = sim.initial_qvel + scale * rng.standard_normal(sim.initial_qvel.size)
    return qpos, qvel


def row_sum_of_squares(values: Array) -> Array:
    """Sum of squares of each row, everything after the first axis flattened. Shape: (n,)."""
    squares: Array = np.square(values)
    total: Array = squares.reshape(len(values), -1).sum(axis=1)
    return total


def rows_within(values: Array, low: Any, high: Any) -> NDArray[np.bool_]:
    """Which rows lie strictly between two bounds, in every column. Shape: (n,)."""
    inside: NDArray[np.bool_] = np.logical_and.reduce((low < values) & (values < high), axis=1)
    return inside


def rows_finite(values: Array) -> NDArray[np.bool_]:
    """Which rows are finite in every column. Shape: (n,)."""
    finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(values), axis=1)
    return finite


def planar_distance(sim: Simulation) -> Array:
    """Distance of the first two coordinates from the origin, m. Shape: (n,)."""
    x, y = sim.qpos[:, 0], sim.qpos[:, 1]
    distance: Array = np.sqrt(x * x + y * y)
    return distance


def planar_position(sim: Simulation) -> dict[str, Array]:
    """The first two coordinates and their distance from the origin, as info entries."""
    return {
        "x_position": sim.qpos[:, 0].copy(),
        "y_position": sim.qpos[:, 1].copy(),
        "distance_from_origin": planar_distance(sim),
    }


@dataclass(frozen=True)
class _PlanarRunner(MujocoTask):
    """A runner in the x-z plane, rewarded for its speed along x."""

    time_limit: int | None = 1000
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-3
    reset_noise_scale: float = 5e-3
    exclude_current_positions_from_observation: bool = True

    @override
    def before_step(self, sim: Simulation) -> None:
        sim.before["x"] = sim.qpos[:, 0].copy()

    @override
    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        return uniform_noise(sim, rng, self.reset_noise_scale)

    @override
    def observe(self, sim: Simulation) -> Array:
        qpos = sim.qpos[:, 1:] if self.exclude_current_positions_from_observation else sim.qpos
        return np.concatenate((qpos, sim.qvel), axis=1)

    def _running(self, sim: Simulation, actions: Array) -> tuple[Array, Array, Array, Array]:
        """Position and velocity along x, forward reward and control cost. Shape of each: (n,)."""
        x: Array = sim.qpos[:, 0].copy()
        velocity: Array = (x - sim.before["x"]) / sim.dt
        cost = self.ctrl_cost_weight * row_sum_of_squares(actions)
        return x, velocity, self.forward_reward_weight * velocity, cost


@dataclass(frozen=True)
class HalfCheetah(_PlanarRunner):
    """HalfCheetah-v5."""

    gymnasium_id: ClassVar[str | None] = "HalfCheetah-v5"
    xml_file: str = "half_cheetah.xml"
    frame_skip: int = 5
    ctrl_cost_weight: float = 0.1
    reset_noise_scale: float = 0.1

    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": 1, "distance": 4.0}
    pixel_camera: ClassVar[Mapping[str, Any]] = {
        "distance": 2.6,
        "azimuth": 90.0,
        "elevation": -15.0,
        "lookat": (0.0, 0.0, 0.5),
    }
    follows: ClassVar[str | None] = "torso"

    @override
    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        return normal_velocity_noise(sim, rng, self.reset_noise_scale)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        x, velocity, forward, cost = self._running(sim, actions)
        return forward - cost, {
            "x_position": x,
            "x_velocity": velocity,
            "reward_forward": forward,
            "reward_ctrl": -cost,
        }

    @override
    def reset_info(self, sim: Simulation) -> dict[str, Array]:
        return {"x_position": sim.qpos[:, 0].copy()}


@dataclass(frozen=True)
class _UprightRunner(_PlanarRunner):
    """A planar runner that must stay upright: height and torso angle within ranges."""

    frame_skip: int = 4
    healthy_reward: float = 1.0
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (0.7, float("inf"))
    healthy_angle_range: tuple[float, float] = (-0.2, 0.2)

    camera: ClassVar[Mapping[str, Any]] = {
        "trackbodyid": 1,
        "distance": 3.0,
        "lookat": np.array((0.0, 0.0, 1.15)),
        "elevation": -20.0,
    }
    pixel_camera: ClassVar[Mapping[str, Any]] = {
        "distance": 2.8,
        "azimuth": 90.0,
        "elevation": -10.0,
        "lookat": (0.0, 0.0, 0.8),
    }
    follows: ClassVar[str | None] = "torso"

    @override
    def observe(self, sim: Simulation) -> Array:
        qpos = sim.qpos[:, 1:] if self.exclude_current_positions_from_observation else sim.qpos
        return np.concatenate((qpos, np.clip(sim.qvel, -10, 10)), axis=1)

    def healthy(self, sim: Simulation) -> NDArray[np.bool_]:
        """Which robots are upright. Shape: (n,)."""
        low, high = np.array((self.healthy_z_range, self.healthy_angle_range)).T
        return rows_within(sim.qpos[:, 1:3], low, high)

    @override
    def terminated(self, sim: Simulation) -> NDArray[np.bool_]:
        if not self.terminate_when_unhealthy:
            return super().terminated(sim)
        return ~self.healthy(sim)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        x, velocity, forward, cost = self._running(sim, actions)
        survive = self.healthy(sim) * float(self.healthy_reward)
        return forward + survive - cost, {
            "x_position": x,
            "z_distance_from_origin": sim.qpos[:, 1] - sim.initial_qpos[1],
            "x_velocity": velocity,
            "reward_forward": forward,
            "reward_ctrl": -cost,
            "reward_survive": survive,
        }

    @override
    def reset_info(self, sim: Simulation) -> dict[str, Array]:
        return {
            "x_position": sim.qpos[:, 0].copy(),
            "z_distance_from_origin": sim.qpos[:, 1] - sim.initial_qpos[1],
        }


@dataclass(frozen=True)
class Hopper(_UprightRunner):
    """Hopper-v5."""

    gymnasium_id: ClassVar[str | None] = "Hopper-v5"
    xml_file: str = "hopper.xml"
    healthy_state_range: tuple[float, float] = (-100.0, 100.0)

    @override
    def healthy(self, sim: Simulation) -> NDArray[np.bool_]:
        low, high = self.healthy_state_range
        in_range = rows_within(sim.qpos[:, 2:], low, high) & rows_within(sim.qvel, low, high)
        return in_range & super().healthy(sim)


@dataclass(frozen=True)
class Walker2d(_UprightRunner):
    """Walker2d-v5."""

    gymnasium_id: ClassVar[str | None] = "Walker2d-v5"
    xml_file: str = "walker2d_v5.xml"
    healthy_z_range: tuple[float, float] = (0.8, 2.0)
    healthy_angle_range: tuple[float, float] = (-1.0, 1.0)

    camera: ClassVar[Mapping[str, Any]] = {**_UprightRunner.camera, "distance": 4.0}


@dataclass(frozen=True)
class Swimmer(_PlanarRunner):
    """Swimmer-v5."""

    gymnasium_id: ClassVar[str | None] = "Swimmer-v5"
    xml_file: str = "swimmer.xml"
    frame_skip: int = 4
    ctrl_cost_weight: float = 1e-4
    reset_noise_scale: float = 0.1

    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": 1, "distance": 5.0, "elevation": -60.0}
    pixel_camera: ClassVar[Mapping[str, Any]] = {
        "distance": 6.0,
        "azimuth": 90.0,
        "elevation": -80.0,
        "lookat": (0.0, 0.0, 0.0),
    }
    follows: ClassVar[str | None] = "torso"

    @override
    def before_step(self, sim: Simulation) -> None:
        sim.before["xy"] = sim.qpos[:, :2].copy()

    @override
    def observe(self, sim: Simulation) -> Array:
        qpos = sim.qpos[:, 2:] if self.exclude_current_positions_from_observation else sim.qpos
        return np.concatenate((qpos, sim.qvel), axis=1)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        velocity = (sim.qpos[:, :2] - sim.before["xy"]) / sim.dt[:, None]
        forward = self.forward_reward_weight * velocity[:, 0]
        cost = self.ctrl_cost_weight * row_sum_of_squares(actions)
        return forward - cost, {
            **planar_position(sim),
            "x_velocity": velocity[:, 0],
            "y_velocity": velocity[:, 1],
            "reward_forward": forward,
            "reward_ctrl": -cost,
        }

    @override
    def reset_info(self, sim: Simulation) -> dict[str, Array]:
        return planar_position(sim)


@dataclass(frozen=True)
class Ant(MujocoTask):
    """Ant-v5. Its velocity is that of the main body's position, one substep behind the state."""

    gymnasium_id: ClassVar[str | None] = "Ant-v5"
    xml_file: str = "ant.xml"
    frame_skip: int = 5
    time_limit: int | None = 1000
    forward_reward_weight: float = 1
    ctrl_cost_weight: float = 0.5
    contact_cost_weight: float = 5e-4
    healthy_reward: float = 1.0
    main_body: int | str = 1
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (0.2, 1.0)
    contact_force_range: tuple[float, float] = (-1.0, 1.0)
    reset_noise_scale: float = 0.1
    exclude_current_positions_from_observation: bool = True
    include_cfrc_ext_in_observation: bool = True

    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": 1, "distance": 4.0}
    pixel_camera: ClassVar[Mapping[str, Any]] = {
        "distance": 3.6,
        "azimuth": 90.0,
        "elevation": -45.0,
        "lookat": (0.0, 0.0, 0.4),
    }
    follows: ClassVar[str | None] = "torso"

    @property
    @override
    def reads(self) -> tuple[str, ...]:
        forces = self.include_cfrc_ext_in_observation or self.contact_cost_weight != 0
        return ("xpos", "cfrc_ext") if forces else ("xpos",)

    @override
    def before_step(self, sim: Simulation) -> None:
        sim.before["xy"] = self._main_body_xy(sim).copy()

    @override
    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        return normal_velocity_noise(sim, rng, self.reset_noise_scale)

    @override
    def observe(self, sim: Simulation) -> Array:
        qpos = sim.qpos[:, 2:] if self.exclude_current_positions_from_observation else sim.qpos
        if not self.include_cfrc_ext_in_observation:
            return np.concatenate((qpos, sim.qvel), axis=1)
        forces = self._contact_forces(sim)[:, 1:].reshape(sim.n, -1)
        return np.concatenate((qpos, sim.qvel, forces), axis=1)

    def healthy(self, sim: Simulation) -> NDArray[np.bool_]:
        """Which robots are finite and neither fallen nor flying. Shape: (n,)."""
        low, high = self.healthy_z_range
        return (
            rows_finite(sim.qpos) & rows_finite(sim.qvel) & (low <= sim.qpos[:, 2]) & (sim.qpos[:, 2] <= high)
        )

    @override
    def terminated(self, sim: Simulation) -> NDArray[np.bool_]:
        if not self.terminate_when_unhealthy:
            return super().terminated(sim)
        return ~self.healthy(sim)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        velocity = (self._main_body_xy(sim) - sim.before["xy"]) / sim.dt[:, None]
        forward = velocity[:, 0] * self.forward_reward_weight
        survive = self.healthy(sim) * float(self.healthy_reward)
        ctrl_cost = self.ctrl_cost_weight * row_sum_of_squares(actions)
        contact_cost = np.zeros(sim.n)
        if self.contact_cost_weight:
            contact_cost = self.contact_cost_weight * row_sum_of_squares(self._contact_forces(sim))
        return forward + survive - (ctrl_cost + contact_cost), {
            **planar_position(sim),
            "x_velocity": velocity[:, 0],
            "y_velocity": velocity[:, 1],
            "reward_forward": forward,
            "reward_ctrl": -ctrl_cost,
            "reward_contact": -contact_cost,
            "reward_survive": survive,
        }

    @override
    def reset_info(self, sim: Simulation) -> dict[str, Array]:
        return planar_position(sim)

    def _main_body_xy(self, sim: Simulation) -> Array:
        body = self.main_body if isinstance(self.main_body, int) else sim.model.body(self.main_body).id
        return sim.read("xpos")[:, body, :2]

    def _contact_forces(self, sim: Simulation) -> Array:
        low, high = self.contact_force_range
        return np.clip(sim.read("cfrc_ext"), low, high)
