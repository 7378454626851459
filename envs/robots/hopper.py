"""Hopper: one leg."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from numpy import bool_
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.envs.robots.base import Target, rows_within
from warmstart.envs.robots.legged import UprightRunner, odrl_targets, rrls_targets
from warmstart.envs.simulation.simulation import Simulation

_MASSES = {"torso": (0.1, 3.0), "thigh": (0.1, 4.0)}


@dataclass(frozen=True)
class Hopper(UprightRunner):
    """Hopper-v5."""

    xml_file: str = "hopper.xml"
    healthy_state_range: tuple[float, float] = (-100.0, 100.0)

    gymnasium_id: ClassVar[str] = "Hopper-v5"
    short_name: ClassVar[str] = "hopper"
    targets: ClassVar[tuple[Target, ...]] = (
        *odrl_targets(),
        *rrls_targets(_MASSES),
        Target("weak-motors", "@motor=x0.7", "Motors of 70% strength."),
        Target("heavy", "@mass=x1.5", "Every part half as heavy again."),
    )
    rrls_masses: ClassVar[Mapping[str, tuple[float, float]]] = _MASSES

    @override
    def healthy(self, sim: Simulation) -> NDArray[bool_]:
        low, high = self.healthy_state_range
        in_range = rows_within(sim.qpos[:, 2:], low, high) & rows_within(sim.qvel, low, high)
        return in_range & super().healthy(sim)
