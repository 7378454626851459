"""``warmstart evaluate``, ``similarity`` and ``video``: a checkpoint acts in a task."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from warmstart.cli.checkpoints import checkpoint_path, load_policies, load_policy, load_told
from warmstart.cli.console import (
    Beside,
    CheckpointPath,
    Printing,
    Reading,
    TaskText,
    as_map,
    check_numbers,
    console,
    folder_name,
    note,
    print_json,
    print_table,
)
from warmstart.core.errors import WarmstartError
from warmstart.core.progress import make_progress


@dataclass(frozen=True)
class Evaluate(Reading, Printing):
    """How well a checkpoint does in a task: undiscounted return over episodes with fixed seeds."""

    checkpoint: CheckpointPath
    """Checkpoint directory, run, SB3 zip, rsl_rl's or mjlab's .pt, or hf:OWNER/NAME on the hub."""
    task: TaskText
    """For example HalfCheetah-v5 or HalfCheetah-v5@gravity=x0.5,torso.mass=x1.5."""
    episodes: int = 16
    """Episodes."""
    seed: int = 0
    """Seed of the first episode; the next ones have the next seeds."""
    stochastic: bool = False
    """Sample actions in place of taking the most likely ones."""
    device: str = "cpu"
    """Where the network runs: cpu, cuda or auto."""

    def run(self) -> int:
        """Evaluate."""
        from warmstart.agents.evaluation import evaluate
        from warmstart.envs.tasks.task import Task

        check_numbers(self.episodes, self.seed)
        self.load_plugins(self.checkpoint)
        task = Task.parse(self.task)
        policy = load_policy(self.checkpoint, task, self.device, self.told)
        result = evaluate(
            policy, task, episodes=self.episodes, seed=self.seed, deterministic=not self.stochastic
        )
        if self.json:
            about = {"checkpoint": str(self.checkpoint), "task": str(task), "seed": self.seed}
            measured = ("mean", "std", "returns", "lengths")
            print_json({**about, **{key: getattr(result, key) for key in measured}})
        else:
            console().print(
                f"{task}: return {result.mean:.1f} ± {result.std:.1f} (standard deviation over "
                f"{self.episodes} episodes), mean length {result.lengths.mean():.0f} steps"
            )
        return 0


@dataclass(frozen=True)
class Similarity(Reading, Printing):
    """Will it help? What a few thousand steps in a task say of a checkpoint, before any training."""

    checkpoint: CheckpointPath
    """Checkpoint directory, run, SB3 zip, rsl_rl's or mjlab's .pt, or hf:OWNER/NAME on the hub."""
    task: TaskText
    """The target, for example HalfCheetah-v5@gravity=x0.5."""
    episodes: int = 8
    """Environments in which the source and chance play the target once, and the source's own task, and the
    source the target once more as it explores."""
    seed: int = 0
    """Seed of the first episode."""
    algorithm: str | None = None
    """What the target would be trained with; the source's by default."""
    observation_map: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET=SOURCE")] = ()
    """Which observation of the source each one of the target is, where names differ; see transfer."""
    action_map: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET=SOURCE")] = ()
    """The same for actions."""
    source_task: str | None = None
    """Where the checkpoint was trained, if it doesn't say."""
    steps: int | None = None
    """Environment steps that the target would be trained for; by default as many as the run's source was. The
    evaluations of a checkpoint that lies in its run say how fast a cold start is."""

    def run(self) -> int:
        """Measure."""
        from warmstart.experiments.run.predicting import learning_of
        from warmstart.transfer.similarity.similarity import similarity

        check_numbers(self.episodes, self.seed)
        if self.steps is not None and self.steps < 1:
            raise WarmstartError(f"--steps: expected at least 1, found {self.steps}.")
        self.load_plugins(self.checkpoint)
        source = load_told(self.checkpoint, self.told)
        learning = None if source.path is None else learning_of(source.path)
        if self.steps is not None and learning is None:
            note("--steps says nothing here: the checkpoint lies in no run that tells how it learnt.")
        found = similarity(
            source,
            self.task,
            episodes=self.episodes,
            seed=self.seed,
            algorithm=self.algorithm,
            observation_map=as_map("--observation-map", self.observation_map),
            action_map=as_map("--action-map", self.action_map),
            source_task=self.source_task,
            learning=learning,
            budget=self.steps,
        )
        if self.json:
            print_json(found.to_json())
            return 0
        rows = [
            (each.name, _number(each.value), f"{_number(each.low)} to {_number(each.high)}", each.meaning)
            if each.value == each.value
            else (each.name, "—", "", each.meaning)
            for each in found.measures
        ]
        print_table(f"{found.source} → {found.target}", ["measure", "value", "95%", "what it means"], rows)
        predicted, low, high = map(_number, (found.predicted, found.predicted_low, found.predicted_high))
        unknown = math.isnan(found.predicted)
        said = "" if unknown else f"Predicted benefit: {predicted} ({low} to {high}). "
        console().print(f"{said}Outlook: {found.outlook}. Take {found.method}. {found.reason}")
        for remark in found.notes:
            note(remark)
        note(f"{found.steps:,} steps were taken in the target.")
        return 0


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


@dataclass(frozen=True)
class Video(Reading):
    """A film of a checkpoint acting in a task, or of several side by side."""

    checkpoint: CheckpointPath
    """Checkpoint directory, run, SB3 zip, rsl_rl's or mjlab's .pt, or hf:OWNER/NAME on the hub;
    NAME=CHECKPOINT gives it a name."""
    task: TaskText
    """For example HalfCheetah-v5."""
    beside: Beside = ()
    """Further checkpoints, shown beside it with the same seed, each under its name and its return so far."""
    out: Path | None = None
    """File to write: .mp4 or .gif; TASK.mp4 in the current folder by default."""
    seconds: float = 10.0
    """Longest length, in seconds of simulated time; an episode may end before."""
    seed: int = 0
    """Seed of the episode."""
    size: int = 480
    """Width and height in pixels, of each where there are several."""

    def run(self) -> int:
        """Film it."""
        from warmstart.agents.video import record_video
        from warmstart.envs.tasks.task import Task

        check_numbers(1, self.seed)
        words = (str(self.checkpoint), *(word for words in self.beside for word in words))
        self.load_plugins(*map(checkpoint_path, words))
        task = Task.parse(self.task)
        out = self.out or Path(f"{folder_name(str(task))}.mp4")
        named = load_policies(words, task, self.told)
        policies = named if self.beside else next(iter(named.values()))
        with make_progress() as progress:
            film = record_video(
                policies, task, out, seconds=self.seconds, seed=self.seed, size=self.size, progress=progress
            )
        returns = ", ".join(f"{name} {total:.1f}".strip() for name, total in film.returns.items())
        note(f"{film.path}: {film.frames} frames at {film.fps:.4g} per second, return {returns}")
        return 0
