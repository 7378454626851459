"""Which physical parameters recorded motion determines, before anything is fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.envs.tasks.task import Task
from warmstart.sim2real.identification.fit import Normal, invert
from warmstart.sim2real.identification.replay import Replay, read_parameters
from warmstart.sim2real.identification.settings import WINDOW
from warmstart.sim2real.identification.windows import cut_windows, window_length
from warmstart.sim2real.recordings.positions import Floats
from warmstart.sim2real.recordings.trajectories import Trajectories, control_period, robot_of

WEAK = 0.1
"""Standard error, as a share of the range, above which a parameter counts as not identifiable."""


@dataclass(frozen=True)
class Row:
    """What the data says about one parameter.

    Attributes:
        name: The parameter or pattern.
        alone: Standard error if all others were known, as a share of the range.
        error: Standard error together with the others, as a share of the range.
        identifiable: Whether the data determines it.
        verdict: The same in words, and why not.
    """

    name: str
    alone: float
    error: float
    identifiable: bool
    verdict: str


@dataclass(frozen=True)
class Excitation:
    """Which parameters recorded motion determines.

    Attributes:
        rows: One for each parameter, in the order in which they were given.
    """

    rows: tuple[Row, ...]

    @property
    def identifiable(self) -> NDArray[np.bool_]:
        """Which parameters can be fitted. Shape: (p,)."""
        return np.array([row.identifiable for row in self.rows], dtype=bool)

    def updated(self, later: "Excitation") -> "Excitation":
        """This with the rows of the parameters that were judged again."""
        again = {row.name: row for row in later.rows}
        return Excitation(tuple(again.get(row.name, row) for row in self.rows))

    def table(self) -> list[dict[str, str]]:
        """Rows of a table: parameter, standard error, verdict."""
        return [
            {"parameter": row.name, "standard error": f"{row.error:.1%} of the range", "verdict": row.verdict}
            for row in self.rows
        ]

    @classmethod
    def of(cls, names: Sequence[str], information: Floats, weak: float = WEAK) -> "Excitation":
        """Judge an information matrix.

        A parameter whose error is too large even if all others were known isn't felt in the data. Of the
        others, those are not identifiable that are part of a direction in which the data says too little:
        they only matter together, and all of them are named.

        Args:
            names: The parameters.
            information: In units of their ranges. Shape: (p, p).
            weak: Largest standard error of an identifiable parameter, as a share of its range.
        """
        alone = 1 / np.sqrt(np.maximum(np.diag(information), 1e-12))
        felt = alone <= weak
        errors, together = alone.copy(), dict[int, list[int]]()
        if felt.any():
            indices = np.flatnonzero(felt)
            part = information[np.ix_(indices, indices)]
            errors[indices] = np.sqrt(np.diag(invert(part)))
            values, vectors = np.linalg.eigh(part)
            for value, direction in zip(values, vectors.T, strict=True):
                if value * weak**2 >= 1:
                    continue
                members = indices[np.abs(direction) > 0.2 * np.abs(direction).max()]
                for member in members:
                    together.setdefault(int(member), []).extend(int(m) for m in members if m != member)
        rows = []
        for i, name in enumerate(names):
            error = min(float(errors[i]), 99.0)
            if not felt[i]:
                share = f"{min(float(alone[i]), 9.99):.0%}"
                verdict = (
                    f"not identifiable: the motion says too little about it (error {share} of its range)"
                )
            elif errors[i] > weak:
                others = " and ".join(names[m] for m in dict.fromkeys(together.get(i, ())))
                verdict = f"not identifiable: {name} and {others or 'the others'} only matter together"
            else:
                verdict = "identifiable"
            rows.append(Row(name, min(float(alone[i]), 99.0), error, verdict == "identifiable", verdict))
        return cls(tuple(rows))


def excitation(
    task: Task | str,
    trajectories: Trajectories,
    parameters: Mapping[str, Any],
    window: float = WINDOW,
) -> Excitation:
    """Say which parameters recorded motion determines, before anything is fitted.

    Args:
        task: The robot; its context is the nominal physics.
        trajectories: Its recorded motion.
        parameters: Ranges by selector: ``{"torso.mass": "x0.5:x2"}``.
        window: Seconds of a window.

    Raises:
        WarmstartError: A selector, range or window isn't sound, or the recordings don't fit the task.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    trajectories = trajectories.prepare(task)
    terms = read_parameters(parameters)
    length = window_length(window, control_period(task))
    replay = Replay(task, cut_windows(trajectories, robot_of(task).model(), length), terms)
    return Excitation.of(replay.names, nominal_information(replay))


def nominal_information(replay: Replay) -> Floats:
    """What the windows say about the parameters if nominal physics is nearly right. Shape: (p, p)."""
    residuals, by_start, by_parameter = replay.linearize(replay.nominal, replay.starts())
    return Normal.of(replay.windows, np.zeros_like(residuals), by_start, by_parameter).information
