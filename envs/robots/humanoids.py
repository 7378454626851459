"""Gymnasium's humanoids: Humanoid and HumanoidStandup, as in its v5 environments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.envs.robots.base import (
    Array,
    Target,
    View,
    planar_position,
    row_sum_of_squares,
)
from warmstart.envs.robots.legged import ROTOR_RECIPE, MovingRobot, range_target
from warmstart.envs.simulation.dimensions import CONTACT_FORCE, INERTIA, MOTION, ModelDimensions
from warmstart.envs.simulation.layouts import Dimension
from warmstart.envs.simulation.simulation import Simulation

_PARTS = {"cinert": INERTIA, "cvel": MOTION, "qfrc_actuator": None, "cfrc_ext": CONTACT_FORCE}
"""What may be observed beside the state: of every body but the world, or (None) of every joint."""
_FREE_JOINT = 6  # degrees of freedom of the torso, which no actuator moves


@dataclass(frozen=True)
class _Humanoid(MovingRobot):
    """Observations of a humanoid: its state and what acts on its bodies, one substep behind."""

    frame_skip: int = 5
    ctrl_cost_weight: float = 0.1
    reset_noise_scale: float = 1e-2
    include_cinert_in_observation: bool = True
    include_cvel_in_observation: bool = True
    include_qfrc_actuator_in_observation: bool = True
    include_cfrc_ext_in_observation: bool = True

    recipe_parts: ClassVar[Mapping[str, str]] = ROTOR_RECIPE

    impact: ClassVar[str]
    """What the options call the cost of contact forces: ``contact_cost``."""

    @cached_property
    def _observed(self) -> tuple[str, ...]:
        return tuple(name for name in _PARTS if getattr(self, f"include_{name}_in_observation"))

    @property
    def _impact_weight(self) -> float:
        return float(getattr(self, f"{self.impact}_weight"))

    @property
    @override
    def reads(self) -> tuple[str, ...]:
        forces = ("cfrc_ext",) if self._impact_weight != 0 else ()
        return tuple(dict.fromkeys(("ten_length", "ten_velocity", *self._observed, *forces)))

    @override
    def observe(self, sim: Simulation) -> Array:
        parts = [sim.qpos[:, self._first_position :], sim.qvel]
        for name in self._observed:
            values = sim.read(name)
            of_joints = _PARTS[name] is None
            parts.append(values[:, _FREE_JOINT:] if of_joints else values[:, 1:].reshape(sim.n, -1))
        return np.concatenate(parts, axis=1)

    @override
    def dimensions(self, model: mujoco.MjModel) -> Iterable[Dimension]:
        read = ModelDimensions(model)
        yield from super().dimensions(model)
        for name in self._observed:
            of_body = _PARTS[name]
            yield from read.actuator_efforts()[_FREE_JOINT:] if of_body is None else read.per_body(of_body)

    def _impact_cost(self, sim: Simulation) -> Array:
        cost = np.zeros(sim.n)
        if self._impact_weight:
            cost = self._impact_weight * row_sum_of_squares(sim.read("cfrc_ext"))
        limits: tuple[float, float] = getattr(self, f"{self.impact}_range")
        return np.clip(cost, *limits)

    def _tendons(self, sim: Simulation) -> dict[str, Array]:
        return {
            "tendon_length": sim.read("ten_length").copy(),
            "tendon_velocity": sim.read("ten_velocity").copy(),
        }


@dataclass(frozen=True)
class Humanoid(_Humanoid):
    """Humanoid-v5. Its velocity is that of its centre of mass, one substep behind the state."""

    xml_file: str = "humanoid.xml"
    forward_reward_weight: float = 1.25
    contact_cost_weight: float = 5e-7
    contact_cost_range: tuple[float, float] = (-np.inf, 10.0)
    healthy_reward: float = 5.0
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (1.0, 2.0)

    impact: ClassVar[str] = "contact_cost"
    gymnasium_id: ClassVar[str] = "Humanoid-v5"
    film_view: ClassVar[View] = View(4.0, elevation=-20.0, lookat=(0.0, 0.0, 2.0), trackbodyid=1)
    pixel_view: ClassVar[View] = View(3.4, 90.0, -15.0, (0.0, 0.0, 1.0))
    short_name: ClassVar[str] = "humanoid"
    targets: ClassVar[tuple[Target, ...]] = (
        Target("half-gravity", "@gravity=x0.5", "Gravity times 0.5."),
        Target("heavy-torso", "@torso.mass=x2", "The torso twice as heavy."),
        Target("weak-motors", "@motor=x0.7", "Motors of 70% strength."),
        Target("half-friction", "@friction=x0.5", "Friction times 0.5."),
        range_target(80),
    )

    @property
    @override
    def reads(self) -> tuple[str, ...]:
        return (*super().reads, "xipos")

    @override
    def before_step(self, sim: Simulation) -> None:
        sim.before["xy"] = self._mass_center(sim)

    def healthy(self, sim: Simulation) -> NDArray[np.bool_]:
        """Which humanoids stand. Shape: (n,)."""
        low, high = self.healthy_z_range
        return (low < sim.qpos[:, 2]) & (sim.qpos[:, 2] < high)

    @override
    def terminated(self, sim: Simulation) -> NDArray[np.bool_]:
        if not self.terminate_when_unhealthy:
            return super().terminated(sim)
        return ~self.healthy(sim)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        del actions
        velocity = (self._mass_center(sim) - sim.before["xy"]) / sim.dt[:, None]
        forward = self.forward_reward_weight * velocity[:, 0]
        survive = self.healthy(sim) * float(self.healthy_reward)
        ctrl_cost = self.ctrl_cost_weight * row_sum_of_squares(sim.ctrl)
        contact_cost = self._impact_cost(sim)
        return forward + survive - (ctrl_cost + contact_cost), {
            **self.reset_info(sim),
            "x_velocity": velocity[:, 0],
            "y_velocity": velocity[:, 1],
            "reward_survive": survive,
            "reward_forward": forward,
            "reward_ctrl": -ctrl_cost,
            "reward_contact": -contact_cost,
        }

    @override
    def reset_info(self, sim: Simulation) -> dict[str, Array]:
        return {**planar_position(sim), **self._tendons(sim)}

    def _mass_center(self, sim: Simulation) -> Array:
        """Centre of mass in the x-y plane, m. Shape: (n, 2)."""
        mass = sim.model_field("body_mass")
        weighted: Array = (mass[:, :, None] * sim.read("xipos")[:, :, :2]).sum(axis=1)
        total: Array = mass.sum(axis=1, keepdims=True)
        return weighted / total


@dataclass(frozen=True)
class HumanoidStandup(_Humanoid):
    """HumanoidStandup-v5. Its height is rewarded per timestep, not per control step."""

    xml_file: str = "humanoidstandup.xml"
    uph_cost_weight: float = 1
    impact_cost_weight: float = 0.5e-6
    impact_cost_range: tuple[float, float] = (-np.inf, 10.0)

    impact: ClassVar[str] = "impact_cost"
    gymnasium_id: ClassVar[str] = "HumanoidStandup-v5"
    film_view: ClassVar[View] = View(4.0, elevation=-20.0, lookat=(0.0, 0.0, 0.8925), trackbodyid=1)
    pixel_view: ClassVar[View] = View(3.4, 135.0, -15.0, (0.0, 0.0, 0.6))
    short_name: ClassVar[str] = "humanoid-standup"
    targets: ClassVar[tuple[Target, ...]] = (Target("weak-motors", "@motor=x0.7", "Motors of 70% strength."),)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        del actions
        height_reward = sim.qpos[:, 2] / sim.timestep
        ctrl_cost = self.ctrl_cost_weight * row_sum_of_squares(sim.ctrl)
        impact_cost = self._impact_cost(sim)
        return height_reward - ctrl_cost - impact_cost + 1, {
            **self.reset_info(sim),
            "reward_linup": height_reward,
            "reward_quadctrl": -ctrl_cost,
            "reward_impact": -impact_cost,
        }

    @override
    def reset_info(self, sim: Simulation) -> dict[str, Array]:
        return {
            "x_position": sim.qpos[:, 0].copy(),
            "y_position": sim.qpos[:, 1].copy(),
            "z_distance_from_origin": sim.qpos[:, 2] - sim.initial_qpos[2],
            **self._tendons(sim),
        }
