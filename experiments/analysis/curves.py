"""What a study measured, in memory: convergence curves, transfer reports, failures.

`reading.load_run` and the importers fill these classes; statistics, figures and the report read them.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from warmstart.core.bounds import Settings, State


@dataclass(frozen=True, eq=False)
class Curve:
    """Evaluations of one trial on its grid of training steps, in increasing order."""

    arm: str
    """Arm that the trial belongs to; `source` for a source agent."""
    seed: int
    """Seed of the trial: arms are paired by it."""
    steps: NDArray[np.int64]
    """Training steps taken at each evaluation, 0 first. Shape: (points,)."""
    returns: NDArray[np.float64]
    """Mean undiscounted return over the evaluation's episodes. Shape: (points,)."""
    seconds: NDArray[np.float64]
    """Training wall-clock at each evaluation, evaluation not counted, in s. Shape: (points,)."""
    source_steps: int = 0
    """Steps that the trial's source agent was trained for (0 for a cold start)."""
    source_seconds: float = 0.0
    """Training wall-clock of the trial's source agent, in s."""
    lengths: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Mean length of the evaluation's episodes in steps. Shape: (points,), or (0,) where unknown."""
    constant: bool = False
    """Whether nothing trained: one evaluation, held over the grid (zero-shot)."""
    start_spread: float = float("nan")
    """Standard deviation over the episodes of its first evaluation."""
    stopped: str = ""
    """Why training ended early; empty where it didn't. The last evaluation is held over the rest."""
    stopped_at: int = 0
    """Training steps that it took until then."""
    complete: bool = True
    """Whether the trial ended; False for one that still runs, was interrupted or failed."""
    path: Path | None = None
    """Directory or file that the curve was read from."""


@dataclass(frozen=True)
class Failure:
    """A trial that gave no result."""

    arm: str
    seed: int
    error: str
    """One line: what went wrong."""
    traceback: str = ""
    """The Python traceback or the end of the process's log."""


@dataclass(frozen=True, eq=False)
class RunData:
    """A run directory read back, or curves that others made."""

    name: str
    study: Settings = field(default_factory=dict)
    """The resolved study; empty for foreign curves."""
    curves: tuple[Curve, ...] = ()
    """Curves of the target trials."""
    source_curves: tuple[Curve, ...] = ()
    """Curves of the source agents."""
    transfers: dict[str, State] = field(default_factory=dict)
    """Transfer report (`TransferReport.to_json()`) per arm: that of its first seed."""
    media: dict[str, Path] = field(default_factory=dict)
    """Directory of the first finished trial of each arm (and of `source`) that kept frames and a film."""
    gaps: dict[str, dict[int, State]] = field(default_factory=dict)
    """What each arm's final agents keep in the study's reality, by arm and seed; empty without one."""
    maps: dict[str, State] = field(default_factory=dict)
    """Robustness map of each arm's first seed, with the terms that it was trained on."""
    drawn: dict[str, tuple[State, ...]] = field(default_factory=dict)
    """Records of what the first seed of each arm drew in training."""
    similarity: State | None = None
    """What was predicted from the source before training: `similarity.json`; None where nothing was."""
    failures: tuple[Failure, ...] = ()
    random_return: float | None = None
    """Mean return of uniformly random actions where arms are evaluated, to normalise with."""
    random_spread: float = float("nan")
    """Its standard deviation over episodes."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries that computed the records."""
    baseline: str = "scratch"
    """Arm that the others are compared with."""
    notes: tuple[str, ...] = ()
    """What a reader must know to judge the numbers, e.g. one source agent for all seeds."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms in the order of the study, those that only failed included."""
        names = [curve.arm for curve in self.curves] + [failure.arm for failure in self.failures]
        ordered = [arm["name"] for arm in self.study.get("arms", ())]
        return tuple(dict.fromkeys([name for name in ordered if name in names] + names))

    def of(self, arm: str) -> tuple[Curve, ...]:
        """Curves of one arm, by seed."""
        return tuple(sorted((curve for curve in self.curves if curve.arm == arm), key=lambda c: c.seed))
