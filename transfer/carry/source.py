"""A source read into a checkpoint, and what the dimensions of a task or an environment are called."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from warmstart.agents.checkpoints.checkpoint import Checkpoint, checkpoint_of
from warmstart.agents.loading import load_checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.envs.describe import describe
from warmstart.envs.robots.table import observation_layout
from warmstart.envs.sb3 import env_attribute
from warmstart.envs.simulation.dimensions import action_layout
from warmstart.envs.simulation.layouts import Layout
from warmstart.envs.tasks.modules import is_harmless
from warmstart.envs.tasks.task import Task

Source = str | Path | Checkpoint | BaseAlgorithm | None
Layouts = tuple[Layout | None, Layout | None]
"""Of observation and action; ``None`` where the names aren't known."""


def read_source(
    source: Source,
    *,
    source_task: str | None = None,
    trust_normalizer: str | Path | None = None,
    activation: str | None = None,
    onnx: str | Path | None = None,
) -> Checkpoint | None:
    """Read a source of any kind into a checkpoint, with the names of its dimensions where they can be known.

    Args:
        source: A path, a checkpoint, a model, or ``None``.
        source_task: Task for the names of a source that holds none.
        trust_normalizer: A trusted ``VecNormalize`` file.
        activation: Activation function of a file of rsl_rl's, as in `load_checkpoint`.
        onnx: ONNX model that names the dimensions of a file of rsl_rl's.

    Raises:
        WarmstartError: If there is nothing, it is of another kind, or ``source_task`` can't be made.
    """
    if source is None:
        return None
    if isinstance(source, BaseAlgorithm):
        env = source.get_env()
        observations, actions = environment_layouts(env)
        checkpoint = checkpoint_of(
            source,
            task=None if env is None else environment_name(env),
            observation_layout=observations,
            action_layout=actions,
        )
    elif isinstance(source, Checkpoint):
        checkpoint = source
    elif isinstance(source, str | Path):
        checkpoint = load_checkpoint(
            source, trust_normalizer=trust_normalizer, activation=activation, onnx=onnx
        )
    else:
        raise WarmstartError(
            f"A source is a path, a Checkpoint or a PPO, SAC or TD3 model, not {type(source).__name__}."
        )
    task = source_task or checkpoint.task
    if task is None or (checkpoint.observation_layout is not None and checkpoint.action_layout is not None):
        return checkpoint
    try:
        asked = Task.parse(task)
        if source_task is None and not is_harmless(asked):
            told = (
                f"Its task {task} is built by code that reading a checkpoint doesn't run: its dimensions "
                "have no names unless source_task is given."
            )
            return replace(checkpoint, notes=(*checkpoint.notes, told))
        described = describe(asked)
    except WarmstartError:
        if source_task is not None:
            raise
        return checkpoint
    return replace(
        checkpoint,
        task=task,
        observation_layout=checkpoint.observation_layout or described.observation_layout,
        action_layout=checkpoint.action_layout or described.action_layout,
    )


def environment_layouts(env: VecEnv | None) -> Layouts:
    """Return the layouts of observation and action that an environment tells, or that its MuJoCo model does.

    Knows warmstart's own environments, and plain Gymnasium's MuJoCo v5 tasks inside SB3's vector
    environments. A layout that doesn't fit the space (a wrapper changed it) is not returned.
    """
    if env is None:
        return None, None
    ours = (env_attribute(env, "observation_layout"), env_attribute(env, "action_layout"))
    if not isinstance(ours[0], Layout) and not isinstance(ours[1], Layout):
        ours = _gymnasium_layouts(env)
    observations, actions = (layout if isinstance(layout, Layout) else None for layout in ours)
    if observations is not None and len(observations) != flatdim(env.observation_space):
        observations = None
    if actions is not None and not _fits(actions, env.action_space):
        actions = None
    return observations, actions


def environment_name(env: VecEnv | None) -> str:
    """Return the task of an environment, its Gymnasium id, or its class."""
    task = env_attribute(env, "task")
    if task is not None:
        return str(task)
    spec = _first(env, "spec") if env is not None else None
    return str(spec.id) if spec is not None else type(env).__name__


def source_name(source: Checkpoint) -> str:
    """Return what a report calls a source: its task, or the last part of its path."""
    return source.task or (source.path.name if source.path is not None else "a model")


def environment_model(env: VecEnv | None) -> mujoco.MjModel | None:
    """The MuJoCo model of an environment, ours or Gymnasium's; ``None`` where it has none."""
    simulation = env_attribute(env, "sim")
    model = getattr(simulation, "model", None) or (None if env is None else _first(env, "model"))
    return model if isinstance(model, mujoco.MjModel) else None


def source_notes(source: Checkpoint | None) -> tuple[str, ...]:
    """Return what a report says of a source itself: how it was read, and that its task gave it no reward."""
    if source is None:
        return ()
    if source.reward is None:
        return source.notes
    told = f"The source was trained without its task's reward, on {source.reward['name']}."
    return (*source.notes, told)


def _gymnasium_layouts(env: VecEnv) -> Layouts:
    spec, model = _first(env, "spec"), environment_model(env)
    if model is None:
        return None, None
    try:
        observations = observation_layout(spec.id, model, spec.kwargs) if spec is not None else None
    except WarmstartError:
        observations = None
    return observations, action_layout(model)


def _first(env: VecEnv, name: str) -> Any:
    """Return an attribute of the first environment, or ``None``."""
    try:
        return env.get_attr(name, 0)[0]
    except (AttributeError, NotImplementedError, IndexError):
        return None


def _fits(layout: Layout, space: spaces.Space[Any]) -> bool:
    """Whether an action layout describes the space: same length and, for a Box, the same bounds."""
    if len(layout) != flatdim(space):
        return False
    if not isinstance(space, spaces.Box):
        return True
    bounds = np.array([(dimension.low, dimension.high) for dimension in layout.dimensions]).T
    return np.allclose((space.low.reshape(-1), space.high.reshape(-1)), bounds)
