"""Walker2d: two legs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from warmstart.envs.robots.base import Target, View
from warmstart.envs.robots.legged import UprightRunner, odrl_targets, rrls_targets

_MASSES = {"torso": (0.1, 5.0), "thigh": (0.1, 6.0)}


@dataclass(frozen=True)
class Walker2d(UprightRunner):
    """Walker2d-v5."""

    xml_file: str = "walker2d_v5.xml"
    healthy_z_range: tuple[float, float] = (0.8, 2.0)
    healthy_angle_range: tuple[float, float] = (-1.0, 1.0)

    gymnasium_id: ClassVar[str] = "Walker2d-v5"
    film_view: ClassVar[View] = replace(UprightRunner.film_view, distance=4.0)
    short_name: ClassVar[str] = "walker2d"
    targets: ClassVar[tuple[Target, ...]] = (
        *odrl_targets(),
        *rrls_targets(_MASSES),
        Target("weak-motors", "@motor=x0.7", "Motors of 70% strength."),
        Target("weak-left-leg", "@*_left_joint.motor=x0.5", "The left leg has half its strength."),
        Target("heavy", "@mass=x1.5", "Every part half as heavy again."),
    )
    rrls_masses: ClassVar[Mapping[str, tuple[float, float]]] = _MASSES
