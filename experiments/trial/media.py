"""What a trial's agent sees and does, for the report: frames as it gets them, and a film of one episode."""

from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from typing_extensions import override

from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.evaluation import generators_kept
from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.frames.options import sees_pixels
from warmstart.envs.robots.table import robots
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec
from warmstart.envs.wrappers import PassingWrapper
from warmstart.experiments.records.records import FILM, FRAMES

_FILM_SIZE = 240
_FILM_SECONDS = 6.0
_SHOWN = 4
"""Frames in the strip."""

Frames = NDArray[np.uint8]


def film(model: BaseAlgorithm, task: Task, directory: Path, seed: int) -> list[str]:
    """Keep what an agent sees in one episode; a trial that trained doesn't fail for want of it.

    Returns:
        Why there is no film, as a note; empty where there is one, or nothing to see.
    """
    try:
        with generators_kept():
            _write_media(Policy.from_model(model), task, directory, seed)
    except (OSError, RuntimeError, WarmstartError) as error:
        return [f"No film of an episode could be made: {error}"]
    return []


def _write_media(policy: Policy, task: Task, directory: Path, seed: int) -> None:
    """Play one episode, if the task shows frames: a strip of those that the agent gets, and a larger film."""
    if not sees_pixels(task):
        return
    played = make_vec(task, 1, seed, n_threads=1)
    shown = None
    if task.id.removeprefix("warmstart/") in robots():  # others' frames can't be drawn anew, in another size
        shown = make_vec(task.with_options(obs="pixels", size=_FILM_SIZE), 1, seed, n_threads=1)
    given: list[Frames] = []
    film: list[Any] = []
    env = policy.wrap(_KeepFrames(played, given))
    try:
        fps = int(env.metadata.get("render_fps") or 30)
        every = max(1, round(fps / 25))
        observations, _ = env.reset(seed=seed)
        frame = None if shown is None else shown.reset(seed=seed)[0]
        for step in range(int(_FILM_SECONDS * fps)):
            if step % every == 0:
                film.append(_first(frame) if shown is not None else given[-1])
            actions = policy.predict(observations)
            observations, _, terminations, truncations, _ = env.step(actions)
            if shown is not None:
                frame = shown.step(actions)[0]
            if terminations[0] or truncations[0]:
                break
    finally:
        env.close()
        if shown is not None:
            shown.close()
    picked = np.linspace(0, len(given) - 1, min(_SHOWN, len(given))).round().astype(int)
    imageio.imwrite(directory / FRAMES, np.concatenate([given[i] for i in picked], axis=1))
    imageio.mimwrite(
        directory / FILM,
        film,
        fps=fps / every,
        macro_block_size=2,
        quality=6,
        ffmpeg_log_level="quiet",
        output_params=["-movflags", "+faststart"],
    )


class _KeepFrames(PassingWrapper):
    """Keeps every frame that the agent is given."""

    def __init__(self, env: VectorEnv[Any, Any, Any], given: list[Frames]) -> None:
        super().__init__(env)
        self._given = given

    @override
    def reset(self, **kwargs: Any) -> tuple[Any, State]:
        observations, infos = self.env.reset(**kwargs)
        self._given.append(_first(observations))
        return observations, infos

    @override
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, State]:
        result = self.env.step(actions)
        self._given.append(_first(result[0]))
        return result


def _first(observations: Any) -> Frames:
    """The first environment's frame. Shape: (height, width, 3)."""
    frames = observations["pixels"] if isinstance(observations, dict) else observations
    return np.asarray(frames[0], dtype=np.uint8)
