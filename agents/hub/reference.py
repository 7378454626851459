"""What a repository on the hub is called: ``hf:OWNER/NAME``, or ``hf:OWNER/NAME@REVISION``."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from warmstart.core.errors import WarmstartError

PREFIX = "hf:"
_FORM = re.compile(
    r"hf:(?P<repository>\w[\w.-]{0,95}/\w[\w.-]{0,95})(?:@(?P<revision>\w[\w./-]{0,199}))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Reference:
    """A repository, perhaps at a revision."""

    repository: str
    """``OWNER/NAME``."""
    revision: str = ""
    """A branch, a tag or a commit; empty for the branch ``main``."""

    @property
    def pinned(self) -> bool:
        """Whether it names a commit, whose files never change."""
        return _COMMIT.fullmatch(self.revision) is not None

    def at(self, revision: str) -> "Reference":
        """The same repository at a revision."""
        return replace(self, revision=revision)

    def __str__(self) -> str:
        """As it is written."""
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_reference(path: str | Path) -> bool:
    """Whether a text or path names a repository on the hub and no file here."""
    return str(path).startswith(PREFIX) and not Path(path).exists()


def read_reference(text: str | Path) -> Reference:
    """Read ``hf:OWNER/NAME[@REVISION]``.

    Raises:
        WarmstartError: It is written otherwise.
    """
    found = _FORM.fullmatch(str(text))
    if found is None or ".." in str(text) or "--" in found["repository"]:
        raise WarmstartError(
            f"Expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION, found {str(text)!r}. A repository holds one "
            "checkpoint: no file, :best or :last follows."
        )
    return Reference(found["repository"], found["revision"] or "")
