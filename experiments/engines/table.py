"""All engines, and how one is made from its name."""

from collections.abc import Mapping

from warmstart.core.bounds import Place, Settings
from warmstart.core.plain import read_named
from warmstart.experiments.engines import local, ray, slurm
from warmstart.experiments.engines.base import ENGINES, Engine

__all__ = ["ENGINES", "read_engine"]

OURS = (local.Local, ray.Ray, slurm.Slurm)
"""Ours, in the order in which they are listed."""
for _engine in OURS:
    ENGINES[_engine.name] = ENGINES.pop(_engine.name)


def read_engine(written: str | Settings | Engine | None, place: Place = ()) -> Engine:
    """Make an engine from plain values, as in YAML: ``{name: slurm, partition: short}``.

    Args:
        written: A name, a mapping with the name under ``name`` and settings beside it, or what is wanted;
            None for the local one.
        place: Where it stands, for messages.

    Raises:
        SettingError: The name or a setting is unknown (the nearest valid ones are named), or a value is of
            the wrong type or out of bounds.
    """
    return read_named("engine", ENGINES, "local" if written is None else written, place=place)


def chosen_engine(given: str | Settings | Engine | None, own: str | Settings | None) -> Engine:
    """The engine of a study, or the one that was asked for in its place.

    Args:
        given: What was asked for, None for nothing. A mapping without a name, or with that of the study's
            engine, changes single settings of it.
        own: The study's `engine`.

    Raises:
        SettingError: See `read_engine`.
    """
    if given is None or not isinstance(given, Mapping):
        return read_engine(own if given is None else given, ("engine",))
    usual = {"name": own or local.Local.name} if own is None or isinstance(own, str) else own
    kept = usual if given.get("name", usual.get("name")) == usual.get("name") else {}
    return read_engine({**kept, **given}, ("engine",))
