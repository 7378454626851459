"""One term of a randomization: which parameters, what values, when they are drawn.

May import envs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.tasks.contexts import Operation
from warmstart.sim2real.randomization.distributions import (
    Beta,
    Categorical,
    Distribution,
    Normal,
    TruncatedNormal,
    Uniform,
    distribution_kind,
)

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
    def parse(cls, text: str) -> "When":
        """Read ``startup``, ``episode``, ``every 50 steps`` or ``every 2 s``."""
        if text in ("startup", "episode"):
            return cls(text)
        found = _EVERY.fullmatch(text.strip())
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
class Term:
    """What is randomized, how, and when.

    Raises:
        WarmstartError: A number is out of range.
    """

    parameters: tuple[str, ...]
    """Parameters or patterns, as in a task's text: ``torso.mass``, ``friction``, ``geom.*.friction``. All of
    them get the same draw."""
    distribution: Distribution
    """Of the factor, offset or value."""
    operation: Operation = "scale"
    """``scale`` multiplies the nominal value, ``add`` shifts it, ``set`` replaces it."""
    when: When = When()
    """When it is drawn."""
    probability: float = 1.0
    """Of being applied at a draw; otherwise the parameters are nominal."""
    each: bool = False
    """Whether every parameter that a pattern means gets a draw of its own."""
    title: str = ""
    """What it is called where other terms decide about some of its parameters, so that its draws, which are
    looked up by name, stay the same; empty for its parameters."""

    def __post_init__(self) -> None:
        if not self.parameters or not all(self.parameters):
            raise WarmstartError("A randomized term needs the name of a parameter.")
        if not 0 <= self.probability <= 1:
            raise WarmstartError(
                f"{self.name}: expected a probability from 0 to 1, found {self.probability:g}."
            )

    @property
    def name(self) -> str:
        """What it is called: its parameters, as they were written."""
        return self.title or "+".join(self.parameters)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `read_term` reads back."""
        values = self.distribution.to_json()
        low, high = values.pop("low", None), values.pop("high", None)
        written: dict[str, Any] = {"parameters": list(self.parameters), **values}
        if low is not None:
            written["range"] = f"{self._write(low)}:{self._write(high)}"
        for key in ("mean", "std"):
            if key in written:
                written[key] = written[key] if key == "std" else self._write(written[key])
        if "values" in written:
            written["values"] = [self._write(value) for value in written["values"]]
        if not written.get("weights", True):
            del written["weights"]
        if self.when != When():
            written["when"] = str(self.when)
        if self.probability != 1:
            written["probability"] = self.probability
        if self.each:
            written["each"] = True
        return written

    def _write(self, value: float) -> str:
        prefix = {"scale": "x", "set": ""}.get(self.operation, "-=" if value < 0 else "+=")
        return f"{prefix}{abs(value) if self.operation == 'add' else value!r}"


_KEYS = (
    "parameters",
    "distribution",
    "range",
    "mean",
    "std",
    "alpha",
    "beta",
    "values",
    "weights",
    "when",
    "probability",
    "each",
)


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
        WarmstartError: It is none of these.
    """
    if isinstance(written, str):
        operation, low, high = _range(name, written)
        return _named(name, lambda: Term((name,), Uniform(low, high), operation))
    if not isinstance(written, Mapping):
        raise WarmstartError(f"Expected a range for {name!r} such as {_EXAMPLES}, found {written!r}.")
    for key in written:
        if key not in _KEYS:
            raise unknown_name(f"setting of the term {name!r}", str(key), _KEYS)
    return _named(name, lambda: _from_mapping(name, written))


def _named(name: str, make: Any) -> Term:
    """Say in a mistake's message which term it is about."""
    try:
        term: Term = make()
    except WarmstartError as error:
        text = str(error)
        told = re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", text) is not None
        raise WarmstartError(text if told else f"{name}: {text}") from None
    return term


