"""Films of policies acting in a task: one, or several side by side."""

import itertools
import math
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import imageio.v2 as imageio
import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from warmstart.agents.checkpoints.policy import Policy
from warmstart.core.errors import WarmstartError
from warmstart.core.progress import Progress
from warmstart.core.threads import available_cores
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.frames.gl import mesa_threads
from warmstart.envs.frames.painters import Painter, film_painter
from warmstart.envs.frames.rendering import FILM, Frame, FrameRenderer
from warmstart.envs.pixels import compute_positions
from warmstart.envs.robots.table import robots
from warmstart.envs.simulation.fields import STATE
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec

SUFFIXES = (".mp4", ".gif")
MOST_FPS = 50
"""Frames per second of film at most; a task that acts more often is shown every second step, or third."""
_GIF_TICK = 0.01
"""A .gif shows its frames for whole hundredths of a second."""


@dataclass(frozen=True)
class Film:
    """What was written."""

    path: Path
    """The file."""
    frames: int
    """Number of frames."""
    fps: float
    """Frames per second, real time."""
    returns: Mapping[str, float]
    """Undiscounted return of what is shown, by name."""


@dataclass(frozen=True)
class _Shot:
    """One policy in one frame."""

    name: str
    picture: "Future[Frame]"
    total: float
    ended: bool


def record_video(
    policies: Policy | Mapping[str, Policy],
    task: Task,
    path: Path,
    seconds: float = 10.0,
    seed: int = 0,
    size: int = 480,
    progress: Progress | None = None,
) -> Film:
    """Film one episode of a policy in real time, or of several side by side, in the same world.

    What is shown is simulated here and drawn by threads, while the film is being written. A policy whose
    episode ended keeps its last frame until the last one's has.

    Args:
        policies: Who acts, deterministically; several by the names that are written above them.
        task: Where.
        path: File to write, ``.mp4`` or ``.gif``.
        seconds: Longest length in seconds of simulated time.
        seed: Seed of the episode, the same for all.
        size: Width and height of MuJoCo tasks' frames in pixels; even for ``.mp4``.
        progress: Shows how far it is.

    Raises:
        WarmstartError: Another suffix, a length that isn't positive, no policy, or no rendering library.
    """
    if path.suffix not in SUFFIXES:
        raise WarmstartError(f"A film is written as {' or '.join(SUFFIXES)}, found {path.name!r}.")
    if not 0 < seconds < math.inf or size < 16 or size % 2:
        raise WarmstartError(
            f"Expected a positive length and an even size of at least 16 pixels, found {seconds} s, {size}."
        )
    named = policies if isinstance(policies, Mapping) else {"": policies}
    if not named:
        raise WarmstartError("Expected at least one policy to film, found none.")
    advance = (progress or Progress()).stage(f"Filming {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.stem}.part{path.suffix}")
    with ExitStack() as open_ones:
        open_ones.callback(staged.unlink, missing_ok=True)
        crew = _Crew(open_ones, task, size)
        actors = [_Actor(name, policy, seed, crew) for name, policy in named.items()]
        for actor in actors:
            open_ones.callback(actor.env.close)
        period = frame_period(actors[0].period, path.suffix)
        frames = math.ceil(seconds / period - 1e-9)
        if limit := getattr(actors[0].env, "time_limit", None):
            frames = min(frames, math.ceil(limit * actors[0].period / period - 1e-9))
        try:
            done = 0
            with _writer(staged, period) as writer:
                for shots in _shots(actors, period, frames, 2 * crew.threads):
                    writer.append_data(_composed(shots))
                    done += 1
                    advance(done, max(frames, done + 1))
            staged.replace(path)
        except OSError as error:  # a full disk reaches us as the encoder's broken pipe
            reason = str(error).partition("FFMPEG")[0].strip()
            raise WarmstartError(f"{path} can't be written ({reason}). Is the disk full?") from None
        advance(done, done)
        return Film(path, done, 1 / period, {actor.name: actor.total for actor in actors})


def frame_period(control: float, suffix: str = ".mp4") -> float:
    """Seconds between the frames of a film in real time: whole control steps, at most 50 frames per second.

    Args:
        control: Seconds of a control step.
        suffix: Of the file; of a ``.gif`` they are whole hundredths, rounded up.
    """
    period = control * max(1, math.ceil(1 / (control * MOST_FPS) - 1e-6))
    return math.ceil(period / _GIF_TICK - 1e-6) * _GIF_TICK if suffix == ".gif" else period


