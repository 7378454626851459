"""What robots that move along x have in common: their rewards, and the target tasks published for them.

Rewards and observations are those of Gymnasium's v5 environments, operation by operation, so that results are
equal to the last bit; the control cost has the actions' own precision (float32) there as here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.envs.robots.base import (
    Array,
    MujocoTask,
    Target,
    View,
    row_sum_of_squares,
    rows_within,
    uniform_noise,
)
from warmstart.envs.simulation.dimensions import ModelDimensions
from warmstart.envs.simulation.layouts import Dimension
from warmstart.envs.simulation.simulation import Simulation

LEGGED_RECIPE = {
    "mass": "body.*.mass",
    "motor": "gear",
    "friction": "friction",
    "softness": "solref",
    "gravity": "gravity",
    "damping": "damping",
}
"""What the named randomizations vary of robots that touch the ground and have damped joints."""
ROTOR_RECIPE = {**LEGGED_RECIPE, "armature": "armature"}
"""The same, where the model has rotor inertia."""
_ODRL_FACTORS = {"tenth": 0.1, "half": 0.5, "double": 2.0, "fivefold": 5.0}


def odrl_targets() -> tuple[Target, ...]:
    """ODRL's: gravity and friction × {.1, .5, 2, 5}; joint ranges kept at 80, 50 and 20%."""
    source = "ODRL (arXiv 2410.20750)"
    scaled = [
        Target(
            f"{word}-{quantity}",
            f"@{quantity}=x{factor:g}",
            f"{quantity.capitalize()} times {factor:g}.",
            source,
        )
        for quantity in ("gravity", "friction")
        for word, factor in _ODRL_FACTORS.items()
    ]
    return (*scaled, *(range_target(percent, source) for percent in (80, 50, 20)))


def range_target(percent: int, source: str = "warmstart") -> Target:
    """Joints that keep a part of their range."""
    description = f"Every limited joint keeps {percent}% of its range."
    return Target(f"joint-range-{percent}", f"@range=x{percent / 100:g}", description, source)


def rrls_targets(masses: Mapping[str, tuple[float, float]], **names: str) -> tuple[Target, ...]:
    """RRLS's: the extremes of its masses' uncertainty sets, in kg and as factors.

    RRLS sets the mass alone; here the inertia follows it.

    Args:
        masses: Smallest and largest mass by body, kg.
        names: What bodies are called in the names of targets, where it isn't their own.
    """
    source, found = "RRLS (arXiv 2406.08406)", []
    for body, ends in masses.items():
        part = names.get(body, body)
        the_part = f"The {part.replace('-', ' ')} weighs"
        for word, end, value in zip(("light", "heavy"), ("low", "high"), ends, strict=True):
            found += [
                Target(f"rrls-{part}-{end}", f"@{body}.mass={value:g}", f"{the_part} {value:g} kg.", source),
                Target(
                    f"{word}-{part}",
                    f"@{body}.mass=x{value:g}",
                    f"{the_part} {value:g} times the nominal.",
                    f"{source}, range read as factors",
                ),
            ]
    return tuple(found)


@dataclass(frozen=True)
class MovingRobot(MujocoTask):
    """A robot that is rewarded for moving along x; its place can be left out of its observations."""

    time_limit: int | None = 1000
    reset_noise_scale: float = 0.1
    exclude_current_positions_from_observation: bool = True

    n_excluded: ClassVar[int] = 2
    """How many positions are left out."""
    follows: ClassVar[str | None] = "torso"

    @property
    def _first_position(self) -> int:
        return self.n_excluded if self.exclude_current_positions_from_observation else 0

    @override
    def reset_state(self, sim: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
        return uniform_noise(sim, rng, self.reset_noise_scale)

    @override
    def observe(self, sim: Simulation) -> Array:
        return np.concatenate((sim.qpos[:, self._first_position :], sim.qvel), axis=1)

    @override
    def dimensions(self, model: mujoco.MjModel) -> Iterable[Dimension]:
        read = ModelDimensions(model)
        return read.qpos[self._first_position :] + read.qvel


@dataclass(frozen=True)
class PlanarRunner(MovingRobot):
    """A runner in the x-z plane."""

    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-3

    n_excluded: ClassVar[int] = 1

    @override
    def before_step(self, sim: Simulation) -> None:
        sim.before["x"] = sim.qpos[:, 0].copy()

    def running(self, sim: Simulation, actions: Array) -> tuple[Array, Array, Array, Array]:
        """Position (m) and velocity (m/s) along x, forward reward and control cost. Shape of each: (n,)."""
        x: Array = sim.qpos[:, 0].copy()
        velocity: Array = (x - sim.before["x"]) / sim.dt
        cost = self.ctrl_cost_weight * row_sum_of_squares(actions)
        return x, velocity, self.forward_reward_weight * velocity, cost


@dataclass(frozen=True)
class UprightRunner(PlanarRunner):
    """A planar runner that must stay upright: height and torso angle within ranges."""

    frame_skip: int = 4
    reset_noise_scale: float = 5e-3
    healthy_reward: float = 1.0
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (0.7, float("inf"))
    healthy_angle_range: tuple[float, float] = (-0.2, 0.2)

    film_view: ClassVar[View] = View(3.0, elevation=-20.0, lookat=(0.0, 0.0, 1.15), trackbodyid=1)
    pixel_view: ClassVar[View] = View(2.8, 90.0, -10.0, (0.0, 0.0, 0.8))
    recipe_parts: ClassVar[Mapping[str, str]] = ROTOR_RECIPE

    @override
    def observe(self, sim: Simulation) -> Array:
        return np.concatenate((sim.qpos[:, self._first_position :], np.clip(sim.qvel, -10, 10)), axis=1)

    @override
    def dimensions(self, model: mujoco.MjModel) -> Iterable[Dimension]:
        read = ModelDimensions(model)
        return read.qpos[self._first_position :] + read.clipped_qvel(10.0)

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
        x, velocity, forward, cost = self.running(sim, actions)
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
