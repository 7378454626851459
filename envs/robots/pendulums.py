"""Gymnasium's balancing tasks: InvertedPendulum and InvertedDoublePendulum, as in its v5 environments."""

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
    normal_velocity_noise,
    rows_finite,
    uniform_noise,
)
from warmstart.envs.simulation.dimensions import ModelDimensions, trigonometric
from warmstart.envs.simulation.layouts import Dimension
from warmstart.envs.simulation.simulation import Simulation

_RECIPE = {"mass": "body.*.mass", "motor": "gear", "damping": "damping"}
_MASSES = {"pole": (1.0, 31.0), "cart": (1.0, 11.0)}


def _rrls_targets() -> Iterable[Target]:
    """The extremes of RRLS's masses, kg; RRLS sets the mass alone, here the inertia follows it."""
    for part, ends in _MASSES.items():
        for word, value in zip(("light", "heavy"), ends, strict=True):
            text = f"The {part} weighs {value:g} kg."
            yield Target(f"{word}-{part}", f"@{part}.mass={value:g}", text, "RRLS (arXiv 2406.08406)")


@dataclass(frozen=True)
class InvertedPendulum(MujocoTask):
    """InvertedPendulum-v5."""

    xml_file: str = "inverted_pendulum.xml"
    frame_skip: int = 2
    time_limit: int | None = 1000
    reset_noise_scale: float = 0.01

    gymnasium_id: ClassVar[str] = "InvertedPendulum-v5"
    film_view: ClassVar[View] = View(2.04, trackbodyid=0)
    pixel_view: ClassVar[View] = View(2.1, 90.0, -5.0, (0.0, 0.0, 0.25))
    short_name: ClassVar[str] = "inverted-pendulum"
    targets: ClassVar[tuple[Target, ...]] = (
        *_rrls_targets(),
        Target("weak-motor", "@motor=x0.3", "A motor of 30% strength."),
        Target("double-gravity", "@gravity=x2", "Gravity times 2."),
    )
    rrls_masses: ClassVar[Mapping[str, tuple[float, float]]] = _MASSES
    recipe_parts: ClassVar[Mapping[str, str]] = _RECIPE

    @override
    def dimensions(self, model: mujoco.MjModel) -> Iterable[Dimension]:
        read = ModelDimensions(model)
        return read.qpos + read.qvel

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

    xml_file: str = "inverted_double_pendulum.xml"
    frame_skip: int = 5
    time_limit: int | None = 1000
    healthy_reward: float = 10.0
    reset_noise_scale: float = 0.1

    gymnasium_id: ClassVar[str] = "InvertedDoublePendulum-v5"
    film_view: ClassVar[View] = View(4.1225, lookat=(0.0, 0.0, 0.1225), trackbodyid=0)
    pixel_view: ClassVar[View] = View(3.2, 90.0, -5.0, (0.0, 0.0, 0.55))
    short_name: ClassVar[str] = "inverted-double-pendulum"
    targets: ClassVar[tuple[Target, ...]] = (
        Target("heavy-poles", "@pole*.mass=x3", "Poles 3 times as heavy."),
        Target("weak-motor", "@motor=x0.5", "Half the motor's strength."),
    )
    recipe_parts: ClassVar[Mapping[str, str]] = _RECIPE

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
    def dimensions(self, model: mujoco.MjModel) -> Iterable[Dimension]:
        read = ModelDimensions(model)
        slider, *hinges = read.joints
        yield read.qpos[0]
        yield from trigonometric(hinges, "sin") + trigonometric(hinges, "cos") + read.clipped_qvel(10.0)
        yield Dimension(f"{slider}.constraint_force", "N", -10.0, 10.0)

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
