"""The append-only log of a run: a CSV file, a row for every control step, each written at once.

Its first line says everything about the run, in JSON after ``# warmstart run log: ``. What a crash leaves is
a log of all steps before it, at most with half a row at its end.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contract import Contract, DeploymentError, Signal
from .robot import Reading, Robot

HEAD = "# warmstart run log: "
FORMAT = 1
_TIMING = ("clock", "late", "compute", "age", "round_trip")
_ENDED = {"": 0, "terminated": 1, "truncated": 2}


class Log:
    """Writes a run's log.

    Every row has the robot's clock (``time``, s) and ``episode``, the number of the observation that was
    acted on, the observation, the command in the actuators' units (held until the next row) and, as
    ``policy/NAME``, what the policy gave before it was limited; ``reward`` and ``ended`` (0, 1 terminated, 2
    truncated) of the observation; then, in s, the runner's ``clock``, how ``late`` the step came, what the
    policy took to ``compute``, the observation's ``age`` and the ``round_trip`` from a command to the first
    observation that knows of it; how many numbers of the action were ``limited``; and an ``event`` in words.
    Frames are too large for it: the mean of all pixels stands for them.

    Args:
        path: A file that isn't there yet.
        contract: Of the policy.
        robot: Whose ``measured`` numbers come first; an observation of the same name is called
            ``observation/NAME`` then.
        facts: What else the first line says.

    Raises:
        DeploymentError: The file is there already, or can't be written.
    """

    def __init__(
        self, path: str | Path, contract: Contract, robot: Robot, facts: Mapping[str, Any] | None = None
    ) -> None:
        self.path = Path(path)
        self._signals = contract.observations
        self._measured = len(robot.measured)
        self._n_action = max(1, math.prod(contract.action.shape))
        observed = {s.name: _columns(s, contract, frozenset(robot.measured)) for s in contract.observations}
        taken = {*robot.measured, *(name for names in observed.values() for name in names)}
        actions = [name if name not in taken else f"action/{name}" for name in _names(contract.action)]
        flat = [name for names in observed.values() for name in names]
        wanted = [f"policy/{name}" for name in _names(contract.action)]
        self.columns = ["time", "episode", "number", *robot.measured, *flat, *actions, *wanted]
        self.columns += ["reward", "ended", *_TIMING, "limited", "event"]
        if len(set(self.columns)) < len(self.columns):
            twice = next(name for name in self.columns if self.columns.count(name) > 1)
            raise DeploymentError(f"The log would have two columns {twice!r}: give the robot's names once.")
        head = {
            "format": FORMAT,
            "rate": robot.rate,
            "measured": list(robot.measured),
            "observations": observed,
            "action": actions,
            "policy": wanted,
            "contract": contract.to_json(),
            **(facts or {}),
        }
        exact = "%.17g," * self._measured
        short = "%.9g," * (len(flat) + 2 * self._n_action)
        timing = "%.6f,%.6f,%.6f,%.6f,%.6f,"
        self._row = f"%.17g,%d,%d,{exact}{short}%.9g,%d,{timing}%d,%s\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file = os.open(self.path, flags, 0o644)
        except FileExistsError:
            raise DeploymentError(f"{self.path} is there already; a log is never written over.") from None
        except OSError as error:
            raise DeploymentError(f"The log {self.path} can't be written: {error.strerror}.") from None
        names = ",".join(f'"{name}"' if "," in name else name for name in self.columns)
        os.write(self._file, f"{HEAD}{json.dumps(head)}\n{names}\n".encode())

    def write(
        self,
        reading: Reading | None,
        command: NDArray[Any],
        wanted: NDArray[Any] | None = None,
        timing: tuple[float, ...] = (math.nan,) * len(_TIMING),
        limited: int = 0,
        event: str = "",
    ) -> None:
        """Append a row.

        Args:
            reading: What was acted on; None where there never was one.
            command: What was commanded. Shape: (n,).
            wanted: What the policy gave; None where it wasn't asked. Shape: (n,).
            timing: clock, late, compute, age and round trip, in s.
            limited: How many numbers of the action were limited.
            event: What happened, in words.

        Raises:
            OSError: It can't be written.
        """
        numbers: list[float] = []
        if reading is None:
            numbers += [math.nan, 0, -1, *[math.nan] * (self._measured + self._size)]
        else:
            numbers += [reading.time, reading.episode, reading.number]
            numbers += [math.nan] * self._measured if reading.measured is None else reading.measured.tolist()
            for signal in self._signals:
                value = reading.values[signal.name]
                numbers += [float(value.mean())] if _is_frame(signal) else value.ravel().tolist()
        numbers += command.ravel().tolist()
        numbers += [math.nan] * self._n_action if wanted is None else wanted.ravel().tolist()
        reward = None if reading is None else reading.reward
        numbers += [math.nan if reward is None else reward, _ENDED[reading.ended] if reading else 0]
        text = '"' + event.replace('"', "'").replace("\n", " ").replace("\r", " ") + '"' if event else ""
        os.write(self._file, (self._row % (*numbers, *timing, limited, text)).encode())

    @property
    def _size(self) -> int:
        return sum(1 if _is_frame(s) else max(1, math.prod(s.shape)) for s in self._signals)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _is_frame(signal: Signal) -> bool:
    return signal.dtype == "uint8"


def _names(signal: Signal) -> list[str]:
    if signal.dimensions:
        return [each.name for each in signal.dimensions]
    size = max(1, int(np.prod(signal.shape)))
    return [f"{signal.name}[{i}]" for i in range(size)]


def _columns(signal: Signal, contract: Contract, measured: frozenset[str]) -> list[str]:
    """A signal's columns: its names, with the signal's before them where another column is called so."""
    if _is_frame(signal):
        return [f"{signal.name}.mean"]
    others = {name for s in contract.observations if s is not signal for name in _names(s)}
    return [
        f"{signal.name}/{name}" if name in measured or name in others else name for name in _names(signal)
    ]
