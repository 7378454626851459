"""Ant: four legs and a free body."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.envs.robots.base import (
    Array,
    Target,
    View,
    normal_velocity_noise,
    planar_position,
    row_sum_of_squares,
    rows_finite,
)
from warmstart.envs.robots.legged import ROTOR_RECIPE, MovingRobot, odrl_targets, rrls_targets
from warmstart.envs.simulation.dimensions import CONTACT_FORCE, ModelDimensions
from warmstart.envs.simulation.layouts import Dimension
from warmstart.envs.simulation.simulation import Simulation

_MASSES = {"torso": (0.1, 3.0)}


@dataclass(frozen=True)
class Ant(MovingRobot):
    """Ant-v5. Its velocity is that of the main body's position, one substep behind the state."""

    xml_file: str = "ant.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1
    ctrl_cost_weight: float = 0.5
    contact_cost_weight: float = 5e-4
    healthy_reward: float = 1.0
    main_body: int | str = 1
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (0.2, 1.0)
    contact_force_range: tuple[float, float] = (-1.0, 1.0)
    include_cfrc_ext_in_observation: bool = True

    gymnasium_id: ClassVar[str] = "Ant-v5"
    film_view: ClassVar[View] = View(4.0, trackbodyid=1)
    pixel_view: ClassVar[View] = View(3.6, 90.0, -45.0, (0.0, 0.0, 0.4))
    short_name: ClassVar[str] = "ant"
    targets: ClassVar[tuple[Target, ...]] = (
        *odrl_targets(),
        *rrls_targets(_MASSES),
        Target("weak-motors", "@motor=x0.5", "Motors of half the strength."),
        Target("heavy", "@mass=x2", "Every part twice as heavy."),
        Target("without-fourth-leg-motors", ":without=[hip_4,ankle_4]", "Two motors fewer."),
    )
    rrls_masses: ClassVar[Mapping[str, tuple[float, float]]] = _MASSES
    recipe_parts: ClassVar[Mapping[str, str]] = ROTOR_RECIPE

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
        if not self.include_cfrc_ext_in_observation:
            return super().observe(sim)
        forces = self._contact_forces(sim)[:, 1:].reshape(sim.n, -1)
        return np.concatenate((sim.qpos[:, self._first_position :], sim.qvel, forces), axis=1)

    @override
    def dimensions(self, model: mujoco.MjModel) -> Iterable[Dimension]:
        yield from super().dimensions(model)
        if self.include_cfrc_ext_in_observation:
            yield from ModelDimensions(model).per_body(CONTACT_FORCE, *map(float, self.contact_force_range))

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
