"""From runs or foreign curves to report, summary and figures on disk. Imports importers, summary, report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.experiments.analysis.curves import RunData
from warmstart.experiments.analysis.summary import Summary, summarise, write_summary
from warmstart.experiments.report.canvas import FORMATS
from warmstart.experiments.report.figures import save_figures
from warmstart.experiments.report.report import write_report
from warmstart.experiments.run.importers import read_runs


@dataclass(frozen=True, eq=False)
class Compiled:
    """What was written."""

    run: RunData
    summary: Summary
    paths: tuple[Path, ...]
    """report.html, summary.json, figures."""


def compile_report(
    runs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    baseline: str | None = None,
    tag: str | None = None,
    figures: Sequence[str] = (),
) -> Compiled:
    """Write report, summary and figures of a run, or of curves that others made.

    Args:
        runs: A run's folder, or curves as ``PATH`` or ``ARM=PATH`` (see `read_runs`).
        out: Folder to write to; by default that of a single run of ours, else the current one.
        baseline: Arm that the others are compared with.
        tag: Scalar to read from TensorBoard event files.
        figures: Formats of the figures: any of png, pdf, svg.

    Returns:
        The numbers and the files.

    Raises:
        WarmstartError: Nothing to read, or nothing could be written.
    """
    for name in figures:
        if name not in FORMATS:
            raise unknown_name("figure format", name, FORMATS)
    specs = [str(item) for item in runs]
    run = read_runs(specs, baseline=baseline, tag=tag)
    if not run.curves:
        raise WarmstartError(f"{', '.join(specs)}: no trial was evaluated yet: nothing to report.")
    own = len(specs) == 1 and bool(run.study)
    folder = Path(out) if out is not None else Path(specs[0]) if own else Path()
    summary = summarise(run)
    paths = [
        write_report(run, summary, folder / "report.html"),
        write_summary(summary, folder / "summary.json"),
    ]
    if figures:
        paths += save_figures(summary, folder, figures)
    return Compiled(run, summary, tuple(paths))
