"""Swimmer: three links in a fluid."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from warmstart.envs.robots.base import (
    Array,
    Target,
    View,
    planar_position,
    row_sum_of_squares,
)
from warmstart.envs.robots.legged import MovingRobot, range_target
from warmstart.envs.simulation.simulation import Simulation


@dataclass(frozen=True)
class Swimmer(MovingRobot):
    """Swimmer-v5."""

    xml_file: str = "swimmer.xml"
    frame_skip: int = 4
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-4

    gymnasium_id: ClassVar[str] = "Swimmer-v5"
    film_view: ClassVar[View] = View(5.0, elevation=-60.0, trackbodyid=1)
    pixel_view: ClassVar[View] = View(6.0, 90.0, -80.0, (0.0, 0.0, 0.0))
    short_name: ClassVar[str] = "swimmer"
    targets: ClassVar[tuple[Target, ...]] = (
        Target("thick-fluid", "@viscosity=x5", "A fluid of 5 times the viscosity."),
        Target("thin-fluid", "@density=x0.5", "A fluid of half the density."),
        Target("weak-motors", "@motor=x0.5", "Motors of half the strength."),
        Target("heavy-head", "@torso.mass=x3", "The first segment 3 times as heavy."),
        range_target(50),
    )
    recipe_parts: ClassVar[Mapping[str, str]] = {
        "mass": "body.*.mass",
        "motor": "gear",
        "viscosity": "viscosity",
    }

    @override
    def before_step(self, sim: Simulation) -> None:
        sim.before["xy"] = sim.qpos[:, :2].copy()

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
