"""A trial between machines without a common file system: what it needs goes there, what it made comes back.

Both are archives in memory. The folder there looks like the run's: the trial with what earlier attempts left,
the trials that it starts from, and the run's folders of plugins and copies of files.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from warmstart.agents.checkpoints.places import TRIALS
from warmstart.core.errors import WarmstartError
from warmstart.core.files import replace_file
from warmstart.experiments.records.claims import CLAIM
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.records import CONFIG, TENSORBOARD

JOBS = "jobs"
"""Folder of a run with what a queue of jobs keeps."""
JOB = "job.json"
"""In a trial's directory: the job that runs it."""
_NOT_NEEDED = (TRIALS, TENSORBOARD, JOBS)
"""Folders of a run that a trial doesn't read, but for its own and its sources' among the trials."""
_STAYS = (CLAIM, CONFIG, JOB)
"""Files of a trial's directory that don't come back and aren't replaced."""
_LISTING = ".listing"
"""Member of an archive that names all files of a trial: what isn't in it is gone there."""
Seen = dict[str, tuple[int, int]]
"""Size and time of change of each file that was packed."""


def pack_trial(directory: Path) -> bytes:
    """Pack what a trial needs to run elsewhere.

    Args:
        directory: The trial's, in its run.

    Returns:
        An archive of a run with this trial.

    Raises:
        WarmstartError: The trial can't be read.
    """
    run = directory.parent.parent
    config = TrialConfig.read(directory)
    named = sorted({directory.name, config.source, config.encoder, config.identification} - {""})
    trials = [run / TRIALS / name for name in named]
    folders = [path for path in sorted(run.iterdir()) if path.is_dir() and path.name not in _NOT_NEEDED]
    with _Archive(run) as archive:
        archive.add(file for folder in (*trials, *folders) for file in _files(folder))
    return archive.content


def unpack_trial(content: bytes, run: Path, name: str) -> Path:
    """Lay out a packed trial; returns its directory."""
    for path, data in _members(content, run):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return run / TRIALS / name


def pack_changes(directory: Path, seen: Seen) -> bytes:
    """Pack what a running or ended trial has written since it was looked at last.

    Args:
        directory: The trial's.
        seen: What was packed before; brought up to date.
    """
    files = [file for file in _files(directory) if file.name not in _STAYS]
    states_first = sorted(files, key=lambda file: file.parent == directory)
    with _Archive(directory) as archive:
        archive.put(_LISTING, "\n".join(file.relative_to(directory).as_posix() for file in files).encode())
        archive.add(file for file in states_first if _changed(file, seen))
    return archive.content


def unpack_changes(content: bytes, directory: Path) -> None:
    """Write into a trial's directory what came back of it, and remove what is no longer there.

    Training states are read before the records and written after them: a state is good only with records at
    least as long as it knows of.

    Raises:
        DiskFullError: No space is left.
    """
    members = _members(content, directory)
    listed = {directory / name for name in next(members)[1].decode().splitlines()}
    for path, data in sorted(members, key=lambda member: member[0].parent != directory):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data, durable=False)
    for path in list(_files(directory)):
        if path not in listed and path.name not in _STAYS:
            path.unlink(missing_ok=True)


def _changed(file: Path, seen: Seen) -> bool:
    try:
        about = file.stat()
    except FileNotFoundError:  # an older training state
        return False
    before, seen[str(file)] = seen.get(str(file)), (about.st_size, about.st_mtime_ns)
    return before != seen[str(file)]


def _files(path: Path) -> Iterator[Path]:
    """All files below a folder, but those that are just being written and claims."""
    for inner in sorted(path.iterdir()) if path.is_dir() else ():
        if inner.is_dir():
            yield from _files(inner)
        elif not inner.name.startswith(".") and inner.name != CLAIM:
            yield inner


class _Archive:
    """A tar archive in memory, to be filled within a context."""

    def __init__(self, root: Path) -> None:
        self._root, self._buffer = root, io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w")  # noqa: SIM115 (closed below)

    def __enter__(self) -> "_Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    @property
    def content(self) -> bytes:
        return self._buffer.getvalue()

    def put(self, name: str, data: bytes) -> None:
        about = tarfile.TarInfo(name)
        about.size = len(data)
        self._tar.addfile(about, io.BytesIO(data))

    def add(self, files: Iterable[Path]) -> None:
        for file in files:
            try:
                self.put(file.relative_to(self._root).as_posix(), file.read_bytes())
            except FileNotFoundError:  # removed since
                continue


def _members(content: bytes, root: Path) -> Iterator[tuple[Path, bytes]]:
    """The files of an archive, and where in a folder they belong.

    Raises:
        WarmstartError: One isn't a file inside of the folder.
    """
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in archive:
            data = archive.extractfile(member)
            if data is None or not (root / member.name).resolve().is_relative_to(root.resolve()):
                raise WarmstartError(
                    f"What was carried for {root} holds {member.name!r}, no file inside of it."
                )
            yield root / member.name, data.read()
