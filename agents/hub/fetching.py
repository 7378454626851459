"""Repositories on the hub as folders here: pinned to a commit, fetched once, used again without a network."""

import logging
import os
import shutil
from pathlib import Path
from urllib.parse import quote

from warmstart.agents.hub.client import HubUnreachableError, hub_library, offline, resolve
from warmstart.agents.hub.reference import Reference, is_reference, read_reference
from warmstart.agents.hub.taking import PULLED, FolderRepository, Repository, take
from warmstart.core.errors import WarmstartError
from warmstart.core.files import write_text

log = logging.getLogger(__name__)


def pinned(text: str | Path) -> str:
    """The name of a repository on the hub with the commit that it has now; any other text as it is.

    Raises:
        WarmstartError: See `pin`.
    """
    return str(pin(read_reference(text))) if is_reference(text) else str(text)


def pin(reference: Reference) -> Reference:
    """The commit that a reference is at.

    Where nobody answers, it is the one that was fetched last, which is told.

    Raises:
        WarmstartError: There is no such repository or revision; or nobody answers, and nothing was fetched.
    """
    if reference.pinned:
        return reference
    noted = _place(reference) / "refs" / quote(reference.revision or "main", safe="")
    try:
        found = resolve(reference).reference
    except HubUnreachableError as error:
        known = reference.at(noted.read_text().strip() if noted.is_file() else _cached_commit(reference))
        if not known.pinned:
            raise HubUnreachableError(f"{error} {reference} wasn't fetched before.") from None
        log.warning(
            "%s is taken at the commit %s, which was fetched before: %s", reference, known.revision, error
        )
        return known
    noted.parent.mkdir(parents=True, exist_ok=True)
    write_text(noted, found.revision)
    return found


def fetched(reference: str | Path | Reference, *, without_licence: bool = False) -> Path:
    """A folder with the files of a repository that are known, fetched where it isn't here yet.

    Args:
        reference: ``hf:OWNER/NAME``, with ``@REVISION`` where it shall be another than ``main``.
        without_licence: Whether it is taken although its card names no licence; once, then it is here.

    Returns:
        The folder; its content is the same for the same commit.

    Raises:
        WarmstartError: It can't be fetched, or isn't taken; see `resolve` and `take`.
    """
    asked = reference if isinstance(reference, Reference) else read_reference(reference)
    commit = pin(asked)
    folder = _place(commit) / "commits" / commit.revision
    if (folder / PULLED).is_file():
        return folder
    staged = folder.with_name(f".{folder.name}.new-{os.getpid()}")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        about = {"source": f"hf:{commit.repository}", "revision": commit.revision}
        taken = take(_repository(commit), staged, about, without_licence=without_licence)
        if not (folder / PULLED).is_file():  # another process may have been faster
            shutil.rmtree(folder, ignore_errors=True)
            staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    for remark in taken.notes:
        log.warning("%s: %s", commit, remark)
    return folder


def _repository(commit: Reference) -> Repository:
    """Where a commit's files are: on the hub; offline, in the cache that huggingface_hub itself keeps."""
    snapshot = _cache(commit) / "snapshots" / commit.revision
    if not offline():
        return resolve(commit)
    if not snapshot.is_dir():
        raise WarmstartError(f"{commit} wasn't fetched before, and HF_HUB_OFFLINE is set.")
    return FolderRepository(snapshot, _cache(commit), str(commit))


def _cached_commit(reference: Reference) -> str:
    """The commit that huggingface_hub itself fetched last; empty for none."""
    path = _cache(reference) / "refs" / (reference.revision or "main")
    return path.read_text().strip() if path.is_file() else ""


def _cache(reference: Reference) -> Path:
    """Folder of a repository in huggingface_hub's cache."""
    root = Path(hub_library().constants.HF_HUB_CACHE)
    return root / f"models--{reference.repository.replace('/', '--')}"


def _place(reference: Reference) -> Path:
    """Folder of a repository among what warmstart fetched, where huggingface_hub keeps such things."""
    hub = hub_library()
    assets = hub.constants.HF_ASSETS_CACHE
    namespace = reference.repository.replace("/", "--")
    return Path(hub.cached_assets_path("warmstart", namespace, "models", assets_dir=assets))
