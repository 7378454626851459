"""``warmstart evaluate`` and ``video``: a checkpoint acts in a task."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from warmstart.cli.console import Command, console, folder_name, note, print_json
from warmstart.core.errors import WarmstartError

if TYPE_CHECKING:
    from warmstart.agents.checkpoints.checkpoint import Checkpoint
    from warmstart.agents.checkpoints.policy import Policy
    from warmstart.envs.tasks.task import Task

CheckpointPath = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="CHECKPOINT")]]
TaskText = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="TASK")]]


@dataclass(frozen=True)
class Evaluate(Command):
    """How well a checkpoint does in a task: undiscounted return over episodes with fixed seeds."""

    checkpoint: CheckpointPath
    """Checkpoint directory, run, or SB3 zip."""
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
    trust_normalizer: Path | None = None
    """VecNormalize pickle of an SB3 zip. Loading a pickle runs code: name one only if you trust it."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Evaluate."""
        from warmstart.agents.evaluation import evaluate
        from warmstart.envs.tasks.task import Task

        if self.episodes < 1 or self.seed < 0:
            raise WarmstartError(
                f"Expected at least 1 episode and a seed of 0 or more, found {self.episodes} and {self.seed}."
            )
        task = Task.parse(self.task)
        policy = _policy(self.checkpoint, task, self.device, self.trust_normalizer)
        result = evaluate(
            policy, task, episodes=self.episodes, seed=self.seed, deterministic=not self.stochastic
        )
        if self.json:
            print_json(
                {
                    "checkpoint": str(self.checkpoint),
                    "task": str(task),
                    "seed": self.seed,
                    "mean": result.mean,
                    "std": result.std,
                    "returns": result.returns,
                    "lengths": result.lengths,
                }
            )
        else:
            console().print(
                f"{task}: return {result.mean:.1f} ± {result.std:.1f} (standard deviation over "
                f"{self.episodes} episodes), mean length {result.lengths.mean():.0f} steps"
            )
        return 0


@dataclass(frozen=True)
class Video(Command):
    """A film of a checkpoint acting in a task."""

    checkpoint: CheckpointPath
    """Checkpoint directory, run, or SB3 zip."""
    task: TaskText
    """For example HalfCheetah-v5."""
    out: Path | None = None
    """File to write: .mp4 or .gif; TASK.mp4 in the current folder by default."""
    seconds: float = 10.0
    """Longest length, in seconds of simulated time; an episode may end before."""
    seed: int = 0
    """Seed of the episode."""
    size: int = 480
    """Width and height in pixels."""
    trust_normalizer: Path | None = None
    """VecNormalize pickle of an SB3 zip. Loading a pickle runs code: name one only if you trust it."""

    def run(self) -> int:
        """Film it."""
        from warmstart.agents.video import record_video
        from warmstart.envs.tasks.task import Task

        task = Task.parse(self.task)
        out = self.out or Path(f"{folder_name(str(task))}.mp4")
        policy = _policy(self.checkpoint, task, "cpu", self.trust_normalizer)
        film = record_video(policy, task, out, seconds=self.seconds, seed=self.seed, size=self.size)
        note(f"{film.path}: {film.frames} frames at {film.fps} per second, return {film.episode_return:.1f}")
        return 0


def _policy(path: Path, task: "Task", device: str, trust_normalizer: Path | None) -> "Policy":
    """The policy of a checkpoint (of a run: its only one), checked to fit the task."""
    from warmstart.agents.build import choose_device
    from warmstart.agents.checkpoints.loading import load_checkpoint
    from warmstart.experiments.run.run import resolve_checkpoint

    checkpoint = load_checkpoint(resolve_checkpoint(path), trust_normalizer=trust_normalizer)
    if checkpoint.format == "sb3" and checkpoint.normalizer is None:
        note(
            "An SB3 zip holds no VecNormalize statistics: observations are passed on as they are. If it was "
        )
        note("trained with VecNormalize, give its file with --trust-normalizer.")
    check_fit(path, checkpoint, task)
    return checkpoint.policy(choose_device(device, checkpoint.observation_space))


def check_fit(path: Path, checkpoint: "Checkpoint", task: "Task") -> None:
    """Raise where a checkpoint's policy doesn't observe or act as a task's environments do."""
    from warmstart.envs.vector import make_vec

    env = make_vec(task, 1, n_threads=1)
    try:
        env = env if checkpoint.vision is None else checkpoint.vision.wrap(env)
        for kind in ("observation", "action"):
            _check_fit(path, checkpoint, task, env, kind)
    finally:
        env.close()


def _check_fit(path: Path, checkpoint: "Checkpoint", task: "Task", env: Any, kind: str) -> None:
    """Raise where observations or actions of checkpoint and task differ in shape, kind or names."""
    own, there = getattr(checkpoint, f"{kind}_space"), getattr(env, f"single_{kind}_space")
    trained = checkpoint.task or "an unnamed task"
    advice = "`warmstart transfer` carries the policy over, matching dimensions by name."
    if (
        type(own) is not type(there)
        or own.shape != there.shape
        or getattr(own, "n", 0) != getattr(there, "n", 0)
    ):
        raise WarmstartError(
            f"The policy in {path} (trained in {trained}) has {kind}s {_size(own)}, those of {task} are "
            f"{_size(there)}. {advice}"
        )
    layout, theirs = getattr(checkpoint, f"{kind}_layout"), getattr(env, f"{kind}_layout")
    if layout is not None and theirs is not None and layout.names != theirs.names:
        other = next((a, b) for a, b in zip(layout.names, theirs.names, strict=True) if a != b)
        raise WarmstartError(
            f"The policy in {path} (trained in {trained}) has other {kind}s than {task}: {other[0]} where "
            f"the task has {other[1]}. {advice}"
        )


def _size(space: Any) -> str:
    return f"{type(space).__name__}({space.n})" if hasattr(space, "n") else f"of shape {space.shape}"
