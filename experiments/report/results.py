"""Everything that is written of a run: report, summary and figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warmstart.experiments.analysis.curves import Failure, RunData
from warmstart.experiments.analysis.summary import Summary, summarise, write_summary
from warmstart.experiments.report.figures import save_figures
from warmstart.experiments.report.report import write_report


@dataclass(frozen=True, eq=False)
class Results:
    """What a run, or curves that others made, came to."""

    directory: Path
    run: RunData
    summary: Summary
    paths: tuple[Path, ...]
    """What was written: report.html, summary.json, figures."""

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.paths[0]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Trials that gave no result."""
        return self.run.failures


def write_results(run: RunData, directory: Path, figures: Sequence[str] = ()) -> Results:
    """Compute the summary of a run; write it, the report, and figures in the formats asked for.

    Raises:
        WarmstartError: They can't be written.
    """
    summary = summarise(run)
    report = write_report(run, summary, directory / "report.html")
    numbers = write_summary(summary, directory / "summary.json")
    return Results(directory, run, summary, (report, numbers, *save_figures(summary, directory, figures)))
