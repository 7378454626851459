"""The hub over HTTP: a commit's list of files, and one file, bounded in size and time.

The client of huggingface_hub is used, with its token, proxies and certificates, without its retries, which
wait for as long as a server asks. huggingface_hub is imported when it is needed.
"""

import hashlib
import importlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from warmstart.agents.hub.reference import Reference
from warmstart.core.bounds import Bounds, Settings
from warmstart.core.documents import Document
from warmstart.core.errors import WarmstartError
from warmstart.core.files import parse_json
from warmstart.core.plain import placed, read

MOST_LIST = 1 << 24
"""Most bytes of a repository's description."""
_CHUNK = 1 << 20
_PATIENCE, _SLOWEST = 60.0, 50_000
"""Seconds that an answer may take, and bytes per second that a file must come with beyond them."""
Size = Annotated[int, Bounds(0, 1 << 62)]


class HubUnreachableError(WarmstartError):
    """Nobody answers at the hub's address, or the environment forbids to ask."""


@dataclass(frozen=True)
class HubFile:
    """A file of a commit, as the hub describes it."""

    size: int
    """In bytes."""
    sha256: str = ""
    """Of a large file; empty for others."""
    blob: str = ""
    """git's hash of a file that isn't large."""


@dataclass(frozen=True)
class HubRepository:
    """A repository on the hub at one commit."""

    reference: Reference
    """Pinned."""
    listed: dict[str, HubFile] = field(default_factory=dict)
    """What it holds, by path."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.reference)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of every file."""
        return {name: file.size for name, file in self.listed.items()}

    def copy(self, name: str, path: Path) -> None:
        """Fetch a file.

        Raises:
            WarmstartError: It can't be fetched, or isn't the commit's: the sizes or hashes are told.
        """
        said = self.listed[name]
        repository, revision = self.reference.repository, self.reference.revision
        url = f"{endpoint()}/{repository}/resolve/{revision}/{quote(name)}"
        digest, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % said.size, usedforsecurity=False)
        what = f"{name} of {self.name}"
        with path.open("wb") as file:
            for chunk in _get(url, said.size, what):
                file.write(chunk)
                digest.update(chunk)
                blob.update(chunk)
            if file.tell() != said.size:
                raise WarmstartError(
                    f"{what}: expected {said.size:,} bytes, found {file.tell():,}: the connection broke."
                )
        expected, found = (said.sha256, digest) if said.sha256 else (said.blob, blob)
        if expected and found.hexdigest() != expected:
            raise WarmstartError(
                f"{what} isn't the commit's: its hash is {found.hexdigest()}, the hub lists {expected}."
            )


def hub_library() -> Any:
    """huggingface_hub.

    Raises:
        WarmstartError: It isn't installed.
    """
    try:
        for part in ("constants", "errors", "utils"):
            importlib.import_module(f"huggingface_hub.{part}")
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise WarmstartError(
            "The hub's repositories need huggingface_hub: pip install 'warmstart[hub]'."
        ) from None


def endpoint() -> str:
    """Address of the hub (``HF_ENDPOINT``).

    Raises:
        WarmstartError: It is no address.
    """
    found = os.environ.get("HF_ENDPOINT") or str(hub_library().constants.ENDPOINT)
    if not found.startswith(("https://", "http://")):
        raise WarmstartError(f"HF_ENDPOINT: expected an address with https://, found {found!r}.")
    return found.rstrip("/")


