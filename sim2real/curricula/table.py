"""Curricula by name, and how they are read from YAML."""

from collections.abc import Mapping, Sequence

from warmstart.core.bounds import Settings
from warmstart.core.plain import read_named
from warmstart.sim2real.curricula.adr import ADR
from warmstart.sim2real.curricula.base import Curriculum
from warmstart.sim2real.curricula.doraemon import DORAEMON
from warmstart.sim2real.curricula.paced import PacedCurriculum
from warmstart.sim2real.randomization.terms import Term

CURRICULA: Mapping[str, type[Curriculum]] = {
    kind.settings_type.method: kind for kind in (PacedCurriculum, ADR, DORAEMON)
}
"""The curricula by name."""


def read_curriculum(written: str | Settings, terms: Sequence[Term], seed: int) -> Curriculum:
    """Make a curriculum from plain values, as in YAML: ``{method: doraemon, success: 2000}``.

    Args:
        written: The name under ``method``, and the curriculum's settings.
        terms: What is randomized; the ranges are the widest allowed.
        seed: Seed of all draws.

    Raises:
        WarmstartError: A name is unknown, a setting is missing or out of range, or a term can't be widened.
    """
    kinds = {name: kind.settings_type for name, kind in CURRICULA.items()}
    settings = read_named("curriculum", kinds, written, "method", ("curriculum",))
    return CURRICULA[settings.method](terms, settings, seed)
