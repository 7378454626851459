"""The text grammar shared by tasks and contexts: scanning, values, and errors that point at the place.

Imports nothing of the project but its errors.
"""

import json
import math
import re
from collections.abc import Callable
from typing import TypeVar

from warmstart.core.errors import WarmstartError

_VALUE_HINT = 'a number, true, false, none, a word, a "quoted text" or a [list]'
Value = bool | int | float | str | None | tuple["Value", ...]
T = TypeVar("T")

LONGEST, MOST_DEPTH, MOST_DIGITS = 1 << 16, 64, 400
"""Most characters of a text, lists inside one another, and digits of a whole number."""
_NUMBER = re.compile(r"[+-]?(?:inf\b|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)")
_INTEGER = re.compile(r"[+-]?\d+")
_WORD = re.compile(r"[A-Za-z0-9_./~*?+\-]+")
_NAME = re.compile(r"[^\s\"=,:@\[\]+\-]+(?:[+\-]+[^\s\"=,:@\[\]+\-]+)*")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_KEYWORDS: dict[str, Value] = {"true": True, "false": False, "none": None}


class Scanner:
    """A cursor over a text; every failure quotes the text and points at the cursor."""

    def __init__(self, text: str, what: str, position: int = 0) -> None:
        if len(text) > LONGEST:
            raise WarmstartError(
                f"Expected a {what} of at most {LONGEST:,} characters, found {len(text):,}: {text[:60]!r}…"
            )
        self.text = text
        self.what = what
        self.position = position
        self._depth = 0

    def fail(self, expected: str, position: int | None = None) -> WarmstartError:
        """Build the error: the text, a caret under the place, what was expected and what was found."""
        place = self.position if position is None else position
        found = repr(self.text[place:][:20]) if place < len(self.text) else "the end"
        return WarmstartError(
            f"Cannot read the {self.what}: expected {expected}, found {found}.\n"
            f"  {self.text}\n  {' ' * place}^"
        )

    @property
    def done(self) -> bool:
        """Whether the whole text has been read."""
        return self.position >= len(self.text)

    def skip_space(self) -> None:
        """Move past blanks."""
        while not self.done and self.text[self.position].isspace():
            self.position += 1

    def accept(self, literal: str) -> bool:
        """Move past ``literal`` if it comes next (blanks before it are skipped)."""
        self.skip_space()
        if self.text.startswith(literal, self.position):
            self.position += len(literal)
            return True
        return False

    def expect(self, literal: str, expected: str) -> None:
        """Move past ``literal`` or fail with what was expected."""
        if not self.accept(literal):
            raise self.fail(expected)

    def match(self, pattern: re.Pattern[str]) -> str | None:
        """Return the text of ``pattern`` at the cursor and move past it, or ``None``."""
        self.skip_space()
        found = pattern.match(self.text, self.position)
        if found is None or not found.group():
            return None
        self.position = found.end()
        return found.group()

    def quoted(self) -> str | None:
        """Read a JSON string such as ``"a,b"``, or return ``None`` where none begins."""
        start = self.position
        found = self.match(_QUOTED)
        if found is None:
            self.skip_space()
            if self.text.startswith('"', self.position):
                raise self.fail('a closing quote (")', len(self.text))
            return None
        try:
            return str(json.loads(found))
        except json.JSONDecodeError as error:
            raise self.fail("a JSON string", start) from error

    def name(self, expected: str) -> str:
        """Read a name: bare, or quoted where it holds special characters."""
        quoted = self.quoted()
        found = self.match(_NAME) if quoted is None else quoted
        if not found:
            raise self.fail(expected)
        return found

    def number(self, expected: str = "a number") -> float:
        """Read a number: ``-9.81``, ``1e-3``, ``inf``."""
        found = self.match(_NUMBER)
        if found is None:
            raise self.fail(expected)
        return float(found)

    def items(self, read: Callable[[], T]) -> tuple[T, ...]:
        """Read the rest of a list after its ``[``, each item with ``read``."""
        found: list[T] = []
        if self.accept("]"):
            return ()
        while True:
            found.append(read())
            if self.accept("]"):
                return tuple(found)
            self.expect(",", "',' or ']'")

    def vector(self, expected: str) -> float | tuple[float, ...]:
        """Read a number or a vector ``[a,b,c]``."""
        if not self.accept("["):
            return self.number(expected)
        start = self.position
        values = self.items(self.number)
        if not values:
            raise self.fail("at least one number", start)
        return values

    def value(self) -> Value:
        """Read an option's value: number, ``true``, ``false``, ``none``, text or list."""
        quoted = self.quoted()
        if quoted is not None:
            return quoted
        if self.accept("["):
            self._depth += 1
            if self._depth > MOST_DEPTH:
                raise self.fail(f"at most {MOST_DEPTH} lists inside one another")
            found = self.items(self.value)
            self._depth -= 1
            return found
        start = self.position
        word = self.match(_WORD)
        if word is None:
            raise self.fail(_VALUE_HINT)
        if len(word) > MOST_DIGITS and _INTEGER.fullmatch(word):
            raise self.fail(f"a whole number of at most {MOST_DIGITS} digits", start)
        return _bare_value(word)


def _bare_value(word: str) -> Value:
    if word in _KEYWORDS:
        return _KEYWORDS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    return float(word) if _NUMBER.fullmatch(word) else word


def format_number(number: float) -> str:
    """Write a float as briefly as reads back to the same float: ``2``, ``0.5``, ``1e-07``, ``-inf``."""
    if math.isfinite(number) and number == int(number) and abs(number) < 1e15:
        return str(int(number))
    return repr(float(number))


def format_vector(value: float | tuple[float, ...]) -> str:
    """Write a number or a vector ``[a,b,c]``."""
    if isinstance(value, tuple):
        return "[" + ",".join(map(format_number, value)) + "]"
    return format_number(value)


def format_name(name: str) -> str:
    """Write a name, quoted where it would not read back bare."""
    return name if _NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def format_value(value: Value) -> str:
    """Write an option's value so that it reads back as the same value of the same type."""
    if isinstance(value, tuple):
        return "[" + ",".join(map(format_value, value)) + "]"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        word = _WORD.fullmatch(value) is not None and _INTEGER.fullmatch(value) is None
        bare = word and _bare_value(value) == value
        return value if bare else json.dumps(value, ensure_ascii=False)
    return repr(value)
