"""A run's log as numbers over time: in windows, and as TensorBoard scalars."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from warmstart.core.errors import WarmstartError
from warmstart.sim2real.deployment.drift import references
from warmstart.sim2real.deployment.monitor import TIMES, at_limit, contract_of, episodes, limits_of
from warmstart.transfer.replaying.run_logs import RunLog


def windows(log: RunLog, seconds: float) -> Iterator[tuple[int, float, dict[str, float]]]:
    """A log in windows of time.

    Args:
        log: The log.
        seconds: Length of a window.

    Yields:
        Number of control steps at the window's end, its middle in s, and its numbers by TensorBoard's names:
        ``latency/…`` in ms, ``saturation/NAME`` and ``drift/NAME`` (in standard deviations).
    """
    contract, rows = contract_of(log), log.columns
    start = rows["clock"][log.acted][:1]
    if not len(start):
        return
    part = np.where(log.acted, (rows["clock"] - start[0]) // seconds, -1)
    low, high = limits_of(contract)
    commands = log.table(log.action)
    known = list(references(log, contract))
    done = 0
    for number in range(int(part.max()) + 1):
        inside = part == number
        if not inside.any():
            continue
        done += int(inside.sum())
        found: dict[str, float] = {}
        for name in TIMES:
            values = 1e3 * rows[name][inside]
            if np.isfinite(values).any():
                found[f"latency/{name}_p50_ms"] = float(np.nanquantile(values, 0.5))
                found[f"latency/{name}_p99_ms"] = float(np.nanquantile(values, 0.99))
        at = at_limit(commands[inside], low, high)
        for name, share in zip(log.action, (at[0] | at[1]).mean(axis=0), strict=True):
            found[f"saturation/{name}"] = float(share)
        for dimension, column, mean, std, _, _ in known:
            values = rows[column][inside]
            if std > 0 and np.isfinite(values).any():
                found[f"drift/{dimension.name}"] = float((np.nanmean(values) - mean) / std)
        yield done, (number + 0.5) * seconds, found


def write_scalars(log: RunLog, folder: Path, seconds: float) -> None:
    """Write a log as TensorBoard scalars over control steps, in place of those that are there.

    They are those of `windows`, and the return of each episode that was seen to its end.

    Raises:
        WarmstartError: The folder can't be written.
    """
    from torch.utils.tensorboard.writer import SummaryWriter

    try:
        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        writer = SummaryWriter(str(folder))
    except OSError as error:
        raise WarmstartError(f"{folder} can't be written: {error.strerror}.") from None
    try:
        for step, _, values in windows(log, seconds):
            for name, value in values.items():
                writer.add_scalar(name, value, step)
        acted = np.cumsum(log.acted)
        for episode, found in enumerate(episodes(log)):
            if found.ended and np.isfinite(found.total):
                writer.add_scalar("episode/return", found.total, int(acted[found.last]))
                writer.add_scalar("episode/number", episode, int(acted[found.last]))
    finally:
        writer.close()


def check_window(seconds: float) -> None:
    """See that a window's length is sound.

    Raises:
        WarmstartError: It isn't.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise WarmstartError(f"Expected a window of more than 0 s, found {seconds}.")


def names_of(paths: Sequence[Path]) -> list[str]:
    """A name for each log: its file's, with a number where several have the same."""
    stems = [path.stem for path in paths]
    return [f"{stem}-{i}" if stems.count(stem) > 1 else stem for i, stem in enumerate(stems, 1)]
