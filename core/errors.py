"""Errors meant for people: one message that says what was expected, what was found and what to do."""

import difflib
from collections.abc import Iterable

MOST_NAMES = 40
"""Names that a message lists at most."""


class WarmstartError(ValueError):
    """A mistake in what was asked for; its message is shown without a traceback."""


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
