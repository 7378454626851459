"""Files that may do more than be read: those that a person named, remembered by what they contain.

A plugin runs, and a `VecNormalize` file is a pickle. Nothing else may point at one: not a study's YAML, not a
run or a checkpoint from somebody. Who names the file on the command line, or calls `trust`, trusts that
content.
"""

import json
import os
import time
from pathlib import Path

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import file_hash, read_json, replace_file

VARIABLE = "WARMSTART_TRUSTED"
"""Environment variable with the file that remembers; ``~/.config/warmstart/trusted.json`` by default."""
_trusted: dict[str, str] = {}
"""Name by sha256 of what this process was told to trust."""


def trust(path: str | Path, *, sha256: str | None = None) -> str:
    """Trust a file's content, now and later.

    Args:
        path: The file.
        sha256: Its hash, where it is known.

    Returns:
        The hash that is remembered. Where nothing can be written, this process alone remembers it.
    """
    path = Path(path).expanduser()
    known = file_hash(path) if sha256 is None else sha256
    if not is_trusted(known):
        _trusted[known] = path.name
        store = _store()
        held = _held()
        held[known] = {"name": path.name, "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        try:
            store.parent.mkdir(parents=True, exist_ok=True)
            replace_file(store, (json.dumps(held, indent=1) + "\n").encode())
        except OSError:
            pass
    return known


def is_trusted(sha256: str) -> bool:
    """Whether content of this hash was trusted before."""
    return sha256 in _trusted or sha256 in _held()


def check_trusted(path: str | Path) -> str:
    """Give the hash of a file that a study names.

    Raises:
        WarmstartError: It can't be read, or nobody said here that its content is trusted.
    """
    path = Path(path).expanduser()
    try:
        sha256 = file_hash(path)
    except OSError as error:
        raise WarmstartError(
            f"expected a file that VecNormalize.save wrote; {path} can't be read: {error.strerror}."
        ) from None
    if not is_trusted(sha256):
        raise WarmstartError(
            f"{path} is a pickle (sha256 {sha256[:16]}…), and a study's file is no consent to read one: if "
            "you trust it, name it once, by --trust-normalizer FILE or warmstart.trust(FILE)."
        )
    return sha256


def _held() -> State:
    """What is remembered.

    Raises:
        WarmstartError: The file that remembers is damaged.
    """
    store = _store()
    held = read_json(store)
    if held is None and store.is_file():
        raise WarmstartError(
            f"{store}, which remembers what you trust, is damaged: mend it, or remove it and name again what "
            "you trust."
        )
    return held or {}


def _store() -> Path:
    given = os.environ.get(VARIABLE)
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return Path(given).expanduser() if given else config / "warmstart" / "trusted.json"
