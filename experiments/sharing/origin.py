"""Where a checkpoint that is shared comes from: what its trial recorded, if it lies in one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.checkpoints.places import LAST
from warmstart.agents.hub.taking import CARD, CURVE, OURS, read_pulled
from warmstart.agents.hub.taking import FILM as SHARED_FILM
from warmstart.core.bounds import Settings, State
from warmstart.core.files import check_file
from warmstart.experiments.records.config import TrialConfig
from warmstart.experiments.records.records import CONFIG, FILM, RECORDS
from warmstart.experiments.records.schema import read_records, read_transfer
from warmstart.experiments.report.canvas import COLOURS, add_grid, figure_bytes, new_figure


@dataclass(frozen=True)
class Evaluated:
    """One evaluation in training."""

    step: int
    """Environment steps of training until then."""
    mean: float
    """Mean undiscounted return."""
    std: float
    """Standard deviation over the episodes; NaN where it isn't known."""
    episodes: int
    """Number of episodes."""

    def __str__(self) -> str:
        """As the hub writes a mean reward."""
        return f"{self.mean:.2f}" + (f" +/- {self.std:.2f}" if np.isfinite(self.std) else "")


@dataclass(frozen=True)
class Origin:
    """The trial of a checkpoint, or what was shared with it."""

    config: TrialConfig | None = None
    """Its configuration; None where the checkpoint lies in no trial."""
    evaluations: tuple[Evaluated, ...] = ()
    """In order of their steps."""
    transfer: State | None = None
    """Its transfer report."""
    film: Path | None = None
    """The film that it made."""
    curve: Path | None = None
    """The picture of its learning curve, where it was shared before."""
    pulled: Settings | None = None
    """What ``pulled.json`` says, where it was pulled itself."""

    def evaluation(self, checkpoint: Checkpoint) -> Evaluated | None:
        """The last evaluation of the checkpoint itself; None where there was none."""
        said = checkpoint.evaluation
        last = self.evaluations[-1] if self.evaluations else None
        if said is None and last is not None and self.config is not None and last.step == self.config.steps:
            return last if checkpoint.path is not None and checkpoint.path.name == LAST else None
        if said is None or not {"step", "return", "episodes"} <= said.keys():
            return None
        recorded = {each.step: each for each in self.evaluations}.get(int(said["step"]))
        if recorded is not None and np.isclose(recorded.mean, said["return"]):
            return recorded
        return Evaluated(int(said["step"]), float(said["return"]), float("nan"), int(said["episodes"]))


def origin_of(checkpoint: Checkpoint) -> Origin:
    """What the trial that a checkpoint lies in recorded, or what lies beside one that was shared.

    Raises:
        WarmstartError: It lies in one, of which a file is damaged.
    """
    trial = None if checkpoint.path is None else checkpoint.path.absolute().parent
    if trial is None or not (trial / CONFIG).is_file():
        return Origin() if checkpoint.path is None else _shared_before(checkpoint.path)
    run = trial.parent.parent
    found = []
    for record in read_records(trial / RECORDS, run):
        if record["event"] == "evaluation" and None not in record["returns"] and record["returns"]:
            returns = np.array(record["returns"], np.float64)
            found.append(Evaluated(record["step"], float(returns.mean()), float(returns.std()), len(returns)))
    film = trial / FILM
    transfer = read_transfer(trial, run)
    return Origin(TrialConfig.read(trial), tuple(found), transfer, film if film.is_file() else None)


def _shared_before(folder: Path) -> Origin:
    """What lies beside a checkpoint that was pushed or pulled."""
    if not (folder / CARD).is_file():
        return Origin()
    curve, film = (
        check_file(folder / name, OURS[name], folder) if (folder / name).exists() else None
        for name in (CURVE, SHARED_FILM)
    )
    return Origin(None, (), read_transfer(folder, folder), film, curve, read_pulled(folder))


def draw_curve(evaluations: tuple[Evaluated, ...], title: str) -> bytes:
    """Draw a learning curve: mean return and its standard deviation over episodes, by training steps.

    Returns:
        A PNG.
    """
    figure = new_figure((6.4, 3.2))
    axes = figure.subplots()
    steps, means, stds = (
        np.array([getattr(each, name) for each in evaluations], np.float64)
        for name in ("step", "mean", "std")
    )
    axes.fill_between(steps, means - stds, means + stds, color=COLOURS[1], alpha=0.16, linewidth=0)
    axes.plot(steps, means, color=COLOURS[1], marker=".", linewidth=1.8)
    axes.set_xlabel("Training steps")
    axes.set_ylabel("Return (mean, ± std over episodes)")
    axes.set_title(title, fontsize="medium", parse_math=False)
    add_grid(axes)
    return figure_bytes(figure)
