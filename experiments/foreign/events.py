"""Scalars of TensorBoard event files, TensorFlow 1's and 2's kind."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.files import check_file
from warmstart.experiments.foreign.recording import Recording, in_sequence, starts_anew, whole_steps

MOST_BYTES = 1 << 32
"""Most bytes of an event file."""
FRAME = 16
"""Bytes of a record beside its content: its length, and checksums of both."""
TOGETHER = 1.0
"""Seconds by which two files of one run may overlap."""
TAGS = ("eval/mean_reward", "evaluation/return", "rollout/ep_rew_mean")
"""Tags that SB3 and warmstart write, the better ones first."""


@dataclass(frozen=True)
class _Scalars:
    """The scalars of one file."""

    path: Path
    begin: float
    """Time of the first event, in s since 1970."""
    end: float
    """Time of the last one."""
    values: dict[str, list[tuple[float, float, float]]]
    """Step, value and time in the order in which they were written, by tag."""
    note: str = ""
    """What is missing of it."""


def is_events(path: Path) -> bool:
    """Whether a path is named like a TensorBoard event file."""
    return ".tfevents." in path.name


def read_events(path: Path, tag: str | None = None) -> Recording:
    """Read one scalar of TensorBoard event files.

    Several files in one folder are one run that was continued: each goes on where the one before it ended, or
    at an earlier checkpoint. Within a file, the order in which it was written is the truth.

    Args:
        path: An event file, or a folder of them that belong to one run.
        tag: The scalar; by default the first of `TAGS` that exists.

    Raises:
        WarmstartError: No readable events, no such tag (the valid ones are listed), or the files of a folder
            are several runs.
    """
    paths = sorted(item for item in path.iterdir() if is_events(item)) if path.is_dir() else [path]
    files = sorted((_read(item) for item in paths), key=lambda item: item.begin)
    tags = sorted({name for file in files for name in file.values})
    if not tags:
        raise WarmstartError(
            f"{path} holds no scalars: not an event file, or truncated before its first record."
        )
    chosen = tag or next((name for name in TAGS if name in tags), None)
    if chosen is None:
        raise WarmstartError(
            f"{path} holds none of {', '.join(TAGS)}. Choose one with --tag: {', '.join(tags)}."
        )
    if chosen not in tags:
        raise unknown_name(f"tag in {path}", chosen, tags)
    notes = [file.note for file in files if file.note]
    notes += [
        f"{file.path} is left out: it holds no {chosen}." for file in files if chosen not in file.values
    ]
    files = [file for file in files if chosen in file.values]
    rows = [np.array(file.values[chosen]) for file in files]
    steps = [whole_steps(row[:, 0], f"{file.path}, {chosen}") for file, row in zip(files, rows, strict=True)]
    for (before, old), (after, new) in itertools.pairwise(zip(files, steps, strict=True)):
        together = after.begin < before.end - TOGETHER
        if together or (new[0] <= old[-1] and starts_anew(int(new[0]), np.unique(old))):
            why = f"starts anew at step {new[0]:,}, after {before.path.name} came to {old[-1]:,}"
            why = f"ran beside {before.path.name}" if together else why
            raise WarmstartError(
                f"{path} holds several runs: {after.path.name} {why}. Give each file by itself, as ARM=PATH."
            )
    table = np.concatenate(rows)
    counted, kept, told = in_sequence(np.concatenate(steps), str(path))
    notes += told
    if chosen == "rollout/ep_rew_mean":
        notes.append("rollout/ep_rew_mean is the return of the exploring policy, a mean of past episodes.")
    seconds = np.maximum(table[kept, 2] - files[0].begin, 0.0)
    return Recording(path, counted, table[kept, 1], seconds, tuple(notes))


def _read(path: Path) -> _Scalars:
    """Read the scalars of a file: plain values, and tensors of one number as TensorFlow 2 writes them."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.util.tensor_util import make_ndarray

    size = check_file(path, MOST_BYTES).stat().st_size
    values: dict[str, list[tuple[float, float, float]]] = {}
    odd: set[str] = set()
    times: list[float] = []
    read = 0
    try:
        for content in RawEventFileLoader(str(path)).Load():
            read += len(content) + FRAME
            event: Any = Event.FromString(content)
            if not math.isfinite(event.wall_time):
                raise ValueError(f"an event has the time {event.wall_time}")
            times.append(event.wall_time)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    number = float(value.simple_value)
                elif not value.HasField("tensor"):
                    continue
                else:
                    if math.prod(dim.size for dim in value.tensor.tensor_shape.dim) != 1:
                        odd.add(value.tag)  # which make_ndarray would fill, however large it says it is
                        continue
                    array = make_ndarray(value.tensor)
                    if array.size != 1 or array.dtype.kind not in "fiu":
                        odd.add(value.tag)
                        continue
                    number = float(array.ravel()[0])
                values.setdefault(value.tag, []).append((event.step, number, event.wall_time))
    except Exception as error:
        raise WarmstartError(f"{path} can't be read as TensorBoard events: {error}.") from error
    for name in odd:
        values.pop(name, None)
    note = ""
    if read < size:
        note = (
            f"{path}: it is damaged or torn off after byte {read:,} of {size:,}; the {len(times):,} events "
            "before that are read, what follows is left out."
        )
    return _Scalars(path, min(times, default=0.0), max(times, default=0.0), values, note)