class _Crew:
    """The threads that draw a film's batched task; they are made when the first frame is asked for."""

    def __init__(self, open_ones: ExitStack, task: Task, size: int) -> None:
        self.threads = available_cores()
        self.task = _sized(task, size)
        self._open_ones = open_ones
        self._painters: Iterator[Painter] | None = None

    def draw(self, env: BatchedEnv) -> "Future[Frame]":
        """Have the current state of the first simulation drawn."""
        if self._painters is None:  # all simulations of a film have one world
            model = env.simulations.materialize(0)[0]
            painters = []
            with mesa_threads(self.threads):
                for _ in range(self.threads):
                    painters.append(film_painter(env.robot, model, FILM))
                    self._open_ones.callback(painters[-1].close)
                    painters[-1].submit(id).result()  # the first says if nothing can be drawn
            self._painters = itertools.cycle(painters)
        state: NDArray[np.float64] = env.simulations.state[0].copy()

        def job(renderer: FrameRenderer) -> Frame:
            mujoco.mj_setState(renderer.model, renderer.data, state, STATE)
            compute_positions(renderer.model, renderer.data)
            return renderer.draw(renderer.model, renderer.data)

        return next(self._painters).submit(job)


class _Actor:
    """One policy's episode, played as far as it is filmed."""

    def __init__(self, name: str, policy: Policy, seed: int, crew: _Crew) -> None:
        self.name, self._policy, self._crew = name, policy, crew
        self.env = policy.wrap(make_vec(crew.task, 1, seed, n_threads=1, render_mode="rgb_array"))
        rate = float(self.env.metadata.get("render_fps") or 30)
        inside: Any = self.env.unwrapped
        self.period = float(inside.sim.dt[0]) if isinstance(inside, BatchedEnv) else 1 / rate
        self.total, self.ended, self._steps = 0.0, False, 0
        self._observations, _ = self.env.reset(seed=seed)
        self._picture = self._draw()

    def shot(self, step: int) -> _Shot:
        """Play up to a control step, and have it drawn; where the episode ended before, its last frame."""
        while self._steps < step and not self.ended:
            actions = self._policy.predict(self._observations)
            self._observations, rewards, terminations, truncations, _ = self.env.step(actions)
            self._steps += 1
            self.total += float(rewards[0])
            self.ended = bool(terminations[0] or truncations[0])
        if step and not self.ended:
            self._picture = self._draw()
        return _Shot(self.name, self._picture, self.total, self.ended)

    def _draw(self) -> "Future[Frame]":
        inside: Any = self.env.unwrapped
        if isinstance(inside, BatchedEnv):
            return self._crew.draw(inside)
        picture: Future[Frame] = Future()
        try:
            picture.set_result(np.asarray(self.env.render()[0]))  # type: ignore[index]
        except gymnasium.error.DependencyNotInstalled as missing:
            raise WarmstartError(f"Drawing this task needs another package. {missing}") from None
        return picture


def _shots(actors: list[_Actor], period: float, frames: int, ahead: int) -> Iterator[list[_Shot]]:
    """What each frame shows, up to the end of the last episode; so many frames are being drawn ahead."""
    waiting: deque[list[_Shot]] = deque()
    for frame in range(frames):
        waiting.append([actor.shot(round(frame * period / actor.period)) for actor in actors])
        if all(actor.ended for actor in actors):
            waiting.pop()
            break
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def _composed(shots: list[_Shot]) -> Frame:
    """One frame of the film, as wide as all beside one another. Shape: (height, width, 3)."""
    if len(shots) == 1 and not shots[0].name:
        return shots[0].picture.result()
    return np.concatenate([_labelled(shot) for shot in shots], axis=1)


def _labelled(shot: _Shot) -> Frame:
    """A frame under its policy's name and return so far. Shape: (height, width, 3)."""
    image = Image.fromarray(shot.picture.result())
    height = max(14, image.height // 18)
    ImageDraw.Draw(image, "RGBA").rectangle((0, 0, image.width, height), fill=(0, 0, 0, 150))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(height * 0.7)
    middle, margin = height / 2, height // 3
    told, name = f"return {shot.total:.1f}{', ended' if shot.ended else ''}", shot.name
    room = image.width - 4 * margin - font.getlength(told)
    while len(name) > 1 and font.getlength(name) > room:
        name = f"{name[:-2]}…"
    draw.text((margin, middle), name, "white", font, anchor="lm")
    draw.text((image.width - margin, middle), told, "white", font, anchor="rm")
    return np.asarray(image)


def _writer(path: Path, period: float) -> Any:
    """Writes frames to a file as they come; a context manager."""
    if path.suffix == ".gif":
        return imageio.get_writer(path, mode="I", duration=1000 * period, loop=0)
    how: dict[str, Any] = {"macro_block_size": 2, "quality": 8, "ffmpeg_log_level": "quiet"}
    return imageio.get_writer(path, fps=1 / period, output_params=["-preset", "veryfast"], **how)


def _sized(task: Task, size: int) -> Task:
    """The task with frames of this size, where it takes such options."""
    if task.id.removeprefix("warmstart/") not in robots():
        return task
    named = {name for name, _ in task.options}
    extra = tuple((name, size) for name in ("width", "height") if name not in named)
    return Task(task.id, task.options + extra, task.context)