def offline() -> bool:
    """Whether the environment forbids downloads (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def resolve(reference: Reference) -> HubRepository:
    """Ask the hub for the commit that a revision is, and what it holds.

    Raises:
        HubUnreachableError: Nobody answers, or the environment forbids to ask.
        WarmstartError: There is no such repository or revision, it is closed, or the answer is odd.
    """
    if offline():
        raise HubUnreachableError("HF_HUB_OFFLINE is set.")
    revision = reference.revision or "main"
    url = f"{endpoint()}/api/models/{reference.repository}/revision/{quote(revision, safe='')}?blobs=true"
    what = str(reference)
    content = b"".join(_get(url, MOST_LIST, what))
    try:
        told = parse_json(content.decode(), f"The hub's list of {what}")
    except UnicodeDecodeError:
        raise WarmstartError(
            f"The hub's list of {what} is no text: is HF_ENDPOINT a hub's address?"
        ) from None
    document = Document(told, f"The hub's list of {what}")
    commit = document.checked(lambda: str(read(Settings, told).get("sha")))
    pinned = reference.at(commit)
    if not pinned.pinned or (reference.pinned and reference.revision != commit):
        raise WarmstartError(f"{what}: expected the files of one commit, the hub names {commit!r}.")
    rows = document.checked(lambda: read(list[Settings], told.get("siblings", []), ("siblings",)))
    files = document.checked(
        lambda: {
            read(str, row.get("rfilename"), ("siblings", i, "rfilename")): placed(
                ("siblings", i), _file, row, i
            )
            for i, row in enumerate(rows)
        }
    )
    return HubRepository(pinned, files)


def _file(row: Settings, index: int) -> HubFile:
    large = read(Settings | None, row.get("lfs"), ("siblings", index, "lfs")) or {}
    size = read(Size, large.get("size", row.get("size")), ("siblings", index, "size"))
    return HubFile(size, str(large.get("sha256") or ""), "" if large else str(row.get("blobId") or ""))


def _get(url: str, most: int, what: str) -> Iterator[bytes]:
    """What lies at an address, in pieces.

    Args:
        url: The address.
        most: Bytes that it may have.
        what: What messages call it.
    """
    hub = hub_library()
    seconds = _PATIENCE + most / _SLOWEST
    until, total = time.monotonic() + seconds, 0
    headers = hub.utils.build_hf_headers(library_name="warmstart")
    headers["Accept-Encoding"] = "identity"
    with told(what):
        session = hub.utils.get_session()
        timeout = hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
        with session.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as answer:
            if answer.status_code != 200:
                raise refusal(answer.status_code, answer.headers, what)
            for chunk in answer.iter_bytes(_CHUNK):
                total += len(chunk)
                if total > most:
                    raise WarmstartError(f"{what} has more than {most:,} bytes, which the hub lists for it.")
                if time.monotonic() > until:
                    raise HubUnreachableError(
                        f"{what} isn't there after {seconds:,.0f} s: {endpoint()} is slow."
                    )
                yield chunk


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what huggingface_hub and its transport raise into one sentence."""
    errors = hub_library().errors
    transport: Any = errors.HfHubHTTPError.__bases__[0]  # the HTTPError of httpx
    try:
        yield
    except WarmstartError:
        raise
    except errors.HfHubHTTPError as error:
        answer = error.response
        raise refusal(answer.status_code, answer.headers, what) from error
    except errors.OfflineModeIsEnabled as error:
        raise HubUnreachableError("HF_HUB_OFFLINE is set.") from error
    except (transport, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise HubUnreachableError(
            f"{what}: {endpoint()} can't be reached ({reason}). Check the network and "
            "HF_ENDPOINT; with HF_HUB_OFFLINE=1 only what was fetched before is used."
        ) from error


def refusal(status: int, headers: Any, what: str) -> WarmstartError:
    """Why the hub answers otherwise than asked, by its status and headers."""
    code, login = str(headers.get("X-Error-Code") or ""), "log in (hf auth login, or HF_TOKEN)"
    if code == "GatedRepo":
        told = f"its owners let in only whom they know. Ask for access on its page and {login}."
    elif code == "RevisionNotFound":
        told = "the repository has no such revision."
    elif code == "EntryNotFound":
        told = "the repository has no such file."
    elif code == "RepoNotFound" or status in (401, 404):
        told = f"{endpoint()} has no such repository, or it is private: check the name, or {login}."
    elif status == 403:
        told = f"your account or token may not do this; {login}."
    elif status == 429 or status >= 500:
        return HubUnreachableError(f"{what}: {endpoint()} answers with status {status}. Try again later.")
    else:
        told = f"{endpoint()} answers with status {status}."
    return WarmstartError(f"{what}: {told}")