def _from_mapping(name: str, written: Mapping[str, Any]) -> Term:
    operations: set[Operation] = set()

    values: dict[str, Any] = {k: number(k, written[k]) for k in ("std", "alpha", "beta") if k in written}
    if isinstance(written.get("mean"), str):
        operation, values["mean"] = _value(name, written["mean"])
        operations.add(operation)
    elif "mean" in written:
        values["mean"] = number("mean", written["mean"])
        operations.add("set")
    if "range" in written:
        operation, values["low"], values["high"] = _range(name, written["range"])
        operations.add(operation)
    if "values" in written:
        chosen = written["values"]
        if not isinstance(chosen, list | tuple) or not chosen:
            raise WarmstartError(f"expected a list of values to choose from, found {chosen!r}.")
        pairs = [_value(name, str(value)) for value in chosen]
        operations |= {operation for operation, _ in pairs}
        values["values"] = tuple(value for _, value in pairs)
        values["weights"] = _weights(written.get("weights", ()))
    elif "weights" in written:
        raise WarmstartError("weights are about values to choose from: give values, too.")
    if len(operations) != 1:
        raise WarmstartError(
            f"expected values that all scale, all add or all set, such as {_EXAMPLES}, found "
            f"{', '.join(sorted(operations)) or 'none'}."
        )
    kind = _kind(written, values)
    wanted = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    missing, odd = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
    if missing or odd:
        problem = f"needs {missing[0]}" if missing else f"has no {odd[0]}"
        raise WarmstartError(f"the distribution {kind.name} {problem}.")
    names = _parameters(written.get("parameters", name))
    each = written.get("each", False)
    if not isinstance(each, bool):
        raise WarmstartError(f"expected true or false as each, found {each!r}.")
    probability = number("probability", written.get("probability", 1.0))
    when = When.parse(str(written.get("when", "episode")))
    (operation,) = operations
    return Term(names, kind(**values), operation, when, probability, each)


def number(what: str, value: Any) -> float:
    """Read a number; YAML has some, such as 1e-3, as text.

    Raises:
        WarmstartError: It is none; the message says what it was to be.
    """
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise WarmstartError(f"expected a number as {what}, found {value!r}.")


def _weights(written: Any) -> tuple[float, ...]:
    if not isinstance(written, list | tuple):
        raise WarmstartError(f"expected a list of numbers as weights, found {written!r}.")
    return tuple(number("a weight", each) for each in written)


def _parameters(written: Any) -> tuple[str, ...]:
    found = (written,) if isinstance(written, str) else written
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        raise WarmstartError(f"expected a name or a list of names as parameters, found {written!r}.")
    return tuple(found)


def _kind(written: Mapping[str, Any], values: Mapping[str, Any]) -> type[Distribution]:
    """The distribution that is named, or that the settings mean."""
    named = written.get("distribution")
    if named is not None:
        return distribution_kind(str(named))
    if "values" in values:
        return Categorical
    if "mean" in values:
        return TruncatedNormal if "low" in values else Normal
    return Beta if "alpha" in values else Uniform


def _range(name: str, text: Any) -> tuple[Operation, float, float]:
    """Read ``x0.5:x1.5``."""
    parts = str(text).split(":")
    found = [_VALUE.fullmatch(part.strip()) for part in parts]
    kinds = {_OPERATIONS[match[1]] for match in found if match is not None}
    if len(parts) != 2 or None in found or len(kinds) != 1:
        raise WarmstartError(f"Expected a range for {name!r} such as {_EXAMPLES}, found {text!r}.")
    (_, low), (_, high) = (_value(name, part) for part in parts)
    return kinds.pop(), low, high


def _value(name: str, text: str) -> tuple[Operation, float]:
    found = _VALUE.fullmatch(text.strip())
    if found is None:
        raise WarmstartError(f"Expected a value for {name!r} such as x0.5, +=1 or 0.3, found {text!r}.")
    value = float(found[2])
    return _OPERATIONS[found[1]], -value if found[1] == "-=" else value
