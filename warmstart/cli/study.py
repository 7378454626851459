"""``warmstart train``, ``transfer``, ``compare`` and ``report``: everything that fills a run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from warmstart.cli.checkpoints import follow_source, load_told, source_vision
from warmstart.cli.console import (
    CheckpointPath,
    Command,
    OptionWords,
    Reading,
    Running,
    TaskText,
    as_map,
    console,
    folder_name,
    in_words_of_the_command,
    note,
    print_json,
    print_table,
    values,
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
class _Training(Running):
    """Options of everything that trains."""

    out: Path | None = None
    """Folder of the run; runs/NAME by default. Running the same command again continues it."""


@dataclass(frozen=True, kw_only=True)
class _Single(_Training):
    """Options of what trains one agent."""

    seed: int = 0
    """Seed of every random draw."""
    device: str = "cpu"
    """cpu, cuda or auto; small state policies are fastest on the CPU."""
    stop_at: float | None = None
    """Return of an evaluation at which training ends early."""
    patience: int = 0
    """Evaluations in a row without a better one after which it ends; 0 for never."""

    def protocol(self) -> Settings:
        """The study's `evaluation`."""
        return {"stop_at": self.stop_at, "patience": self.patience}


@dataclass(frozen=True)
class Train(_Single):
    """Train an agent from scratch; its checkpoint can start others."""

    task: TaskText
    """For example HalfCheetah-v5 or Hopper-v5@torso.mass=x1.5."""
    algorithm: str = "ppo"
    """ppo, sac, td3, tqc or crossq."""
    network: str | None = None
    """plain, or simba (not for ppo): residual blocks, which learn from fewer steps and take longer for
    each."""
    encoder: str | None = None
    """Frozen encoder for a task with obs=pixels, such as squeezenet1_1:weights=imagenet or the file that
    `warmstart pretrain` wrote; NatureCNN, trained from scratch, by default."""
    steps: int = 1_000_000
    """Environment steps."""
    keep_replay: bool = False
    """Whether the checkpoint keeps the replay buffer (not of ppo), for rlpd with data=replay."""
    reward: str = "task"
    """What it trains on: task, its own reward; or in its place state_entropy, or {name: state_entropy,
    neighbours: 6}. Evaluation is by the task's. `warmstart list rewards` shows them."""

    def run(self) -> int:
        """Train."""
        from warmstart.core.documents import parse_yaml
        from warmstart.experiments.study.study import Study

        reward: str | Settings = self.reward
        if self.reward.startswith("{"):
            reward = parse_yaml(self.reward, "--reward").data
        name = reward if isinstance(reward, str) else reward.get("name")
        kind = "" if name == "task" else f"-{name}"
        named: str | Settings = self.algorithm
        if self.network is not None:
            named = {"name": self.algorithm, "network": self.network}
        return _run_single(
            lambda: Study(
                name=folder_name(f"{self.task}{kind}"),
                target=self.task,
                target_steps=self.steps,
                algorithm=named,
                arms=({"method": "scratch", "reward": reward},),
                vision=self.encoder,
                seeds=[self.seed],
                device=self.device,
                keep_replay=self.keep_replay,
                evaluation=self.protocol(),
            ),
            self,
        )


@dataclass(frozen=True)
class Transfer(Reading, _Single):
    """Start an agent in a task from a checkpoint, and train it there."""

    checkpoint: CheckpointPath
    """Checkpoint directory, run, SB3 zip, rsl_rl's or mjlab's .pt, or hf:OWNER/NAME on the hub."""
    task: TaskText
    """The target task."""
    method: str = "fine_tune"
    """Transfer method; `warmstart list methods` shows them."""
    option: OptionWords = ()
    """Options of the method, such as critic_fit_steps=0 exploration={floor: -0.5}."""
    algorithm: str | None = None
    """ppo, sac, td3, tqc or crossq; the checkpoint's own by default."""
    steps: int = 250_000
    """Environment steps in the target, the fitting of the critic included."""
    source_task: str | None = None
    """Task that a foreign file was trained in, for the names and gears of its dimensions: Hopper-v5."""
    source_observation_names: tuple[str, ...] = ()
    """Names of a foreign file's observations, in order."""
    source_action_names: tuple[str, ...] = ()
    """Names of a foreign file's actions, in order."""
    observation_map: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET=SOURCE")] = ()
    """Which observation of the source each one of the target is, where names differ: -NAME turns its sign
    round, nothing after the = leaves it fresh, '*=mirror' takes the others from the body's other side."""
    action_map: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET=SOURCE")] = ()
    """The same for actions."""

    def run(self) -> int:
        """Transfer and train."""
        from warmstart.agents.checkpoints.places import find_checkpoint
        from warmstart.agents.hub.fetching import pinned
        from warmstart.agents.hub.reference import is_reference
        from warmstart.experiments.study.study import Study

        self.load_plugins(self.checkpoint)
        if self.trust_normalizer is not None:
            trust(self.trust_normalizer)
        given = pinned(self.checkpoint)
        path = find_checkpoint(given)
        found = load_told(path, self.told)
        observations = as_map("--observation-map", self.observation_map)
        actions = as_map("--action-map", self.action_map)
        options = values("--option", self.option)
        for name in ("name", "method"):
            if name in options:
                raise WarmstartError(f"--option {name}: the method is named by --method.")
        return _run_single(
            lambda: Study(
                name=f"{folder_name(self.task)}-{self.method}",
                source=given if is_reference(given) else str(path.resolve()),
                target=self.task,
                target_steps=self.steps,
                algorithm=follow_source(found, self.task, self.algorithm or found.algorithm),
                arms=({**options, "method": self.method, "name": self.method},),
                vision=source_vision(found),
                baseline=self.method,
                seeds=[self.seed],
                device=self.device,
                evaluation=self.protocol(),
                source_task=self.source_task,
                source_normalizer=None if self.trust_normalizer is None else str(self.trust_normalizer),
                source_activation=self.activation,
                source_onnx=None if self.onnx is None else str(self.onnx),
                source_observation_names=self.source_observation_names or None,
                source_action_names=self.source_action_names or None,
                observation_map=observations,
                action_map=actions,
            ),
            self,
            self.checkpoint,
        )


@dataclass(frozen=True)
class Compare(_Training):
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


def _run_single(make_study: "Callable[[], Study]", options: _Single, *sources: Path) -> int:
    from warmstart.core.bounds import SettingError
    from warmstart.experiments.run.reading import find_checkpoints
    from warmstart.experiments.run.run import run_study

    plugins = options.load_plugins(*sources)
    try:
        result = run_study(make_study(), options.out, plugins=plugins, **options.running)
    except SettingError as wrong:
        raise WarmstartError(in_words_of_the_command(wrong)) from None
    status = show(result, options.json)
    if not options.json:
        for curve in result.run.curves:
            first, last = curve.returns[[0, -1]]
            console().print(f"Return at the end: {last:,.1f} (at the start {first:,.1f})")
            if curve.stopped:
                console().print(f"Training ended early, after {curve.stopped_at:,} steps: {curve.stopped}.")
        for path in find_checkpoints(result.directory):
            console().print(f"Checkpoint: {path}")
    return status


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
