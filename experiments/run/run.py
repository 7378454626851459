"""From a study to a run directory with records, summary and report; and from a run directory back to data."""

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from warmstart.core.documents import read_yaml
from warmstart.core.errors import WarmstartError
from warmstart.core.files import as_disk_full, read_json, write_json, write_text
from warmstart.core.plain import read
from warmstart.core.plugins import load_plugins, store_plugins
from warmstart.core.progress import Mode, Progress, make_progress
from warmstart.experiments.analysis.curves import Failure, RunData
from warmstart.experiments.analysis.summary import Summary, summarise, write_summary
from warmstart.experiments.records.config import TRIALS, PlannedTrial
from warmstart.experiments.records.records import CHECKPOINT, CONFIG
from warmstart.experiments.records.tensorboard import link_runs
from warmstart.experiments.report.report import write_report
from warmstart.experiments.run.reading import STUDY_FILE, TRIALS_FILE, TrialState, load_run, statuses
from warmstart.experiments.run.scheduler import Scheduler, StudyInterruptedError
from warmstart.experiments.study.checks import check_buildable
from warmstart.experiments.study.loading import study_document
from warmstart.experiments.study.plan import Plan, make_plan
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.seeing import WEIGHTS
from warmstart.experiments.trial.source import CHECKPOINTS, normalizer_copy
from warmstart.experiments.trial.worlds import keep_reality

__all__ = [
    "StudyResult",
    "TrialState",
    "find_checkpoints",
    "load_run",
    "plan",
    "resolve_checkpoint",
    "run_study",
    "statuses",
]

REPORT_FILE = "report.html"
SUMMARY_FILE = "summary.json"
RUNS = Path("runs")


@dataclass(frozen=True)
class StudyResult:
    """What a study came to."""

    directory: Path
    run: RunData
    summary: Summary
    report: Path
    """The HTML report."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Trials that gave no result."""
        return self.run.failures


def plan(study: Study | str | Path, *, plugins: Iterable[str | Path] = ()) -> Plan:
    """Say what a study would do, without writing anything (`compare --dry-run`).

    Args:
        study: A study, a preset's name, or the path of a YAML file or of a run directory.
        plugins: Plugin files to load first.

    Returns:
        Its trials and their steps; `estimate.estimate_seconds` says how long they take here.

    Raises:
        WarmstartError: Whatever is wrong with the study, with file and line where it has them.
    """
    loaded = load_plugins(plugins)

    def make(study: Study) -> Plan:
        made = make_plan(study, loaded)
        check_buildable(made)
        return made

    if isinstance(study, Study):
        return make(study)
    document = study_document(study)
    return document.checked(lambda: make(read(Study, document.data)))


def run_study(
    study: Study | str | Path,
    out: str | Path | None = None,
    workers: int | None = None,
    *,
    plugins: Iterable[str | Path] = (),
    progress: Mode | Progress = "auto",
) -> StudyResult:
    """Run a study, or continue it: finished trials are not repeated.

    Args:
        study: A study, a preset's name, or the path of a YAML file or of a run directory.
        out: Run directory; None for `runs/NAME` below the working directory.
        workers: Trials at a time, each in a process of its own; None for the number of cores.
        plugins: Plugin files to load, here and in the trials.
        progress: `auto` (a live table on a terminal, lines elsewhere), `live`, `plain`, `none`.

    Returns:
        Data, summary and report. Failed trials are among them, with their tracebacks.

    Raises:
        WarmstartError: The study is wrong, the directory holds something else, the disk is full, or no target
            trial gave a result.
        StudyInterruptedError: Ctrl-C; running the same again continues. A KeyboardInterrupt.
    """
    if workers is not None and workers < 1:
        raise WarmstartError(f"workers: expected at least 1, found {workers}.")
    loaded = load_plugins(plugins)
    made = plan(study, plugins=plugins)
    directory = Path(out).expanduser() if out is not None else RUNS / made.study.name
    labels = [trial.label for trial in made.trials]
    shown = progress if isinstance(progress, Progress) else make_progress(progress, labels)
    difference = prepare(made, directory)
    store_plugins(loaded, directory)
    try:
        with shown:
            for message in (difference, *made.notes):
                if message:
                    shown.message(message)
            Scheduler(directory, made.trials, workers, shown).run_all()
    except KeyboardInterrupt:
        raise StudyInterruptedError(
            f"Interrupted. Nothing recorded is lost: run the same command again to continue {directory}."
        ) from None
    return conclude(directory)


