"""``warmstart train``, ``transfer``, ``compare``, ``report`` and ``status``: everything that fills a run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from warmstart.console import Command, console, folder_name, note, print_json, print_table
from warmstart.envs.errors import WarmstartError

if TYPE_CHECKING:
    from warmstart.experiments.run import StudyResult
    from warmstart.experiments.study import Study
    from warmstart.experiments.summary import Summary


@dataclass(frozen=True, kw_only=True)
class _Training(Command):
    """Options of everything that trains."""

    out: Path | None = None
    """Folder of the run; runs/NAME by default. Running the same command again continues it."""
    workers: int | None = None
    """Trials side by side; one per core by default."""
    plugin: tuple[Path, ...] = ()
    """Python files that register methods, tasks or encoders of your own; their hashes are recorded."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class Train(_Training):
    """Train an agent from scratch; its checkpoint can start others."""

    task: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="TASK")]]
    """For example HalfCheetah-v5 or Hopper-v5@torso.mass=x1.5."""
    algorithm: str = "ppo"
    """ppo, sac or td3."""
    steps: int = 1_000_000
    """Environment steps."""
    seed: int = 0
    """Seed of every random draw."""
    device: str = "cpu"
    """cpu, cuda or auto; small state policies are fastest on the CPU."""

    def run(self) -> int:
        """Train."""
        from warmstart.experiments.study import Study

        study = Study(
            name=folder_name(self.task),
            target=self.task,
            target_steps=self.steps,
            algorithm=self.algorithm,
            arms=("scratch",),
            seeds=[self.seed],
            device=self.device,
        )
        return _run_single(study, self)


@dataclass(frozen=True)
class Transfer(_Training):
    """Start an agent in a task from a checkpoint, and train it there."""

    checkpoint: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="CHECKPOINT")]]
    """Checkpoint directory, run, or SB3 zip."""
    task: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="TASK")]]
    """The target task."""
    method: str = "fine_tune"
    """Transfer method; `warmstart list methods` shows them."""
    algorithm: str | None = None
    """ppo, sac or td3; the checkpoint's own by default."""
    steps: int = 250_000
    """Environment steps in the target, the fitting of the critic included."""
    seed: int = 0
    """Seed of every random draw."""
    device: str = "cpu"
    """cpu, cuda or auto; small state policies are fastest on the CPU."""

    def run(self) -> int:
        """Transfer and train."""
        from warmstart.agents.checkpoints import load_checkpoint
        from warmstart.experiments.run import resolve_checkpoint
        from warmstart.experiments.study import Study

        path = resolve_checkpoint(self.checkpoint)
        study = Study(
            name=f"{folder_name(self.task)}-{self.method}",
            source=str(path),
            target=self.task,
            target_steps=self.steps,
            algorithm=self.algorithm or load_checkpoint(path).algorithm,
            arms=(self.method,),
            baseline=self.method,
            seeds=[self.seed],
            device=self.device,
        )
        return _run_single(study, self)


@dataclass(frozen=True)
class Compare(_Training):
    """Run a study: source agents, then warm and cold arms in the target, then the report with its verdict."""

    study: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="STUDY")]]
    """Name of a preset (`warmstart list presets`), or a YAML file."""
    steps: int | None = None
    """Environment steps of every arm in the target, in place of the study's."""
    source_steps: int | None = None
    """Environment steps of every source agent, in place of the study's."""
    seed: tuple[int, ...] = ()
    """Seeds, in place of the study's."""
    device: str | None = None
    """cpu, cuda or auto, in place of the study's."""
    dry_run: bool = False
    """Say what would be trained, and write nothing."""

    def run(self) -> int:
        """Compare."""
        from warmstart.experiments.estimate import estimate_seconds
        from warmstart.experiments.plugins import load_plugins
        from warmstart.experiments.run import plan, run_study
        from warmstart.experiments.study import load_study

        load_plugins(self.plugin)
        study: Study | str = self.study
        changes: dict[str, Any] = {
            "target_steps": self.steps,
            "source_steps": self.source_steps,
            "seeds": list(self.seed) or None,
            "device": self.device,
        }
        given = {key: value for key, value in changes.items() if value is not None}
        if given:
            study = replace(load_study(self.study), **given)
        if self.dry_run:
            made = plan(study, plugins=self.plugin)
            seconds = estimate_seconds(made, self.workers)
            rows = [
                {
                    "trial": trial.hash,
                    "arm": trial.arm,
                    "seed": trial.config.seed,
                    "task": trial.config.task,
                    "steps": trial.config.steps,
                }
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
            return 0
        result = run_study(study, self.out, workers=self.workers, plugins=self.plugin)
        return _show(result, self.json)


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
        from warmstart.experiments.compile_report import compile_report

        if not self.runs:
            raise WarmstartError("Expected a run's folder, or curves as ARM=FILE; found nothing.")
        written = compile_report(
            self.runs, out=self.out, baseline=self.baseline, tag=self.tag, figures=self.figures
        )
        if self.json:
            print_json(written.summary.to_json())
            return 0
        _print_verdicts(written.summary)
        for path in written.paths:
            note(str(path))
        return 0


@dataclass(frozen=True)
class Status(Command):
    """How far a run is: every trial with its state, step, speed and last return."""

    path: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run's folder."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Show it."""
        from warmstart.experiments.run import statuses

        rows = [state.to_json() for state in statuses(self.path)]
        if self.json:
            print_json(rows)
            return 0
        columns = ["arm", "seed", "state", "step", "total", "steps_per_second", "last_return", "error"]
        print_table(str(self.path), columns, [[_cell(row[c]) for c in columns] for row in rows])
        return 0


def _run_single(study: "Study", options: _Training) -> int:
    from warmstart.experiments.run import find_checkpoints, run_study

    result = run_study(study, options.out, workers=options.workers, plugins=options.plugin)
    status = _show(result, options.json)
    if not options.json:
        for curve in result.run.curves:
            console().print(
                f"Return at the end: {curve.returns[-1]:,.1f} (at the start {curve.returns[0]:,.1f})"
            )
        for path in find_checkpoints(result.directory):
            console().print(f"Checkpoint: {path}")
    return status


def _show(result: "StudyResult", as_json: bool) -> int:
    """Print a study's outcome; 1 if a trial failed."""
    if as_json:
        print_json(
            {"run": str(result.directory), "report": str(result.report), "summary": result.summary.to_json()}
        )
    else:
        _print_verdicts(result.summary)
        console().print(f"Report: {result.report}")
    for failure in result.run.failures:
        note(f"failed: {failure.arm}, seed {failure.seed}: {failure.error}")
    return 1 if result.run.failures else 0


def _print_verdicts(summary: "Summary") -> None:
    for arm in summary.compared:
        console().print(str(arm.headline))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value or "")
