"""The runs below a folder, and what looks like one and isn't."""

import fnmatch
import os
from pathlib import Path

from warmstart.agents.checkpoints.places import TRIALS, TRIALS_FILE
from warmstart.core.errors import readable
from warmstart.experiments.records.records import CONFIG, TENSORBOARD

_FOREIGN = ("evaluations.npz", "*monitor.csv", "events.out.tfevents.*")
"""Curves that other libraries wrote."""


def find_runs(directory: Path) -> tuple[list[Path], dict[Path, str]]:
    """Find the runs below a folder, that itself included.

    Links to folders aren't followed, folders whose name begins with a dot aren't entered, nor the trials of a
    run.

    Returns:
        The runs' folders in order of their paths; and why others are skipped: half a run, a trial by itself,
        curves of other libraries, a link, a folder that can't be read.
    """
    runs, skipped = list[Path](), dict[Path, str]()
    left = [directory]
    while left:
        folder = left.pop()
        try:
            with os.scandir(folder) as entries:
                found = {entry.name: entry for entry in entries}
        except OSError as error:
            skipped[folder] = f"It can't be read: {error.strerror or error}."
            continue
        kind = _kind(folder, set(found))
        if kind == "run":
            runs.append(folder)
        elif kind:
            skipped[folder] = kind
        if kind and kind != "run" and TRIALS not in found:
            continue
        for name, entry in found.items():
            if name.startswith(".") or (kind and name in (TRIALS, TENSORBOARD)):
                continue
            if not os.path.isdir(entry.path):
                continue
            if not entry.is_symlink():
                left.append(folder / name)
            else:
                skipped[folder / name] = "It is a link to a folder; links aren't followed: index that itself."
    return sorted(runs), skipped


def _kind(folder: Path, names: set[str]) -> str:
    """What a folder is: `run`, a sentence that says why it is none though it looks like one, or nothing."""
    if TRIALS_FILE in names:
        return "run"
    if CONFIG in names:
        return f"It is a trial by itself: its run, the folder with {TRIALS_FILE}, is missing."
    if TRIALS in names and any((folder / TRIALS).glob(f"*/{CONFIG}")):
        return f"It is half of a run: {TRIALS_FILE} is missing. Run the study again, which writes it."
    foreign = sorted(name for name in names if any(fnmatch.fnmatch(name, kind) for kind in _FOREIGN))
    if foreign:
        first = readable(foreign[0])
        return f"It holds curves of another library ({first}), which only `warmstart report` reads."
    return ""
