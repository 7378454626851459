"""Training states on the disk: a folder with the last few, and with the blocks of their large arrays.

A state is a file named by its step and by what it contains. It is staged beside its name, synced and renamed
after the blocks that it names, so that at every moment the folder holds a whole one. A block is named by its
content too: of a replay buffer of a million transitions only the blocks that changed are written. Those that
two states share are there once: if the disk spoils one, both states are passed over. One that was found
spoilt is written anew, also where the same content comes again.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from warmstart.agents.resuming.packing import BLOCK, pack, unpack
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import as_disk_full, read_bytes, replace_file, sync_directory, write_synced

KEPT = 2
"""States that are kept."""
BLOCKS = "blocks"
_MOST_BYTES = 1 << 32
"""Of a state without its blocks."""
_SPOILT: set[Path] = set()
"""Blocks that this process found to be something else."""
_NAME = re.compile(r"\d{12,}-[0-9a-f]{32}\.safetensors")


def write_state(folder: Path, step: int, state: State) -> Path:
    """Write a training state beside those that are there, and remove all but it and the last ones before it.

    States of later steps are of a training that this one didn't go on from: they are removed, too.

    Returns:
        The file.

    Raises:
        WarmstartError: Something of it isn't plain; says what. Nothing has changed then.
        DiskFullError: No space is left; the states before are whole.
    """
    store = _Blocks(folder / BLOCKS)
    try:
        content = pack(state, store.keep)
        store.sync()
        path = folder / f"{step:012}-{_digest(content)}.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except BaseException:
        store.discard()
        raise
    remove_old(folder, path)
    return path


def read_states(folder: Path, tell: Callable[[str], None]) -> Iterator[tuple[Path, State]]:
    """The whole training states of a folder, the newest first.

    Args:
        folder: Where `write_state` wrote; need not exist.
        tell: Says which are damaged, and are passed over.
    """
    for path in state_files(folder):
        try:
            yield path, _read(path)
        except (OSError, WarmstartError) as error:
            tell(f"{path} is passed over: {error}")


def state_files(folder: Path) -> list[Path]:
    """The files of a folder's states, the newest first."""
    return sorted((each for each in folder.glob("*.safetensors") if _NAME.fullmatch(each.name)), reverse=True)


def remove_old(folder: Path, newest: Path) -> None:
    """Remove all states but the one just written and a few before it, and blocks that none of those names."""
    files = state_files(folder)
    kept = [newest, *(each for each in files if each.name < newest.name)][:KEPT]
    for old in set(files).difference(kept):
        old.unlink(missing_ok=True)
    used: set[str] = set()
    for path in kept:
        used |= set(re.findall(r"\b[0-9a-f]{64}\b", _header(path)))
    left = [block for block in (folder / BLOCKS).glob("*") if block.name not in used]
    for path in (*left, *folder.glob(".*.new-*")):  # of a process that was killed, too
        path.unlink(missing_ok=True)


def _read(path: Path) -> State:
    content = read_bytes(path, _MOST_BYTES)
    if _digest(content) != path.stem.rpartition("-")[2]:
        raise WarmstartError("it isn't what was written")

    def fetch(name: str) -> bytes:
        if not re.fullmatch(r"[0-9a-f]{64}", name):
            raise WarmstartError("a block has another name than blocks have")
        block = read_bytes(path.parent / BLOCKS / name, BLOCK)
        if hashlib.sha256(block).hexdigest() != name:
            _SPOILT.add((path.parent / BLOCKS / name).absolute())
            raise WarmstartError(f"its block {name[:12]}… isn't what was written")
        return block

    return unpack(content, fetch)


class _Blocks:
    """The blocks that a state is made of; those that are there already aren't written again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.new: list[Path] = []
        self.here = {each.name for each in folder.glob("*") if each.absolute() not in _SPOILT}

    def keep(self, content: memoryview) -> str:
        """Keep a block; returns its name."""
        name = hashlib.sha256(content).hexdigest()
        if name not in self.here:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.new.append(self.folder / name)
            self.here.add(name)
            staged = self.folder / f".{name}.new-{os.getpid()}"
            try:
                write_synced(staged, content)
                staged.replace(self.folder / name)
                _SPOILT.discard((self.folder / name).absolute())
            except OSError as error:
                raise as_disk_full(error, staged) from None
        return name

    def sync(self) -> None:
        """Wait until the disk has the names of the new ones."""
        if self.new:
            sync_directory(self.folder)

    def discard(self) -> None:
        """Remove what belongs to no state."""
        for path in self.new:
            path.unlink(missing_ok=True)


def _header(path: Path) -> str:
    """The JSON at the head of a state's file, which names its blocks."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return file.read(min(size, path.stat().st_size)).decode(errors="replace")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
