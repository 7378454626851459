"""What a parameter of a model is, and what a row of the table of quantities says of all of a kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.envs.physics.cameras import Camera

Floats = NDArray[np.float64]
Values = Callable[[str], Floats]
"""Returns a parameter's values by its name."""


@dataclass(frozen=True)
class Parameter:
    """A named physical quantity of a model.

    Attributes:
        name: ``body.torso.mass``, ``option.gravity``.
        unit: Its unit; empty where it has none.
        nominal: The model's own value, one number per component.
        low: Smallest plausible value of each component.
        high: Largest plausible value of each component.
    """

    name: str
    unit: str
    nominal: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def size(self) -> int:
        """Number of components."""
        return len(self.nominal)


@dataclass(frozen=True)
class Write:
    """One element of a model field that follows one component of a parameter.

    Attributes:
        field: The field: ``body_mass``, ``opt.gravity``; ``visual.fovy`` of the visual parameters.
        target: Flat position within one model's field.
        source: The parameter's component.
        rule: ``value`` writes it; ``ratio`` multiplies the field's nominal by value / nominal;
            ``bounded`` writes it where it is finite and the field's nominal elsewhere; ``finite`` writes
            whether it is finite.
    """

    field: str
    target: int
    source: int = 0
    rule: Literal["value", "ratio", "bounded", "finite"] = "value"


@dataclass(frozen=True)
class Part:
    """A part of a model that has parameters: a body, a joint, a light, the options.

    Attributes:
        model: The model with its nominal values.
        kind: Its kind in the table of quantities.
        prefix: What the names of its parameters begin with: ``body.torso.``.
        index: Its index in the model.
        camera: The camera, for visual parameters.
    """

    model: mujoco.MjModel
    kind: str
    prefix: str
    index: int = 0
    camera: Camera | None = None


@dataclass(frozen=True)
class Quantity:
    """A row of the table: one quantity of all parts of a kind.

    Attributes:
        kind: The parts that have it.
        name: Last word of its parameters' names: ``mass``.
        field: The model field that holds it.
        unit: Its unit.
        bounds: Smallest and largest plausible values, from the part and its nominal values, shape (size,).
        size: Number of components.
        start: Flat position of the first one in the field; None where parts have a row each.
        scalar: Components that one number sets or adds to; ``()`` if it takes a vector, None is all.
        meaning: What a vector of it means, for messages.
        short: Short names of it.
        writes: What else than the field follows it, from the part and the nominal values, shape (size,).
        rule: How the field is written; see `Write`.
        nominal: Nominal values where they aren't what the field holds.
        pivot: What ``scale`` shrinks or stretches about, from the part; None is 0.
        exists: Whether a part has it at all.
        refused: Why it can't be changed in a part, None if it can.
        unsound: Why values within bounds, shape (size,), can't be, from the parameter and them.
        no_effect: Why a change does nothing: a method of `Effects`.
        ordered: Whether the first of two components must be the smaller one.
        varies: Whether it may differ between episodes.
    """

    kind: str
    name: str
    field: str
    unit: str | Callable[[Part], str]
    bounds: Callable[[Part, Floats], tuple[Any, Any]]
    size: int | Callable[[Part], int] = 1
    start: Callable[[Part], int] | None = None
    scalar: tuple[int, ...] | Callable[[Part], tuple[int, ...]] | None = None
    meaning: str = ""
    short: tuple[str, ...] = ()
    writes: Callable[[Part, Floats], Sequence[Write]] = lambda part, nominal: ()  # noqa: ARG005
    rule: Literal["value", "bounded"] = "value"
    nominal: Callable[[Part], Sequence[float]] | None = None
    pivot: Callable[[Part], float] | None = None
    exists: Callable[[Part], bool] = lambda part: True  # noqa: ARG005
    refused: Callable[[Part], str | None] = lambda part: None  # noqa: ARG005
    unsound: Callable[[Parameter, Floats], str | None] = lambda parameter, values: None  # noqa: ARG005
    no_effect: Callable[..., str | None] = lambda *arguments: None  # noqa: ARG005
    ordered: bool = False
    varies: bool = True

    def describe(self, part: Part, held: NDArray[Any]) -> "Entry":
        """Describe a part's parameter.

        Args:
            part: The part.
            held: The whole model field with its nominal values, in its shape in the model.
        """
        size = self.size(part) if callable(self.size) else self.size
        width = int(np.prod(held.shape[1:])) if held.ndim > 1 else 1
        start = part.index * width if self.start is None else self.start(part)
        own = held.reshape(-1)[start : start + size] if self.nominal is None else self.nominal(part)
        nominal = np.array(own, dtype=float)
        low, high = (
            tuple(np.broadcast_to(np.asarray(bound, dtype=float), size).tolist())
            for bound in self.bounds(part, nominal)
        )
        unit = self.unit(part) if callable(self.unit) else self.unit
        scalar = self.scalar(part) if callable(self.scalar) else self.scalar
        writes = [Write(self.field, start + i, i, self.rule) for i in range(size)]
        return Entry(
            Parameter(part.prefix + self.name, unit, tuple(nominal.tolist()), low, high),
            self,
            part.index,
            (*writes, *self.writes(part, nominal)),
            tuple(range(size)) if scalar is None else scalar,
            (0.0 if self.pivot is None else self.pivot(part),) * size,
        )


@dataclass(frozen=True)
class Entry:
    """A parameter with the knowledge of how to apply it.

    Attributes:
        parameter: The parameter.
        quantity: Its row of the table.
        index: Index of its body, geom, joint, actuator or pair in the model.
        writes: What it is written to.
        scalar: The components that a single number sets or adds to; ``()`` if it takes a vector.
        pivot: What ``scale`` shrinks or stretches about.
    """

    parameter: Parameter
    quantity: Quantity
    index: int
    writes: tuple[Write, ...]
    scalar: tuple[int, ...]
    pivot: tuple[float, ...]
