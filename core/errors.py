"""Errors meant for people: one message that says what was expected, what was found and what to do."""

import difflib
from collections.abc import Iterable

MOST_NAMES = 40
"""Names that a message lists at most."""
LONGEST = 4_000
"""Characters of a message; a name in a file may have any number of them."""
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that command a terminal or turn the direction of writing, and what is shown in their place."""


def readable(text: str) -> str:
    """Text that may hold something of a file, as a terminal can show it.

    Nothing in it is a command, and its middle is left out where it is longer than `LONGEST`.
    """
    text = text.translate(_CONTROLS)
    if len(text) <= LONGEST:
        return text
    left = len(text) - LONGEST
    return f"{text[: LONGEST - 1000]} … ({left:,} characters left out) … {text[-1000:]}"


class WarmstartError(ValueError):
    """A mistake in what was asked for; its message is shown without a traceback."""

    def __init__(self, message: str = "") -> None:
        super().__init__(readable(message))


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> WarmstartError:
    """Build the error for a name that isn't known.

    Args:
        kind: What was named, as a noun: ``"physical parameter"``.
        name: The name that was given.
        valid: The names that exist.

    Returns:
        An error that quotes the name, the nearest valid ones and (some of) the valid ones.
    """
    names = sorted(set(valid))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    if len(names) > MOST_NAMES and close:
        return WarmstartError(f"Unknown {kind} {name!r}.{hint} There are {len(names)} valid ones.")
    shown = ", ".join(names[:MOST_NAMES]) + (f", … ({len(names)} in all)" if len(names) > MOST_NAMES else "")
    return WarmstartError(f"Unknown {kind} {name!r}.{hint} Valid: {shown or 'none'}.")
