"""Films of a policy acting in a task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import imageio.v2 as imageio
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.envs.robots.table import robots
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec

SUFFIXES = (".mp4", ".gif")


@dataclass(frozen=True)
class Film:
    """What was written."""

    path: Path
    """The file."""
    frames: int
    """Number of frames."""
    fps: int
    """Frames per second, real time."""
    episode_return: float
    """Undiscounted return of what is shown."""


def record_video(
    policy: Policy, task: Task, path: Path, seconds: float = 10.0, seed: int = 0, size: int = 480
) -> Film:
    """Film one episode of a policy, in real time.

    Args:
        policy: Who acts, deterministically.
        task: Where.
        path: File to write, ``.mp4`` or ``.gif``.
        seconds: Longest length in seconds of simulated time.
        seed: Seed of the episode.
        size: Width and height of MuJoCo tasks' frames in pixels; even for ``.mp4``.

    Raises:
        WarmstartError: Another suffix, a length that isn't positive, or no rendering library.
    """
    if path.suffix not in SUFFIXES:
        raise WarmstartError(f"A film is written as {' or '.join(SUFFIXES)}, found {path.name!r}.")
    if seconds <= 0 or size < 16 or size % 2:
        raise WarmstartError(
            f"Expected a positive length and an even size of at least 16 pixels, found {seconds} s, {size}."
        )
    env = policy.wrap(make_vec(_sized(task, size), 1, seed, n_threads=1, render_mode="rgb_array"))
    try:
        fps = int(env.metadata.get("render_fps") or 30)
        observations, _ = env.reset(seed=seed)
        frames: list[Any] = [_frame(env)]
        total, ended = 0.0, False
        while not ended and len(frames) < seconds * fps:
            observations, rewards, terminations, truncations, _ = env.step(policy.predict(observations))
            total += float(rewards[0])
            ended = bool(terminations[0] or truncations[0])
            if not ended:
                frames.append(_frame(env))
    finally:
        env.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        if path.suffix == ".gif":
            imageio.mimwrite(staged, frames, duration=1000 / fps, loop=0)
        else:
            imageio.mimwrite(staged, frames, fps=fps, macro_block_size=2, quality=8, ffmpeg_log_level="quiet")
        staged.replace(path)
    except OSError as error:  # a full disk reaches us as the encoder's broken pipe
        staged.unlink(missing_ok=True)
        reason = str(error).partition("FFMPEG")[0].strip()
        raise WarmstartError(f"{path} can't be written ({reason}). Is the disk full?") from None
    return Film(path, len(frames), fps, total)


def _sized(task: Task, size: int) -> Task:
    """The task with frames of this size, where it takes such options."""
    if task.id.removeprefix("warmstart/") not in robots():
        return task
    named = {name for name, _ in task.options}
    extra = tuple((name, size) for name in ("width", "height") if name not in named)
    return Task(task.id, task.options + extra, task.context)


def _frame(env: VectorEnv[Any, Any, Any]) -> NDArray[np.uint8]:
    try:
        frames: Any = env.render()
    except gymnasium.error.DependencyNotInstalled as missing:
        raise WarmstartError(f"Drawing this task needs another package. {missing}") from None
    return np.asarray(frames[0])
