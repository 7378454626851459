"""Frames of a task beside its state, acted in at random or by a policy that observes in its own way.

For probing encoders, and for pretraining them from several tasks.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.envs.describe import describe
from warmstart.envs.frames.options import state_task
from warmstart.envs.robots.table import robots
from warmstart.envs.simulation.layouts import Dimension
from warmstart.envs.single.pixels import is_frame
from warmstart.envs.tasks.hooks import ContextSource
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.transfer.frames.actor import actor_in, state_dimensions
from warmstart.transfer.frames.collect import collect_frames
from warmstart.transfer.frames.data import FrameData, join_frames

Env = VectorEnv[Any, Any, Any]
SIZE = 84
"""Height and width of the frames of tasks that draw their own, where the task names no size."""
_WINDOWS, _LENGTH, _ROUND, _FEWEST_ENVS = 12, 60, 30, 10
"""Scattered frames: most windows of one environment, its steps, environments at a time, and at least."""


def pixel_task(task: Task) -> Task:
    """A task as an encoder is probed and pretrained in: it shows frames, and its state if that is numbers.

    Args:
        task: Any; the kind of its observations is replaced.

    Raises:
        WarmstartError: It observes grey images, or can't be made or drawn.
    """
    described = describe(state_task(task))
    space, modes = described.observation_space, described.render_modes
    if isinstance(space, spaces.Box) and not is_numbers(space) and not is_frame(space):
        raise WarmstartError(
            f"{task} observes images of shape {space.shape} and type {space.dtype}: expected colour, uint8 "
            "of shape (height, width, 3). Ask the environment for colour images, not grey ones."
        )
    if "rgb_array" not in modes and not is_frame(space):
        raise WarmstartError(
            f"{task} can't be drawn: expected an environment that renders rgb_array, found the render modes "
            f"{', '.join(modes) or 'none'}."
        )
    task = task.with_options(obs="pixels+state" if is_numbers(space) else "pixels")
    draws_itself = task.id.removeprefix("warmstart/") not in robots()
    return task.with_options(size=SIZE) if draws_itself and task.option("size") is None else task


def is_numbers(space: spaces.Space[Any]) -> bool:
    """Whether observations are numbers that can be told from features; images aren't."""
    if isinstance(space, spaces.Box):
        return not (space.dtype == np.uint8 and len(space.shape) > 1)
    return isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)


def frame_size(task: Task) -> tuple[int, int]:
    """Height and width of the frames of a task that shows some, pixels."""
    space = describe(task).observation_space
    frame = space["pixels"] if isinstance(space, spaces.Dict) else space
    shape = frame.shape or (0, 0)
    return int(shape[0]), int(shape[1])


def source_frames(
    task: Task,
    steps: int,
    n_envs: int,
    rng: np.random.Generator,
    *,
    checkpoint: Checkpoint | None = None,
    random_share: float = 0.5,
    hold: int = 4,
    context_source: ContextSource | None = None,
    n_threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FrameData, tuple[Dimension, ...]]:
    """Act in a task and keep frames, states and actions.

    Args:
        task: Shows frames; see `pixel_task`.
        steps: Frames of each environment.
        n_envs: Environments side by side.
        rng: Every draw comes from it.
        checkpoint: Who acts where decisions aren't random; None for random actions alone.
        random_share: Share of the decisions that are random where there is a checkpoint.
        hold: Most steps that a decision is held.
        context_source: Draws what frames look like in each episode.
        n_threads: Threads that simulate and draw; the frames don't depend on it.
        progress: Called with the frames there are and those that there will be.

    Returns:
        The frames, and names and units of the state's numbers.

    Raises:
        WarmstartError: The policy doesn't fit the task, or the task can't be made.
    """
    env: Env
    with closing(make_vec(task, n_envs, n_threads=n_threads, context_source=context_source)) as env:
        observing, policy = (env, None) if checkpoint is None else actor_in(checkpoint, env)
        data = collect_frames(
            observing,
            steps,
            policy,
            rng=rng,
            random_share=None if policy is None else random_share,
            hold=hold,
            task=str(task),
            progress=progress,
        )
        return data, state_dimensions(env)


def scattered_frames(
    task: Task,
    windows: int,
    frames: int,
    rng: np.random.Generator,
    *,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> tuple[FrameData, tuple[Dimension, ...]]:
    """Windows of a few frames from many episodes: frames in a row tell little more than one of them.

    Args:
        task: Shows frames; see `pixel_task`.
        windows: At least so many.
        frames: Frames of each, one step apart.
        rng: Every draw comes from it.
        progress: Called with the frames there are and those that are drawn in all, most of which aren't kept.
        options: See `source_frames`.

    Returns:
        The frames, each window as an episode of its own; and names and units of the state's numbers.
    """
    envs = max(_FEWEST_ENVS, -(-windows // _WINDOWS))
    rounds = -(-envs // _ROUND)
    n_envs = -(-envs // rounds)
    per_env = -(-windows // (n_envs * rounds))
    drawn = n_envs * max(_LENGTH, per_env * frames)
    parts = []
    for index in range(rounds):  # frames that aren't kept don't pile up
        data, dimensions = source_frames(
            task,
            drawn // n_envs,
            n_envs,
            rng,
            progress=progress and _later(progress, index * drawn, rounds * drawn),
            **options,
        )
        parts.append(replace(thinned(data, per_env, frames), tasks=()))
    return replace(join_frames(parts), tasks=(str(task),)), dimensions


def _later(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: progress(before + done, total)


def thinned(data: FrameData, windows: int, frames: int) -> FrameData:
    """Keep windows of each environment, evenly spread, as episodes of their own.

    Args:
        data: Frames in a row.
        windows: Windows of each environment; one is kept twice where there are too few.
        frames: Frames of each window.
    """
    found = data.starts_at(tuple(range(frames)))
    chosen = np.empty((windows, data.starts.shape[1]), dtype=np.int64)
    for env in range(chosen.shape[1]):
        own = found[found[:, 1] == env, 0]
        if not len(own):
            raise WarmstartError(
                f"There are too few frames: none of environment {env}'s episodes has {frames}. Look fewer "
                "frames back."
            )
        chosen[:, env] = own[np.linspace(0, len(own) - 1, windows).round().astype(np.int64)]
    steps = (chosen[:, None] + np.arange(frames)[:, None]).reshape(-1, chosen.shape[1])
    envs = np.arange(chosen.shape[1])
    starts = np.zeros(steps.shape, dtype=bool)
    starts[::frames] = True
    state = None if data.state is None else data.state[steps, envs]
    return FrameData(data.frames[steps, envs], data.actions[steps, envs], starts, state, data.tasks)
