"""Terms of a randomization, as they are written: which parameters, what values, when they are drawn."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from warmstart.core.bounds import Before, Fraction, Names, SettingError, Settings, show, unquoted
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import check, read, to_plain
from warmstart.envs.tasks.contexts import Operation
from warmstart.sim2real.randomization.distributions import DISTRIBUTIONS, Distribution, Number

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_VALUE = re.compile(rf"(x|[+-]=|)({_NUMBER})")
_EVERY = re.compile(r"every\s+(\d+\.?\d*|\.\d+)\s*(steps?|s)")
_OPERATIONS: Mapping[str, Operation] = {"x": "scale", "": "set", "+=": "add", "-=": "add"}
_EXAMPLES = "x0.5:x1.5 (scales), -=10:+=10 (adds) or 0.1:0.3 (sets)"


@dataclass(frozen=True)
class When:
    """When a term is drawn."""

    kind: str = "episode"
    """``startup`` (once for each environment), ``episode``, ``steps`` or ``seconds``."""
    every: float = 0.0
    """Steps or seconds from one draw to the next within an episode."""

    KINDS: ClassVar[tuple[str, ...]] = ("startup", "episode", "steps", "seconds")

    @classmethod
    def from_plain(cls, written: Any) -> "When":
        """Read ``startup``, ``episode``, ``every 50 steps`` or ``every 2 s``.

        Raises:
            WarmstartError: It is none of these.
        """
        text = str(written).strip()
        if text in ("startup", "episode"):
            return cls(text)
        found = _EVERY.fullmatch(text)
        if found is None:
            raise WarmstartError(
                f"Expected when: startup, episode, every N steps or every N s, found {text!r}."
            )
        every, seconds = float(found[1]), found[2] == "s"
        if not every > 0 or (not seconds and every != int(every)):
            raise WarmstartError(
                f"Expected a positive{'' if seconds else ' whole'} number between draws, found {text!r}."
            )
        return cls("seconds" if seconds else "steps", every)

    def __str__(self) -> str:
        if self.kind in ("startup", "episode"):
            return self.kind
        return f"every {self.every:.10g} {'s' if self.kind == 'seconds' else 'steps'}"

    def steps(self, period: float) -> int:
        """Steps from one draw to the next within an episode; 0 for none.

        Args:
            period: Seconds of a control step.
        """
        if self.kind == "steps":
            return int(self.every)
        return max(1, round(self.every / period)) if self.kind == "seconds" else 0


@dataclass(frozen=True)
class Value:
    """A number and what it does to a parameter, as in ``x0.5``, ``+=1``, ``-=1`` or ``0.3``."""

    operation: Operation
    number: float

    @classmethod
    def from_plain(cls, written: Any) -> "Value":
        """Read its text.

        Raises:
            WarmstartError: It is something else.
        """
        found = _VALUE.fullmatch(str(written).strip())
        if found is None:
            raise WarmstartError(f"expected a value such as x0.5, +=1 or 0.3, found {show(written)}.")
        return cls(_OPERATIONS[found[1]], -float(found[2]) if found[1] == "-=" else float(found[2]))

    def __str__(self) -> str:
        if self.operation == "add":
            return f"{'-=' if self.number < 0 else '+='}{abs(self.number)!r}"
        return f"{'x' if self.operation == 'scale' else ''}{self.number!r}"


@dataclass(frozen=True)
class Term:
    """What is randomized, how, and when.

    Raises:
        WarmstartError: A number is out of range.
    """

    parameters: Names
    """Parameters or patterns, as in a task's text: ``torso.mass``, ``friction``, ``geom.*.friction``. All of
    them get the same draw."""
    distribution: Distribution
    """Of the factor, offset or value."""
    operation: Operation = "scale"
    """``scale`` multiplies the nominal value, ``add`` shifts it, ``set`` replaces it."""
    when: When = When()
    """When it is drawn."""
    probability: Fraction = 1.0
    """Of being applied at a draw; otherwise the parameters are nominal."""
    each: bool = False
    """Whether every parameter that a pattern means gets a draw of its own."""
    title: str = ""
    """What it is called where other terms decide about some of its parameters, so that its draws, which are
    looked up by name, stay the same; empty for its parameters."""

    def __post_init__(self) -> None:
        check(self)
        if not self.parameters or not all(self.parameters):
            raise WarmstartError("A randomized term needs the name of a parameter.")

    @property
    def name(self) -> str:
        """What it is called: its parameters, as they were written."""
        return self.title or "+".join(self.parameters)

    def to_json(self) -> Settings:
        """Plain values that `read_term` reads back."""
        numbers = to_plain(self.distribution, defaults=False)
        written = {"parameters": list(self.parameters), "distribution": self.distribution.name, **numbers}
        if "low" in numbers:
            written["range"] = ":".join(self._written(written.pop(end)) for end in ("low", "high"))
        if "mean" in numbers:
            written["mean"] = self._written(numbers["mean"])
        if "values" in numbers:
            written["values"] = list(map(self._written, numbers["values"]))
        optional = {"when": str(self.when), "probability": self.probability, "each": self.each}
        usual = {"when": str(When()), "probability": 1.0, "each": False}
        return written | {key: value for key, value in optional.items() if value != usual[key]}

    def _written(self, number: float) -> str:
        return str(Value(self.operation, number))


@dataclass(frozen=True, kw_only=True)
class _WrittenTerm:
    """A term as a mapping; see `read_term`."""

    parameters: Names | None = None
    distribution: str | None = None
    range: tuple[Value, Value] | None = None
    mean: Value | None = None
    std: Number | None = None
    alpha: Number | None = None
    beta: Number | None = None
    values: tuple[Value, ...] | None = None
    weights: tuple[Number, ...] | None = None
    when: When = When()
    probability: Annotated[Fraction, Before(unquoted)] = 1.0
    each: bool = False

    @classmethod
    def from_plain(cls, written: Any) -> Any:
        """Let a range's text stand for a mapping, and take ranges apart."""
        given = {"range": written} if isinstance(written, str) else written
        parts = str(given.get("range", ":")).split(":") if isinstance(given, Mapping) else []
        if len(parts) != 2:
            raise WarmstartError(f"expected a range such as {_EXAMPLES}, found {show(written)}.")
        return {**given, "range": parts} if "range" in given else given

    @property
    def operation(self) -> Operation:
        """What its values do."""
        values = (*(self.range or ()), *(self.values or ()), *(() if self.mean is None else (self.mean,)))
        found: set[Operation] = {value.operation for value in values}
        if len(found) != 1:
            raise WarmstartError(
                f"expected values that all scale, all add or all set, such as {_EXAMPLES}, found "
                f"{', '.join(sorted(found)) or 'none'}."
            )
        return found.pop()

    @property
    def numbers(self) -> Settings:
        """What its distribution is made of."""
        low, high = (None, None) if self.range is None else (each.number for each in self.range)
        numbers = {
            "low": low,
            "high": high,
            "mean": None if self.mean is None else self.mean.number,
            "values": None if self.values is None else [value.number for value in self.values],
            **{key: getattr(self, key) for key in ("std", "alpha", "beta", "weights")},
        }
        return {key: number for key, number in numbers.items() if number is not None}

    @property
    def kind(self) -> str:
        """The distribution that is named, or that the settings mean."""
        if self.distribution is not None or self.values is not None:
            return self.distribution or "categorical"
        if self.mean is not None:
            return "normal" if self.range is None else "truncated_normal"
        return "uniform" if self.alpha is None else "beta"


