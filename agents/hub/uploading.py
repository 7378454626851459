"""A folder to the hub, in one commit, within a time limit."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from warmstart.agents.hub.client import HubUnreachableError, endpoint, hub_library, offline, resolve, told
from warmstart.agents.hub.reference import Reference
from warmstart.agents.hub.taking import METADATA, OURS
from warmstart.core.errors import WarmstartError

T = TypeVar("T")
PATIENCE, SLOWEST = 120.0, 50_000
"""Seconds that an upload may take, and bytes per second that it must go with beyond them."""


def upload(folder: Path, reference: Reference, *, private: bool = False) -> Reference:
    """Make a repository's branch hold the files of a folder, and none else of ours.

    Args:
        folder: What ``warmstart push`` wrote.
        reference: The repository, which is made where there is none; its revision is a branch, ``main`` by
            default.
        private: Whether a repository that is made is private; else it is as its owner usually has them.

    Returns:
        The repository at the new commit.

    Raises:
        WarmstartError: The hub can't be reached or says no, or the repository holds something else.
    """
    if offline():
        raise HubUnreachableError(f"{reference} can't be pushed to: HF_HUB_OFFLINE is set.")
    if reference.pinned:
        raise WarmstartError(f"{reference}: expected a branch to push to, found a commit, which is fixed.")
    hub = hub_library()
    what = f"{reference} can't be pushed to"
    names = sorted(name for name in OURS if (folder / name).is_file())
    branch = reference.revision or "main"
    api = hub.HfApi(endpoint=endpoint(), library_name="warmstart")

    def commit() -> Any:
        with told(what):
            if branch != "main":  # is there, or nothing is made
                resolve(reference)
            api.create_repo(reference.repository, private=private or None, exist_ok=True)
            there = resolve(reference).listed
            others = [name for name in there if name not in OURS and name != ".gitattributes"]
            if others and METADATA not in there:
                raise WarmstartError(
                    f"{reference} holds something else than a policy of warmstart's "
                    f"({', '.join(others[:4])}): push to another repository."
                )
            changes = [hub.CommitOperationAdd(name, str(folder / name)) for name in names]
            changes += [
                hub.CommitOperationDelete(name) for name in OURS if name in there and name not in names
            ]
            return api.create_commit(
                reference.repository,
                changes,
                commit_message="A policy, pushed with warmstart",
                revision=branch,
            )

    size = sum((folder / name).stat().st_size for name in names)
    return reference.at(str(within(PATIENCE + size / SLOWEST, commit, what).oid))


def within(seconds: float, call: Callable[[], T], what: str) -> T:
    """Make a call that may never return, and wait for it so long.

    Raises:
        HubUnreachableError: It takes longer.
        WarmstartError: What it raises, or whatever else it raises as one sentence.
    """
    found: list[T] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001 (told by the caller's thread)
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if found:
        return found[0]
    if not failed:
        raise HubUnreachableError(f"{what}: {endpoint()} didn't answer within {seconds:,.0f} s.")
    if isinstance(failed[0], WarmstartError):
        raise failed[0]
    first = failed[0].__cause__ if isinstance(failed[0].__cause__, Exception) else failed[0]
    reason = " ".join(str(first).split()) or type(first).__name__
    raise WarmstartError(f"{what}: {reason}") from failed[0]
