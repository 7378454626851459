"""The parameters of one model, and which of them a selector means: full names, short names and globs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import mujoco

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.physics.cameras import Camera
from warmstart.envs.physics.quantities import QUANTITIES, first_word
from warmstart.envs.physics.quantity import Entry, Part
from warmstart.envs.physics.visuals import material_names, visual_nominal
from warmstart.envs.simulation.fields import read_field
from warmstart.envs.simulation.names import PartNames

_VISUAL = ("light", "color", "texture", "background", "camera", "material")
_WITH_PARTS = [
    row for row in QUANTITIES if row.kind not in ("option", "fixed camera", "free camera", "camera")
]


def _short_names() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in QUANTITIES:
        middle = "*." if row in _WITH_PARTS else ""
        pattern = f"{first_word(row)}.{middle}{row.name}"
        for short in row.short:
            found[short] = tuple(dict.fromkeys((*found.get(short, ()), pattern)))
    return found


SHORT_NAMES = _short_names()
"""The short names that every model has, and the patterns they stand for."""
_KINDS: Mapping[str, tuple[str, ...]] = {
    row.name: tuple(dict.fromkeys(first_word(other) for other in _WITH_PARTS if other.name == row.name))
    for row in _WITH_PARTS
    if row.name != "background"
}
"""First words of the full names of a quantity: ``friction`` belongs to geoms and pairs."""
_TWO_PARTS = ("option.", "camera.")
_PREFIXES = tuple(f"{word}." for word in dict.fromkeys(map(first_word, QUANTITIES)))


@dataclass
class Catalogue:
    """All parameters of a model by name, and the reasons why others can't be changed."""

    entries: dict[str, Entry] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def catalogue(model: mujoco.MjModel, names: PartNames, camera: Camera | None = None) -> Catalogue:
    """List the parameters of a model.

    Args:
        model: The model with its nominal values.
        names: The names of its parts.
        camera: Where frames are seen from; with it, there are visual parameters, too.
    """
    found = Catalogue()
    visual = {} if camera is None else visual_nominal(model, camera)
    for part in _parts(model, names, camera):
        for row in (row for row in QUANTITIES if row.kind == part.kind):
            if not row.exists(part):
                continue
            reason = row.refused(part)
            if reason is not None:
                found.refused[part.prefix + row.name] = reason
                continue
            where, _, name = row.field.rpartition(".")
            held = visual[name] if where == "visual" else read_field(model, row.field)
            entry = row.describe(part, held)
            found.entries[entry.parameter.name] = entry
    return found


def _parts(model: mujoco.MjModel, names: PartNames, camera: Camera | None) -> Iterator[Part]:
    """Everything that has parameters, in the order of their names in `Parameters`."""
    yield Part(model, "option", "option.")
    physical = {
        "body": names.bodies,
        "geom": names.geoms,
        "pair": names.pairs,
        "joint": names.joints,
        "actuator": names.actuators,
    }
    for kind, of_kind in physical.items():
        for index, name in enumerate(of_kind):
            if kind != "body" or index:  # not the world
                yield Part(model, kind, f"{kind}.{name}.", index)
    if camera is None:
        return
    for kind in ("fixed camera" if camera.fixed >= 0 else "free camera", "camera"):
        yield Part(model, kind, "camera.", camera=camera)
    for index in range(model.nlight):
        yield Part(model, "light", f"light.{model.light(index).name or f'light_{index}'}.", index)
    yield Part(model, "headlight", "light.headlight.")
    for index, name in enumerate(material_names(model)):
        yield Part(model, "material", f"material.{name}.", index)
    for index, name in enumerate(names.geoms):
        yield Part(model, "colored geom", f"geom.{name}.", index)
    yield Part(model, "frame", "")


class Selection:
    """Finds a model's parameters by selector.

    Args:
        catalogue: The model's parameters.
        short_names: Further short names and the selectors they stand for.
    """

    def __init__(self, catalogue: Catalogue, short_names: Mapping[str, str | tuple[str, ...]]) -> None:
        self._catalogue = catalogue
        own = {name: (to,) if isinstance(to, str) else tuple(to) for name, to in short_names.items()}
        self._short = {**SHORT_NAMES, **own}
        self._found: dict[str, tuple[tuple[Entry, int], ...]] = {}

    def find(self, selector: str) -> tuple[tuple[Entry, int], ...]:
        """Return the parameters that a selector means, each with how specifically it is meant.

        Specificity is 2 for a parameter's own name, 1 where part of the part's name is given
        (``geom.left_*.friction``), 0 for all of a kind.

        Raises:
            WarmstartError: There is no such parameter, or it can't be changed.
        """
        if selector not in self._found:
            self._found[selector] = tuple(self._find(selector))
        return self._found[selector]

    def _find(self, selector: str) -> Iterable[tuple[Entry, int]]:
        patterns = self._patterns(selector)
        found: dict[str, tuple[Entry, int]] = {}
        reasons: list[str] = []
        for pattern in patterns:
            specificity = _specificity(pattern)
            matches = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")).fullmatch
            for name, entry in self._catalogue.entries.items():
                if matches(name):
                    found[name] = (entry, max(specificity, found.get(name, (entry, 0))[1]))
            reasons += [
                f"{name} can't be changed: {why}."
                for name, why in self._catalogue.refused.items()
                if matches(name)
            ]
        if found:
            return found.values()
        raise WarmstartError(reasons[0]) if reasons else self._unknown(selector)

    def _patterns(self, selector: str) -> tuple[str, ...]:
        """Return the full names or globs of full names that a selector stands for."""
        if selector in self._short:
            return tuple(p for part in self._short[selector] for p in self._expand(part))
        return self._expand(selector)

    def _expand(self, selector: str) -> tuple[str, ...]:
        """Write ``torso.mass`` as ``body.torso.mass``; leave full names alone."""
        if selector.startswith(_PREFIXES) and (selector.count(".") > 1 or selector.startswith(_TWO_PARTS)):
            return (selector,)
        part, dot, quantity = selector.rpartition(".")
        quantity = "gear" if quantity == "motor" else quantity
        if dot and quantity in _KINDS:
            return tuple(f"{kind}.{part}.{quantity}" for kind in _KINDS[quantity])
        return SHORT_NAMES.get(selector, (selector,))

    def _unknown(self, selector: str) -> WarmstartError:
        """Build the error with the valid names written as the selector is."""
        names = list(self._catalogue.entries)
        if is_visual(selector) and "background" not in names:
            return WarmstartError(
                f"{selector} is a visual parameter, and this task observes its state: ask for frames with "
                "the option obs=pixels (or obs=pixels+state)."
            )
        if selector in self._short:
            return WarmstartError(
                f"{selector!r} means {' or '.join(self._short[selector])}: this model has none."
            )
        if "." not in selector:
            return unknown_name("physical parameter", selector, self._short)
        if selector.startswith(_PREFIXES) and selector.count(".") > 1:
            return unknown_name("physical parameter", selector, names)
        parts = [name.partition(".")[2] for name in names]
        same = [name for name in parts if name.rpartition(".")[2] == selector.rpartition(".")[2]]
        return unknown_name("physical parameter", selector, same or parts)


def _specificity(pattern: str) -> int:
    if "*" not in pattern and "?" not in pattern:
        return 2
    middle = pattern.partition(".")[2].rpartition(".")[0]
    return 0 if not middle.strip("*") else 1


def is_visual(selector: str) -> bool:
    """Whether a selector is about what frames show: camera, lights, colours, textures, background."""
    parts = selector.split(".")
    return parts[0] in _VISUAL or parts[-1] in _VISUAL