def read_term(name: str, written: Any) -> Term:
    """Read a term: the text of a range, or a mapping.

    ``x0.5:x1.5`` scales by a uniform factor, ``-=10:+=10`` adds, ``0.1:0.3`` sets. A mapping has a ``range``
    (and ``alpha`` and ``beta`` for a Beta distribution), or ``mean`` and ``std`` (with a range: truncated),
    or ``values`` with optional ``weights``; and ``distribution``, ``parameters``, ``when``, ``probability``,
    ``each``.

    Args:
        name: The parameter or pattern; a mapping with ``parameters`` may be called anything.
        written: The text or mapping.

    Raises:
        SettingError: It is none of these.
    """
    given: _WrittenTerm = read(_WrittenTerm, written, (name,))
    try:
        operation = given.operation
        if given.kind not in DISTRIBUTIONS:
            raise unknown_name("distribution", given.kind, DISTRIBUTIONS)
        parameters = (name,) if given.parameters is None else given.parameters
        distribution: Distribution = read(DISTRIBUTIONS[given.kind], given.numbers, (given.kind,))
        return Term(parameters, distribution, operation, given.when, given.probability, given.each)
    except SettingError as error:
        raise error.inside(name) from None
    except WarmstartError as error:
        raise SettingError((name,), str(error)) from None


class TermSource:
    """Terms and the parameters that they draw: what a context source of them knows.

    Attributes:
        randomized: The terms.
        terms: Selector and operation of every parameter that is drawn, as `ContextSource` has them.
        columns: Index of the term of each. Shape: (n_terms,).
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self.randomized = tuple(terms)
        self.terms: Sequence[tuple[str, Operation]] = tuple(
            (parameter, term.operation) for term in self.randomized for parameter in term.parameters
        )
        self.columns = np.repeat(
            np.arange(len(self.randomized)), [len(term.parameters) for term in self.randomized]
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of what is drawn: one for each parameter."""
        return tuple(parameter for parameter, _ in self.terms)
