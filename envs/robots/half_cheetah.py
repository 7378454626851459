"""HalfCheetah: a runner in the plane that can't fall."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from warmstart.envs.robots.base import Array, Target, View, normal_velocity_noise
from warmstart.envs.robots.legged import LEGGED_RECIPE, PlanarRunner, odrl_targets, rrls_targets
from warmstart.envs.simulation.simulation import Simulation

_MASSES = {"torso": (0.1, 7.0), "bthigh": (0.1, 3.0)}


@dataclass(frozen=True)
class HalfCheetah(PlanarRunner):
    """HalfCheetah-v5."""

    xml_file: str = "half_cheetah.xml"
    frame_skip: int = 5
    ctrl_cost_weight: float = 0.1

    gymnasium_id: ClassVar[str] = "HalfCheetah-v5"
    film_view: ClassVar[View] = View(4.0, trackbodyid=1)
    pixel_view: ClassVar[View] = View(2.6, 90.0, -15.0, (0.0, 0.0, 0.5))
    short_name: ClassVar[str] = "halfcheetah"
    targets: ClassVar[tuple[Target, ...]] = (
        *odrl_targets(),
        *rrls_targets(_MASSES, bthigh="back-thigh"),
        Target("weak-motors", "@motor=x0.5", "Motors of half the strength."),
        Target("lame-back-foot", "@bfoot.motor=x0", "The back foot's motor is dead."),
        Target("soft-springs", "@stiffness=x0.3", "Joint springs of 30% stiffness."),
        Target("without-back-foot-motor", ":without=[bfoot]", "One motor fewer."),
    )
    rrls_masses: ClassVar[Mapping[str, tuple[float, float]]] = _MASSES
    recipe_parts: ClassVar[Mapping[str, str]] = LEGGED_RECIPE

    @override
    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        return normal_velocity_noise(sim, rng, self.reset_noise_scale)

    @override
    def reward(self, sim: Simulation, actions: Array) -> tuple[Array, dict[str, Array]]:
        x, velocity, forward, cost = self.running(sim, actions)
        return forward - cost, {
            "x_position": x,
            "x_velocity": velocity,
            "reward_forward": forward,
            "reward_ctrl": -cost,
        }

    @override
    def reset_info(self, sim: Simulation) -> dict[str, Array]:
        return {"x_position": sim.qpos[:, 0].copy()}
