"""A slider for every physical parameter that can be changed meanwhile, by the names used everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.catalogue import SHORT_NAMES
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.tasks.contexts import Change, Context

SPAN = 4.0
"""A slider goes from a quarter to four times a value, within the parameter's bounds."""
_FROM_ZERO = 1 / 20
"""Where the value is 0, it goes over this part of the bounds."""


@dataclass(frozen=True)
class Slider:
    """A number that can be moved.

    Attributes:
        name: The parameter: a full name, or a short one that scales all of a kind.
        component: Which of the parameter's components; None scales all that the short name means.
        unit: Its unit.
        low: Smallest number.
        high: Largest number.
        value: Where it stands at first.
        size: How many components the parameter has.
    """

    name: str
    component: int | None
    unit: str
    low: float
    high: float
    value: float
    size: int = 1

    @property
    def label(self) -> str:
        """What stands before it: the name without its first word, its component and unit."""
        short = self.name.partition(".")[2] or self.name
        place = "" if self.size == 1 else f"[{self.component}]"
        return f"{short}{place}" + (f" ({self.unit})" if self.unit else "")

    @property
    def folder(self) -> str:
        """What it belongs to: ``body``, ``joint``, …; ``all`` where it scales all of a kind."""
        return "all" if self.component is None else self.name.partition(".")[0]

    def change(self, number: float, values: NDArray[np.float64]) -> Context:
        """What moving it does.

        Args:
            number: Where it was moved.
            values: The parameter's values before, in its unit. Shape: (size,).
        """
        if self.component is None:
            return () if number == self.value else (Change(self.name, "scale", float(number)),)
        new = np.array(values, dtype=float)
        new[self.component] = number
        return (Change(self.name, "set", float(new[0]) if len(new) == 1 else tuple(new.tolist())),)


@dataclass(frozen=True)
class Sliders:
    """The sliders of a task.

    Attributes:
        all_of_a_kind: Factors by short name: ``gravity``, ``mass``.
        single: One per component of every parameter.
        left_out: Parameters without one, and why.
    """

    all_of_a_kind: Sequence[Slider]
    single: Sequence[Slider]
    left_out: dict[str, str]


def make_sliders(parameters: Parameters, context: Context) -> Sliders:
    """The sliders of a model's parameters in a task's context.

    What can't be changed within an episode, or makes no difference, gets none; `Sliders.left_out` tells why.

    Args:
        parameters: The parameters.
        context: The task's own changes.
    """
    nominal = parameters.resolve(context)
    left_out: dict[str, str] = {}
    given = {c.selector: c.value for c in context if c.operation == "scale" and isinstance(c.value, float)}
    kinds = []
    for short in _distinct_short_names():
        value = given.get(short, 1.0)
        if _works(parameters, context, (Change(short, "scale", 2.0 * value),)) is None:
            kinds.append(Slider(short, None, "", min(1 / SPAN, value), max(SPAN, value), value))
    single: list[Slider] = []
    for name, part in parameters.columns.items():
        values = nominal[part]
        if name == "option.timestep":
            left_out[name] = "the control period must stay a whole number of timesteps"
            continue
        if not np.isfinite(values).all():
            left_out[name] = "its value is infinite"
            continue
        for component, value in enumerate(values):
            low, high = _ends(value, parameters.low[part][component], parameters.high[part][component])
            unit = parameters.select(name)[0].unit
            slider = Slider(name, component, unit, low, high, float(value), len(values))
            reasons = [_works(parameters, context, slider.change(end, values)) for end in (low, high)]
            if None in reasons:
                single.append(slider)
            else:
                left_out[name if len(values) == 1 else f"{name}[{component}]"] = reasons[0] or ""
    return Sliders(kinds, single, left_out)


def _distinct_short_names() -> list[str]:
    """Short names, of several that mean the same the first."""
    seen: dict[tuple[str, ...], str] = {}
    for short, patterns in SHORT_NAMES.items():
        seen.setdefault(patterns, short)
    return [short for short in seen.values() if short != "timestep"]


def _ends(value: float, low: float, high: float) -> tuple[float, float]:
    """Where a slider begins and ends."""
    if value == 0:
        ends = (low * _FROM_ZERO, high * _FROM_ZERO)
    else:
        ends = (min(value / SPAN, value * SPAN), max(value / SPAN, value * SPAN))
    return float(max(ends[0], low)), float(min(ends[1], high))


def _works(parameters: Parameters, context: Context, changes: Context) -> str | None:
    """Why changes can't be made, or would do nothing; None if they work."""
    try:
        parameters.check(context + changes)
    except WarmstartError as error:
        return str(error).partition(" would have no effect: ")[2] or str(error)
    return None
