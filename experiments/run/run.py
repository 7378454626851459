"""From a study to a run directory with records, summary and report; and from a run directory back to data."""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from warmstart.agents.checkpoints.places import TRIALS, TRIALS_FILE
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.files import DiskFullError, is_disk_full, read_json, write_json, write_text
from warmstart.core.plain import read
from warmstart.core.plugins import load_plugins, store_plugins
from warmstart.core.progress import Mode, Progress, make_progress
from warmstart.experiments.analysis.curves import Failure
from warmstart.experiments.engines.base import Engine
from warmstart.experiments.engines.table import chosen_engine
from warmstart.experiments.records.config import PlannedTrial
from warmstart.experiments.records.records import CONFIG
from warmstart.experiments.records.tensorboard import link_runs
from warmstart.experiments.report.results import Results, write_results
from warmstart.experiments.run.predicting import predict
from warmstart.experiments.run.reading import STUDY_FILE, load_run, shown_study
from warmstart.experiments.run.scheduler import Scheduler, StudyInterruptedError
from warmstart.experiments.study.checks import check_buildable
from warmstart.experiments.study.loading import study_document
from warmstart.experiments.study.plan import Plan, make_plan
from warmstart.experiments.study.study import Study
from warmstart.experiments.trial.worlds import keep_reality

RUNS = Path("runs")


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
    engine: str | Settings | Engine | None = None,
) -> Results:
    """Run a study, or continue it: finished trials are not repeated.

    Args:
        study: A study, a preset's name, or the path of a YAML file or of a run directory.
        out: Run directory; None for `runs/NAME` below the working directory.
        workers: Trials at a time, each in a process of its own; None for what the engine has room for, as
            many as there are cores here.
        plugins: Plugin files to load, here and in the trials.
        progress: `auto` (a live table on a terminal, lines elsewhere), `live`, `plain`, `none`.
        engine: Who runs the trials: a name, a mapping of its `name` and settings, or an engine; None for the
            study's, which is the local one where it says nothing. A mapping without a name changes settings
            of the study's.

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
    runs_on = chosen_engine(engine, made.study.engine)
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
            Scheduler(directory, made.trials, workers, shown, runs_on).run_all()
            predict(directory, made.trials, made.study.baseline, shown)
    except KeyboardInterrupt:
        raise StudyInterruptedError(
            f"Interrupted. Nothing recorded is lost: run the same command again to continue {directory}."
        ) from None
    return conclude(directory)


def prepare(made: Plan, directory: Path) -> str:
    """Lay out a run directory: study, list of trials, their configurations, copies of what they need.

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
        for name, path in made.files.items():
            _copy(path, directory / name)
        if made.reality is not None:
            keep_reality(made.reality, directory)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(directory) from None
        raise WarmstartError(f"{directory} can't be written: {error}.") from None
    write_text(directory / STUDY_FILE, made.study.to_yaml("Written by warmstart: every setting of this run."))
    listed = {"trials": [_entry(trial) for trial in made.trials], "notes": list(made.notes)}
    write_json(directory / TRIALS_FILE, listed, durable=True)
    link_runs(directory, made.trials)
    return difference


def conclude(directory: Path) -> Results:
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
    return write_results(run, directory)


def _entry(trial: PlannedTrial) -> dict[str, str | int]:
    return {"hash": trial.hash, "kind": trial.config.kind, "arm": trial.arm, "seed": trial.config.seed}


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
    before, now = shown_study(directory), study.to_mapping()
    if before.get("name") != study.name:
        raise WarmstartError(
            f"{directory} holds another study, {before.get('name')!r}, and this one is {study.name!r}. "
            "Give another directory with --out."
        )
    keys = dict.fromkeys([*before, *now])
    differing = [key for key in keys if key != "engine" and before.get(key) != now.get(key)]
    if not differing:
        return ""
    return (
        f"The study differs from the one that {directory} held, in {', '.join(differing)}: "
        "finished trials that both have are reused, the others stay on disk but aren't shown."
    )


def _copy(source: Path, target: Path) -> None:
    """Keep a copy of a given file or folder in the run, so that its trials need nothing else."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.{hashlib.sha256(str(source).encode()).hexdigest()[:8]}")
    if source.is_dir():
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(source, staged)
    else:
        shutil.copyfile(source, staged)
    staged.replace(target)
