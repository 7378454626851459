"""A physical context: which parameters differ from the model's nominal values, and how.

The text form is ``parameter=value,…``: a bare number sets, ``x0.5`` scales, ``+=``/``-=`` adds,
``[a,b,c]`` is a vector. Printing is canonical and the exact inverse of parsing.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, SupportsFloat

from warmstart.core.errors import WarmstartError
from warmstart.core.grammar import Scanner, format_name, format_vector

Operation = Literal["set", "scale", "add"]
OPERATIONS: tuple[Operation, ...] = ("set", "scale", "add")
_VALUE = "a number, x and a number (x0.5 scales) or a vector [a,b,c]"


@dataclass(frozen=True)
class Change:
    """One term of a context.

    Attributes:
        selector: The parameters it is about: ``body.torso.mass``, ``geom.*.friction``, ``gravity``.
        operation: ``set`` to the value, ``scale`` the nominal by it or ``add`` it to the nominal.
        value: One number, or one for every component of the parameter, in the parameter's unit.
    """

    selector: str
    operation: Operation
    value: float | tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.selector:
            raise WarmstartError("A change needs the name of a parameter, found an empty one.")
        if self.operation not in OPERATIONS:
            raise WarmstartError(
                f"Expected the operation 'set', 'scale' or 'add' for {self.selector!r}, "
                f"found {self.operation!r}."
            )
        object.__setattr__(self, "value", self._plain())

    def _plain(self) -> float | tuple[float, ...]:
        """Return the value as plain floats, without the -0.0 that the text form does not tell from 0."""
        given: object = self.value
        try:
            if isinstance(given, Iterable) and not isinstance(given, str):
                value: float | tuple[float, ...] = tuple(float(v) + 0.0 for v in given)
            elif isinstance(given, SupportsFloat):
                value = float(given) + 0.0
            else:
                raise TypeError
        except (TypeError, ValueError) as error:
            raise WarmstartError(
                f"Expected a number or a vector of numbers for {self.selector!r}, found {given!r}."
            ) from error
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or any(map(math.isnan, numbers)):
            raise WarmstartError(f"Expected numbers for {self.selector!r}, found {given!r}.")
        return value

    def __str__(self) -> str:
        name = format_name(self.selector)
        if self.operation == "scale":
            return f"{name}=x{format_vector(self.value)}"
        if self.operation == "set":
            return f"{name}={format_vector(self.value)}"
        if isinstance(self.value, float) and self.value < 0:
            return f"{name}-={format_vector(-self.value)}"
        return f"{name}+={format_vector(self.value)}"


Context = tuple[Change, ...]


def read_context(scanner: Scanner) -> Context:
    """Read ``parameter=value,…`` from the scanner to the end of its text.

    Raises:
        WarmstartError: The text is not a context; the message points at the place.
    """
    changes = [_read_change(scanner)]
    while scanner.accept(","):
        changes.append(_read_change(scanner))
    scanner.skip_space()
    if not scanner.done:
        raise scanner.fail("',' or the end")
    return tuple(changes)


def _read_change(scanner: Scanner) -> Change:
    name = scanner.name("the name of a physical parameter")
    if scanner.accept("+="):
        return Change(name, "add", scanner.vector("a number or a vector [a,b,c]"))
    if scanner.accept("-="):
        value = scanner.vector("a number or a vector [a,b,c]")
        return Change(name, "add", tuple(-v for v in value) if isinstance(value, tuple) else -value)
    scanner.expect("=", "'=', '+=' or '-='")
    if scanner.accept("x"):
        return Change(name, "scale", scanner.vector("a number or a vector after x"))
    return Change(name, "set", scanner.vector(_VALUE))


def parse_context(text: str) -> Context:
    """Read a context such as ``gravity=x0.5,torso.mass+=1``; an empty text is the nominal context.

    Raises:
        WarmstartError: The text is not a context; the message points at the place.
    """
    return read_context(Scanner(text, "physical context")) if text.strip() else ()


def format_context(context: Context) -> str:
    """Write a context so that :func:`parse_context` reads back the same."""
    return ",".join(map(str, context))
