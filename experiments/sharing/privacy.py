"""What mustn't be given away with a policy: paths of this machine and its name."""

import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from warmstart.core.bounds import Place, State, dotted
from warmstart.core.errors import WarmstartError

_PATH = re.compile(r"""(?:^|(?<=[\s=:,;'"(\[]))(?:~|[A-Za-z]:\\|/(?=[^/\s]+/))[^\s,;'")\]]*""")
_NAMED = re.compile(r"(?=.*[A-Za-z])(?=.*[\d-])[\w-]{4,}")
"""Host names that are looked for: with a digit or a hyphen; others, such as ``torso``, are words as well."""


def private(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Texts in plain data that name a path of a machine or this host, with their places."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from private(item, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from private(item, (*place, index))
    elif isinstance(value, str) and without_private(value) != value:
        yield place, value


def without_private(text: str) -> str:
    """A text with paths shortened to their last part, and this host's name left out."""
    whole = socket.gethostname()
    host = whole.partition(".")[0]
    text = _PATH.sub(lambda match: re.split(r"[/\\]", match[0].rstrip("/\\"))[-1], text)
    if _NAMED.fullmatch(host):
        text = re.sub(rf"\b({re.escape(whole)}|{re.escape(host)})\b", "(host)", text)
    return text


def cleaned(values: Any) -> Any:
    """Plain data with every text `without_private`."""
    if isinstance(values, Mapping):
        return {key: cleaned(item) for key, item in values.items()}
    if isinstance(values, list | tuple):
        return [cleaned(item) for item in values]
    return without_private(values) if isinstance(values, str) else values


def check_private(values: State, path: Path) -> None:
    """See that what a policy can't do without names nothing of this machine.

    Raises:
        WarmstartError: It does; the place and the text are told.
    """
    for place, text in private(values):
        raise WarmstartError(
            f"{path.name}: {dotted(place)} names something of this machine, {text!r}: it isn't shared. Train "
            "or save the policy with a name in its place."
        )
