"""What a setting may be, as an annotation of its field, and the error for one that isn't.

`warmstart.core.plain` reads plain values by these annotations.
"""

import math
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from warmstart.core.errors import WarmstartError

Place = tuple[str | int, ...]
"""Keys and indices that lead from the outermost value to one inside it."""
Settings = Mapping[str, Any]
"""Plain values by name, as a file or a person wrote them, before they are read."""
State = dict[str, Any]
"""What a ``state_dict`` returns: plain values and arrays from which ``load_state_dict`` restores."""


class SettingError(WarmstartError):
    """A mistake in one setting.

    Attributes:
        place: Leads to it from the outermost value.
        message: What is wrong, without the place.
    """

    def __init__(self, place: Place, message: str) -> None:
        self.place, self.message = place, message
        super().__init__(f"{dotted(place)}: {message}" if place else message)

    def inside(self, *place: str | int) -> "SettingError":
        """The same mistake, seen from further out."""
        return SettingError((*place, *self.place), self.message)


def dotted(place: Place) -> str:
    """Write a place as ``arms[2].randomize.friction``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


@dataclass(frozen=True)
class Bounds:
    """Which numbers a setting takes: an annotation, as in ``Annotated[float, Bounds(0, 1)]``.

    Numbers in lists and tuples are checked one by one; ``None`` and words pass. NaN never does.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """Whether `low` itself is excluded."""
    below: bool = False
    """Whether `high` itself is excluded."""

    def __str__(self) -> str:
        least = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        most = f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        if math.isinf(self.low) and math.isinf(self.high):
            return "that is finite"
        if math.isinf(self.high):
            return least + (" and finite" if self.below else "")
        if math.isinf(self.low):
            return most
        if self.above:
            return f"{least} and {most}"
        return f"from {self.low:g} to {'below ' if self.below else ''}{self.high:g}"

    def check(self, value: Any, place: Place = ()) -> None:
        """Refuse a number outside.

        Raises:
            SettingError: The message says which numbers are expected.
        """
        if isinstance(value, list | tuple):
            for index, item in enumerate(value):
                self.check(item, (*place, index))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            low = self.low < value if self.above else self.low <= value
            high = value < self.high if self.below else value <= self.high
            if not (low and high):
                raise SettingError(place, f"expected a number {self}, found {value}.")


@dataclass(frozen=True)
class Before:
    """An annotation: what turns a short way of writing a setting into its full one, before it is read."""

    function: Callable[[Any], Any]


def listed(value: Any) -> Any:
    """One item stands for a list of it; see `Before`."""
    return value if isinstance(value, list | tuple) else [value]


def unquoted(value: Any) -> Any:
    """A number that YAML 1.1 takes for text, such as ``1e-3``, is one; see `Before`."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def paired(value: Any) -> Any:
    """One number stands for that number twice: ``[low, high]``; see `Before`."""
    return value if isinstance(value, list | tuple) else [value, value]


Count = Annotated[int, Bounds(1)]
"""A whole number of at least 1."""
Natural = Annotated[int, Bounds(0)]
"""A whole number of at least 0."""
Finite = Annotated[float, Bounds(above=True, below=True)]
"""A finite number."""
Positive = Annotated[float, Bounds(0, above=True, below=True)]
"""A finite number above 0."""
NonNegative = Annotated[float, Bounds(0, below=True)]
"""A finite number of at least 0."""
Fraction = Annotated[float, Bounds(0, 1)]
"""A number from 0 to 1."""
Names = Annotated[tuple[str, ...], Before(listed)]
"""Names or patterns; one of them may stand alone."""
Pair = Annotated[tuple[float, float], Before(paired)]
"""Two numbers, or one that stands for both."""


@cache
def _number(kind: Any) -> tuple[frozenset[type], tuple[Bounds, ...]] | None:
    """Types and bounds of an annotated number, or of one or None; None for any other annotation."""
    options = set(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else {kind}
    optional = {types.NoneType} & options
    (only, *others) = options - optional or {kind}
    scalar, *extras = get_args(only) if get_origin(only) is Annotated else (only,)
    if others or scalar not in (int, float) or not all(isinstance(extra, Bounds) for extra in extras):
        return None
    return frozenset({scalar, *optional}), tuple(extras)


def all_fit(kind: Any, values: Collection[Any]) -> bool:
    """Whether many numbers surely are as an annotation says, told quickly; what isn't sure is read singly."""
    number = _number(kind)
    if number is None or not set(map(type, values)) <= number[0]:
        return False
    known = [value for value in values if value is not None]
    if not known or (float in number[0] and not all(map(math.isfinite, known))):
        return not known
    for bounds in number[1]:
        try:
            bounds.check([min(known), max(known)])
        except SettingError:
            return False
    return True


def show(value: Any) -> str:
    """Write what was found, briefly."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
