"""Studies that differ in source and target, written as one: `pairs` in a study's file."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from warmstart.core.bounds import SettingError
from warmstart.core.errors import unknown_name
from warmstart.core.plain import read, setting_names
from warmstart.experiments.study.loading import study_document
from warmstart.experiments.study.study import Study

PAIRS_FILE = "pairs.yaml"
"""The study as it was written, in the folder of a run over pairs."""


@dataclass(frozen=True)
class Pairs:
    """A study for each pair."""

    name: str
    studies: tuple[Study, ...]
    """Their names are those of the pairs."""

    @property
    def names(self) -> frozenset[str]:
        """Those of the pairs."""
        return frozenset(study.name for study in self.studies)

    def changed(self, change: Callable[[Study], Study]) -> "Pairs":
        """The same with every study changed."""
        return replace(self, studies=tuple(change(study) for study in self.studies))

    def only(self, names: Sequence[str]) -> "Pairs":
        """The same with some of the pairs.

        Raises:
            WarmstartError: A name is no pair's.
        """
        known = {study.name: study for study in self.studies}
        for name in names:
            if name not in known:
                raise unknown_name("pair", name, known)
        return replace(self, studies=tuple(known[name] for name in dict.fromkeys(names)))


def load_pairs(name: str | Path) -> Pairs | None:
    """Read a preset, a file or the folder of a run whose study has ``pairs``; None where it has none.

    Each pair is a mapping of whatever a study may say, above all ``source`` and ``target``; what stands
    beside ``pairs`` holds for all of them. A pair's ``name`` is made of its tasks unless it is given.

    Raises:
        WarmstartError: A mistake, with file, line and pair.
    """
    path = Path(name).expanduser()
    document = study_document(path / PAIRS_FILE if (path / PAIRS_FILE).is_file() else name)
    if not isinstance(document.data, dict) or "pairs" not in document.data:
        return None
    made: Pairs = document.checked(lambda: read_pairs(document.data))
    return made


def read_pairs(data: dict[str, Any]) -> Pairs:
    """Read plain values; see `load_pairs`."""
    shared = {key: value for key, value in data.items() if key != "pairs"}
    rows = data["pairs"]
    if not isinstance(rows, list) or not rows:
        raise SettingError(("pairs",), "expected a list of mappings with `source` and `target`.")
    if not isinstance(shared.get("name"), str):
        raise SettingError(("name",), "missing: the folder that the run goes to.")
    studies: list[Study] = []
    known = setting_names(Study)
    for index, row in enumerate(rows):
        place = ("pairs", index)
        if not isinstance(row, dict) or "target" not in row:
            raise SettingError(place, "expected a mapping with `source` and `target`.")
        named = row.get("name", _name(row.get("source"), row["target"]))
        if any(study.name == named for study in studies):
            raise SettingError((*place, "name"), f"two pairs are called {named!r}: give one a `name`.")
        try:
            studies.append(read(Study, {**shared, **row, "name": named}))
        except SettingError as wrong:
            key = wrong.place[0] if wrong.place else ""
            inside = key in row or (key not in shared and key in known)
            raise (wrong.inside(*place) if inside else wrong) from None
    baselines = {study.baseline for study in studies}
    if len(baselines) > 1:
        raise SettingError(
            ("pairs",), f"one cold arm for all of them, not {' and '.join(sorted(baselines))}."
        )
    return Pairs(shared["name"], tuple(studies))


def _name(source: Any, target: Any) -> str:
    """A folder's name for a pair."""
    written = f"{source or 'nothing'}--{target}".replace("-v5", "")
    return re.sub(r"[^\w.=+-]+", "_", written).strip("_")
