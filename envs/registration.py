"""Registers our batched tasks with Gymnasium, as ``warmstart/HalfCheetah-v5`` and so on.

``import warmstart`` calls `register`, which imports neither torch nor mujoco.
"""

import functools
from typing import Any

import gymnasium

NAMESPACE = "warmstart"
TASK_IDS = tuple(
    name
    for name, spec in gymnasium.registry.items()
    if name.endswith("-v5") and str(spec.entry_point).startswith("gymnasium.envs.mujoco.")
)
"""Gymnasium's MuJoCo tasks of version 5, which have batched ones; a test compares them with the table."""


def register() -> None:
    """Register the tasks that aren't registered yet; each is Gymnasium's own as a single environment."""
    for task_id in TASK_IDS:
        name = f"{NAMESPACE}/{task_id}"
        if name in gymnasium.registry:
            continue
        original = gymnasium.spec(task_id)
        gymnasium.register(
            name,
            entry_point=original.entry_point,
            vector_entry_point=f"{__name__}:{task_id}",
            max_episode_steps=original.max_episode_steps,
            reward_threshold=original.reward_threshold,
        )


def make_batched(
    task_id: str,
    *,
    num_envs: int = 1,
    max_episode_steps: int | None = None,
    seed: int | None = None,
    n_threads: int | None = None,
    context: str = "",
    stepper: str = "auto",
    render_mode: str | None = None,
    **options: Any,
) -> Any:
    """Make the batched environment for `gymnasium.make_vec`.

    Args:
        task_id: The task's id in Gymnasium.
        num_envs: Number of environments.
        max_episode_steps: Time limit, steps.
        seed: See `warmstart.make_vec`, as for `n_threads`, `stepper` and `render_mode`.
        n_threads: Threads that simulate.
        context: Changes of physical parameters, as text: ``"gravity=x0.5"``.
        stepper: What steps the simulations.
        render_mode: None or ``"rgb_array"``.
        options: The environment's constructor arguments.
    """
    from warmstart.envs.tasks.contexts import parse_context
    from warmstart.envs.tasks.task import Task
    from warmstart.envs.vector import make_vec

    task = Task(task_id, tuple(options.items()), parse_context(context))
    if max_episode_steps is not None:
        task = task.with_options(time_limit=max_episode_steps)
    return make_vec(task, num_envs, seed, n_threads=n_threads, stepper=stepper, render_mode=render_mode)


def __getattr__(name: str) -> Any:
    """Return the creator of a task's vector environment under its id, for Gymnasium's string entry points."""
    if name in TASK_IDS:
        return functools.partial(make_batched, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
