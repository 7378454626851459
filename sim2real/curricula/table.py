"""Curricula by name, and how they are read from YAML. May import envs and agents."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.sim2real.curricula.adr import ADR
from warmstart.sim2real.curricula.base import Curriculum
from warmstart.sim2real.curricula.doraemon import DORAEMON
from warmstart.sim2real.curricula.paced import PacedCurriculum
from warmstart.sim2real.randomization.terms import Term

KINDS: Mapping[str, type[Curriculum]] = {
    kind.settings_type.method: kind for kind in (PacedCurriculum, ADR, DORAEMON)
}
"""The curricula by name."""


def read_curriculum(written: Mapping[str, Any], terms: Sequence[Term], seed: int) -> Curriculum:
    """Make a curriculum from plain values, as in YAML: ``{method: doraemon, success: 2000}``.

    Args:
        written: The name under ``method``, and the curriculum's settings.
        terms: What is randomized; the ranges are the widest allowed.
        seed: Seed of all draws.

    Raises:
        WarmstartError: A name is unknown, a setting is missing or out of range, or a term can't be widened.
    """
    if not isinstance(written, Mapping) or "method" not in written:
        raise WarmstartError(
            f"Expected a curriculum such as {{method: paced, success: 2000}} with one of the methods "
            f"{', '.join(KINDS)}, found {written!r}."
        )
    name = str(written["method"])
    if name not in KINDS:
        raise unknown_name("curriculum", name, KINDS)
    given = {str(key): value for key, value in written.items() if key != "method"}
    entries = {entry.name: entry for entry in fields(KINDS[name].settings_type)}
    for key in given:
        if key not in entries:
            raise unknown_name(f"setting of the curriculum {name}", key, entries)
    for key, entry in entries.items():
        if key not in given and entry.default is MISSING and entry.default_factory is MISSING:
            raise WarmstartError(f"The curriculum {name} needs {key}, a number; found {sorted(given)}.")
    return KINDS[name](terms, KINDS[name].settings_type(**given), seed)
