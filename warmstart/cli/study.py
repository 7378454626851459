"""``warmstart compare`` and ``report``: studies, and how what they came to is shown."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from warmstart.cli.console import (
    Command,
    Running,
    console,
    note,
    print_json,
    print_table,
)
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.trust import trust

if TYPE_CHECKING:
    from warmstart.experiments.analysis.summary import Summary
    from warmstart.experiments.pairs.pairs import Pairs
    from warmstart.experiments.pairs.run import PairsResults
    from warmstart.experiments.report.results import Results
    from warmstart.experiments.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Training(Running):
    """Options of everything that trains."""

    out: Path | None = None
    """Folder of the run; runs/NAME by default. Running the same command again continues it."""


@dataclass(frozen=True)
class Compare(Training):
    """Run a study: source agents, then warm and cold arms in the target, then the report with its verdict."""

    study: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="STUDY")]]
    """Name of a preset (`warmstart list presets`), or a YAML file."""
    steps: int | None = None
    """Environment steps of every arm in the target, in place of the study's; it is evaluated as often, and
    arms that take some of them in a reality take the same share of them there."""
    source_steps: int | None = None
    """Environment steps of every source agent, in place of the study's."""
    seed: tuple[int, ...] = ()
    """Seeds, in place of the study's."""
    device: str | None = None
    """cpu, cuda or auto, in place of the study's."""
    pair: tuple[str, ...] = ()
    """Names of pairs, where the study has several: only these are trained."""
    dry_run: bool = False
    """Say what would be trained, and write nothing."""
    trust_normalizer: tuple[Path, ...] = ()
    """The study's source_normalizer, a pickle: name it here once to say that you trust it."""

    def run(self) -> int:
        """Compare."""
        from warmstart.experiments.pairs.pairs import load_pairs
        from warmstart.experiments.run.run import plan, run_study
        from warmstart.experiments.study.estimate import estimate_seconds
        from warmstart.experiments.study.loading import load_study

        self.load_plugins()
        for file in self.trust_normalizer:
            trust(file)
        pairs = load_pairs(self.study)
        if pairs is not None:
            return self._compare_pairs(pairs)
        if self.pair:
            raise WarmstartError(f"--pair: {self.study} is a single study, without `pairs`.")
        study: Study | str = self.study
        if self._changes or self.steps is not None:
            study = self._changed(load_study(self.study))
        if self.dry_run:
            made = plan(study, plugins=self.plugin)
            seconds = estimate_seconds(made, self.workers)
            rows = [
                {"trial": trial.hash, "arm": trial.arm}
                | {key: getattr(trial.config, key) for key in ("seed", "task", "steps")}
                for trial in made.trials
            ]
            if self.json:
                mapping = made.study.to_mapping()
                print_json({"study": mapping, "trials": rows, "steps": made.steps, "seconds": seconds})
            else:
                print_table(made.study.name, list(rows[0]), [list(row.values()) for row in rows])
                console().print(
                    f"{len(rows)} trials, {made.steps:,} steps in all, about {_duration(seconds)} here. "
                    "Nothing was written."
                )
                for reason in made.notes:
                    note(reason)
            return 0
        result = run_study(study, self.out, plugins=self.plugin, **self.running)
        return show(result, self.json)

    @property
    def _changes(self) -> Settings:
        """Settings of the study that the command line replaces."""
        given = {"source_steps": self.source_steps, "device": self.device, "seeds": list(self.seed) or None}
        return {key: value for key, value in given.items() if value is not None}

    def _changed(self, study: "Study") -> "Study":
        """The study with what the command line replaces."""
        changed = replace(study, **self._changes)
        return changed if self.steps is None else changed.with_steps(self.steps)

    def _compare_pairs(self, pairs: "Pairs") -> int:
        """Run a study over pairs."""
        from warmstart.experiments.pairs.run import planned, run_pairs

        pairs = (pairs.only(self.pair) if self.pair else pairs).changed(self._changed)
        if not self.dry_run:
            return show_pairs(run_pairs(pairs, self.out, plugins=self.plugin, **self.running), self.json)
        rows = planned(pairs, self.workers, self.plugin)
        seconds = sum(row["seconds"] for row in rows)
        if self.json:
            print_json({"name": pairs.name, "pairs": rows, "seconds": seconds})
            return 0
        print_table(pairs.name, list(rows[0]), [[_short(value) for value in row.values()] for row in rows])
        console().print(
            f"{len(rows)} pairs, at most {sum(row['steps'] for row in rows):,} steps in all, about "
            f"{_duration(seconds)} here (a source that several need is trained once). Nothing was written."
        )
        return 0


