"""What the dimensions of a model's environment are called. May import ``envs`` and ``agents``."""

from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from warmstart.agents.checkpoints.checkpoint import env_attribute
from warmstart.core.errors import WarmstartError
from warmstart.envs.robots.table import observation_layout
from warmstart.envs.simulation.dimensions import action_layout
from warmstart.envs.simulation.layouts import Layout


def flat_size(space: spaces.Space[Any]) -> int:
    """Return how many numbers a policy reads or gives for a space (one per choice, for discrete ones).

    Raises:
        WarmstartError: If the space has no such number.
    """
    if isinstance(space, spaces.Dict):
        return sum(flat_size(part) for part in space.spaces.values())
    if isinstance(space, spaces.Box):
        return int(np.prod(space.shape))
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(np.sum(space.nvec))
    if isinstance(space, spaces.MultiBinary):
        return int(np.prod(space.shape))
    raise WarmstartError(f"Expected a Box, flat Dict or discrete space, found {type(space).__name__}.")


def environment_layouts(env: VecEnv | None) -> tuple[Layout | None, Layout | None]:
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
    if observations is not None and len(observations) != flat_size(env.observation_space):
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


def task_layouts(task: str, required: bool) -> tuple[Layout | None, Layout | None]:
    """Return the layouts of a task's observation and action, by making its environment once.

    Raises:
        WarmstartError: If it is ``required`` and can't be made.
    """
    from warmstart.envs.vector import make_vec

    try:
        env: Any = make_vec(task, n_envs=1, seed=0, n_threads=1)
    except WarmstartError:
        if required:
            raise
        return None, None
    try:
        return env.observation_layout, env.action_layout
    finally:
        env.close()


def _gymnasium_layouts(env: VecEnv) -> tuple[Layout | None, Layout | None]:
    spec, model = _first(env, "spec"), _first(env, "model")
    if not isinstance(model, mujoco.MjModel):
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
    if len(layout) != flat_size(space):
        return False
    if not isinstance(space, spaces.Box):
        return True
    low = [dimension.low for dimension in layout.dimensions]
    high = [dimension.high for dimension in layout.dimensions]
    return bool(np.allclose(space.low.reshape(-1), low) and np.allclose(space.high.reshape(-1), high))
