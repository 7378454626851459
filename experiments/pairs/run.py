"""Run a study over pairs, one after the other, and write what they say together after each."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from warmstart.agents.checkpoints.places import TRIALS
from warmstart.core.bounds import Settings, State
from warmstart.core.documents import dump_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.files import write_text
from warmstart.experiments.engines.base import Engine
from warmstart.experiments.pairs.aggregate import Aggregate, aggregate, pair_row
from warmstart.experiments.pairs.page import interval, share, signed, write_page
from warmstart.experiments.pairs.pairs import PAIRS_FILE, Pairs, load_pairs
from warmstart.experiments.report.results import Results
from warmstart.experiments.run.reading import statuses
from warmstart.experiments.run.run import RUNS, conclude, plan, prepare, run_study
from warmstart.experiments.study.estimate import estimate_seconds
from warmstart.experiments.study.plan import Plan
from warmstart.experiments.study.study import Study


@dataclass(frozen=True)
class PairsResults:
    """What a run over pairs came to."""

    directory: Path
    aggregate: Aggregate
    report: Path
    """The page over all pairs."""
    failures: tuple[str, ...]
    """What failed, a line each."""

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The methods as columns and rows of text, the best first."""
        columns = [
            "method",
            "pairs",
            "helps",
            "hurts",
            "area to cold",
            "to fine_tune",
            "rank",
            "steps to cold",
        ]
        rows = []
        for method in self.aggregate.methods:
            counts = [str(number) for number in (method.pairs, method.helps, method.hurts)]
            area = f"{signed(method.area.estimate)} ({interval(method.area) or 'one seed'})"
            over, rank = signed(method.over_fine_tune.estimate), f"{method.rank:.1f}"
            rows.append([method.name, *counts, area, over, rank, share(method.share_to_final)])
        return columns, rows


def planned(pairs: Pairs, workers: int | None, plugins: Iterable[str | Path] = ()) -> list[State]:
    """What a run over pairs would train, a row for each: trials, steps, and about how many seconds here."""
    plugins = tuple(plugins)
    made = [plan(study, plugins=plugins) for study in pairs.studies]
    return [
        {
            "pair": each.study.name,
            "trials": len(each.trials),
            "steps": each.steps,
            "seconds": round(estimate_seconds(each, workers)),
        }
        for each in made
    ]


def run_pairs(
    pairs: Pairs,
    out: str | Path | None = None,
    workers: int | None = None,
    *,
    plugins: Iterable[str | Path] = (),
    engine: str | Settings | Engine | None = None,
) -> PairsResults:
    """Run every pair's study in a folder of its own, or continue; source agents that several need are shared.

    All pairs are checked before the first is trained.

    Args:
        pairs: The study.
        out: Folder of the run; None for ``runs/NAME``.
        workers: Trials at a time.
        plugins: Plugin files.
        engine: Who runs the trials, as in `run_study`.

    Raises:
        WarmstartError: A pair is wrong, or none gave a result.
    """
    plugins = tuple(plugins)
    directory = Path(out).expanduser() if out is not None else RUNS / pairs.name
    plans = [plan(study, plugins=plugins) for study in pairs.studies]
    if directory.is_dir() and any(directory.iterdir()) and not (directory / PAIRS_FILE).is_file():
        raise WarmstartError(
            f"{directory} is not empty and holds no run over pairs. Give another with --out."
        )
    directory.mkdir(parents=True, exist_ok=True)
    before = _before(directory)
    studies = {study.name: study for study in (*before, *pairs.studies)}
    written = [{"name": name, **study.to_mapping()} for name, study in studies.items()]
    write_text(directory / PAIRS_FILE, dump_yaml({"name": pairs.name, "pairs": written}))
    folders = [directory / study.name for study in before if study.name not in pairs.names]
    finished = [conclude(folder) for folder in folders if (folder / "report.html").is_file()]
    for made in plans:
        folder = directory / made.study.name
        prepare(made, folder)
        _share_sources(made, folder, [result.directory for result in finished])
        finished.append(run_study(made.study, folder, workers, plugins=plugins, engine=engine))
        _write(pairs.name, directory, finished)
    return _write(pairs.name, directory, finished)


def _before(directory: Path) -> tuple[Study, ...]:
    """Pairs that a run holds already."""
    known = load_pairs(directory) if (directory / PAIRS_FILE).is_file() else None
    return () if known is None else known.studies


def report_pairs(directory: Path) -> PairsResults:
    """Write the page of a run over pairs anew, of the pairs that have results.

    Raises:
        WarmstartError: It is no such run, or has no result yet.
    """
    pairs = load_pairs(directory)
    if pairs is None:
        raise WarmstartError(f"{directory} is no run over pairs.")
    folders = [directory / study.name for study in pairs.studies]
    return _write(
        pairs.name, directory, [conclude(folder) for folder in folders if (folder / TRIALS).is_dir()]
    )


def _write(name: str, directory: Path, finished: list[Results]) -> PairsResults:
    if not finished:
        raise WarmstartError(f"No pair of {directory} has a result yet.")
    rows = [pair_row(result.summary) for result in finished]
    found = aggregate(name, finished[0].summary.baseline, rows)
    report = write_page(found, directory)
    failures = tuple(
        f"{result.run.name}: {failure.arm}, seed {failure.seed}: {failure.error}"
        for result in finished
        for failure in result.run.failures
    )
    return PairsResults(directory, found, report, failures)


def _share_sources(made: Plan, folder: Path, earlier: list[Path]) -> None:
    """Take over finished trials (of sources, above all) that an earlier pair has trained just so."""
    wanted = {trial.hash for trial in made.trials}
    for other in earlier:
        for row in statuses(other):
            place = folder / TRIALS / row.hash
            if row.hash in wanted and row.status.state == "done" and not (place / "status.json").is_file():
                shutil.copytree(other / TRIALS / row.hash, place, dirs_exist_ok=True)