@dataclass(frozen=True)
class Report(Command):
    """Make (or remake) a report: of a run, or of curves that others recorded.

    Foreign curves: SB3's evaluations.npz or monitor.csv, TensorBoard event files or their folders. Files that
    belong to one arm share a name, as in `warm=logs/a/evaluations.npz warm=logs/b/evaluations.npz
    cold=logs/c/evaluations.npz`.
    """

    runs: tyro.conf.Positional[tuple[Annotated[str, tyro.conf.arg(metavar="RUN")], ...]]
    """A run's folder; or ARM=FILE pairs."""
    out: Path | None = None
    """Folder for report.html and summary.json; the run's own by default, the current one for others."""
    baseline: str | None = None
    """Arm that the others are compared with; scratch by default, or the first arm of foreign curves."""
    tag: str | None = None
    """Scalar to read from TensorBoard event files; by default the first of eval/mean_reward,
    evaluation/return and rollout/ep_rew_mean that is there."""
    figures: tuple[str, ...] = ()
    """Also write the curves as figures: png, pdf, svg."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> int:
        """Write it."""
        from warmstart.experiments.foreign.importing import compile_report
        from warmstart.experiments.pairs.pairs import PAIRS_FILE
        from warmstart.experiments.pairs.run import report_pairs

        if not self.runs:
            raise WarmstartError("Expected a run's folder, or curves as ARM=FILE; found nothing.")
        if len(self.runs) == 1 and (Path(self.runs[0]) / PAIRS_FILE).is_file():
            return show_pairs(report_pairs(Path(self.runs[0])), self.json)
        written = compile_report(
            self.runs, out=self.out, baseline=self.baseline, tag=self.tag, figures=self.figures
        )
        if self.json:
            print_json(written.summary.to_json())
            return 0
        _print_verdicts(written.summary)
        if not written.run.study:
            for remark in written.summary.notes:
                note(remark)
        for path in written.paths:
            note(str(path))
        return 0


def show(result: "Results", as_json: bool) -> int:
    """Print a study's outcome; 1 if a trial failed."""
    if as_json:
        about = {"run": str(result.directory), "report": str(result.report)}
        print_json({**about, "summary": result.summary.to_json()})
    else:
        _print_verdicts(result.summary)
        console().print(f"Report: {result.report}")
    failures: dict[str, list[str]] = {}
    for failure in result.run.failures:
        failures.setdefault(failure.error, []).append(f"{failure.arm}, seed {failure.seed}")
    for error, trials in failures.items():
        note(f"failed: {'; '.join(trials)}: {error}")
    return 1 if result.run.failures else 0


def _print_verdicts(summary: "Summary") -> None:
    for sentence in (*summary.unlearnt, *summary.unrewarded):
        console().print(sentence)
    for arm in summary.compared:
        console().print(str(arm.headline))
    if summary.prediction is not None:
        console().print(str(summary.prediction))


def show_pairs(result: "PairsResults", as_json: bool) -> int:
    """Print what a run over pairs came to; 1 if a trial failed."""
    if as_json:
        print_json({"run": str(result.directory), "report": str(result.report)})
    else:
        print_table(result.aggregate.name, *result.table())
        if any(pair.prediction for pair in result.aggregate.pairs):
            console().print(str(result.aggregate.foresight))
        console().print(f"Report: {result.report}")
    for failure in result.failures:
        note(f"failed: {failure}")
    return 1 if result.failures else 0


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
