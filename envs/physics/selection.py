"""Which physical parameters a selector means: full names, short names and globs."""

import re
from collections.abc import Iterable, Mapping

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.physics.catalogue import Catalogue, Entry

SHORT_NAMES: Mapping[str, tuple[str, ...]] = {
    **{name: (f"option.{name}",) for name in ("gravity", "wind", "density", "viscosity", "timestep")},
    "mass": ("body.*.mass",),
    "friction": ("geom.*.friction", "pair.*.friction"),
    "solref": ("geom.*.solref",),
    **{name: (f"joint.*.{name}",) for name in ("damping", "stiffness", "armature", "frictionloss", "range")},
    **{name: (f"actuator.*.{name}",) for name in ("gear", "gain", "forcerange")},
    "motor": ("actuator.*.gear",),
    "light": ("light.*.diffuse", "light.*.ambient"),
    "light.direction": ("light.*.direction",),
    "color": ("material.*.color", "geom.*.color"),
    "texture": ("material.*.texture",),
}
"""The short names that every model has."""

_KINDS: Mapping[str, tuple[str, ...]] = {
    "mass": ("body",),
    "com": ("body",),
    "friction": ("geom", "pair"),
    "size": ("geom",),
    "solref": ("geom",),
    **{
        name: ("joint",)
        for name in ("damping", "stiffness", "armature", "frictionloss", "range", "ref", "springref")
    },
    "gear": ("actuator",),
    "gain": ("actuator",),
    "forcerange": ("actuator",),
    "diffuse": ("light",),
    "ambient": ("light",),
    "color": ("material", "geom"),
    "texture": ("material",),
}
_PREFIXES = ("option.", "body.", "geom.", "pair.", "joint.", "actuator.", "light.", "material.", "camera.")
_TWO_PARTS = ("option.", "camera.")
_VISUAL = ("light", "color", "texture", "background", "camera", "material")


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