def prepare(made: Plan, directory: Path) -> str:
    """Lay out a run directory: study, list of trials, their configurations, a given checkpoint.

    Args:
        made: The plan.
        directory: The run directory; made where it doesn't exist.

    Returns:
        What differs from the study that the directory held before, in one line; empty if nothing does.

    Raises:
        WarmstartError: The directory holds something else, or can't be written.
    """
    difference = _compare_with_existing(made.study, directory)
    try:
        (directory / TRIALS).mkdir(parents=True, exist_ok=True)
        for trial in made.trials:
            folder = directory / TRIALS / trial.hash
            folder.mkdir(parents=True, exist_ok=True)
            if read_json(folder / CONFIG) != trial.config.to_json():
                trial.config.write(folder)
        if made.checkpoint is not None:
            _copy_checkpoint(made.checkpoint, directory / CHECKPOINTS, made.checkpoint_hash)
        for sha256, path in made.weights.items():
            folder = directory / WEIGHTS / sha256[:16]
            if not folder.is_dir() or not any(not item.name.startswith(".") for item in folder.iterdir()):
                _copy_checkpoint(path, folder, path.name)
        if made.reality is not None:
            keep_reality(made.reality, directory)
        if made.normalizer is not None:
            copy = normalizer_copy(directory, made.normalizer_hash)
            _copy_checkpoint(made.normalizer, copy.parent, copy.name)
    except OSError as error:
        full = as_disk_full(error, directory)
        raise (
            full if full is not error else WarmstartError(f"{directory} can't be written: {error}.")
        ) from None
    write_text(directory / STUDY_FILE, made.study.to_yaml("Written by warmstart: every setting of this run."))
    listed = {"trials": [_entry(trial) for trial in made.trials], "notes": list(made.notes)}
    write_json(directory / TRIALS_FILE, listed, durable=True)
    link_runs(directory, made.trials)
    return difference


def conclude(directory: Path) -> StudyResult:
    """Compute summary and report of a run directory and write both.

    Raises:
        WarmstartError: No target trial gave a result.
    """
    run = load_run(directory)
    if not run.curves:
        first = run.failures[0] if run.failures else Failure("", 0, "nothing was evaluated yet")
        error = first.error.rstrip(".")
        raise WarmstartError(
            f"No trial of {directory} gave a result. First failure, of {first.arm} with seed {first.seed}: "
            f"{error}. Tracebacks and logs: {directory / TRIALS}/*/{{error,log}}.txt."
        )
    summary = summarise(run)
    try:
        write_summary(summary, directory / SUMMARY_FILE)
        report = write_report(run, summary, directory / REPORT_FILE)
    except OSError as error:
        raise as_disk_full(error, directory) from None
    return StudyResult(directory, run, summary, report)


def find_checkpoints(directory: Path) -> tuple[Path, ...]:
    """Checkpoints of a run's finished trials, in the study's order.

    Raises:
        WarmstartError: The directory is not a run.
    """
    folders = (state.directory / CHECKPOINT for state in statuses(directory))
    return tuple(folder for folder in folders if folder.is_dir())


def resolve_checkpoint(path: str | Path) -> Path:
    """A checkpoint's path from its own, a trial's, or a run's that holds exactly one.

    Raises:
        WarmstartError: The run holds none, or several to choose from.
    """
    path = Path(path).expanduser()
    if (path / CHECKPOINT).is_dir():
        return path / CHECKPOINT
    if not (path / TRIALS_FILE).is_file():
        return path
    found = find_checkpoints(path)
    if len(found) == 1:
        return found[0]
    if not found:
        raise WarmstartError(f"{path} holds no checkpoint: none of its trials has finished.")
    listed = "\n".join(
        f"  {state.directory / CHECKPOINT}  ({state.arm}, seed {state.seed}, {state.status.step:,} steps"
        + (f", return {state.status.last_return:,.0f})" if state.status.last_return is not None else ")")
        for state in statuses(path)
        if (state.directory / CHECKPOINT) in found
    )
    raise WarmstartError(f"{path} holds {len(found)} checkpoints; name one of them:\n{listed}")


def _entry(trial: PlannedTrial) -> dict[str, str | int]:
    return {
        "hash": trial.hash,
        "kind": trial.config.kind,
        "arm": trial.arm,
        "seed": trial.config.seed,
    }


def _compare_with_existing(study: Study, directory: Path) -> str:
    if directory.exists() and not directory.is_dir():
        raise WarmstartError(
            f"{directory} is a file; expected a directory for the run. Give another with --out."
        )
    if not directory.exists() or not any(directory.iterdir()):
        return ""
    if not (directory / STUDY_FILE).is_file():
        raise WarmstartError(
            f"{directory} is not empty and holds no study; a run needs a directory of its own. "
            "Give another with --out."
        )
    before, now = read_yaml(directory / STUDY_FILE).data, study.to_mapping()
    if before.get("name") != study.name:
        raise WarmstartError(
            f"{directory} holds another study, {before.get('name')!r}, and this one is {study.name!r}. "
            "Give another directory with --out."
        )
    differing = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    if not differing:
        return ""
    return (
        f"The study differs from the one that {directory} held, in {', '.join(differing)}: "
        "finished trials that both have are reused, the others stay on disk but aren't shown."
    )


def _copy_checkpoint(source: Path, folder: Path, identity: str) -> None:
    """Keep a copy of a given checkpoint in the run, so that its trials need nothing else."""
    target = folder / identity
    if target.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{identity}.{hashlib.sha256(str(source).encode()).hexdigest()[:8]}"
    if source.is_dir():
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(source, staged)
    else:
        shutil.copyfile(source, staged)
    staged.replace(target)
