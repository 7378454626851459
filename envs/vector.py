"""`make_vec`: any Gymnasium task as a vector environment, batched where it is a MuJoCo task we know."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import gymnasium
from gymnasium.vector import VectorEnv

from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.threads import available_cores
from warmstart.envs.actions import BinnedActions, split_bins
from warmstart.envs.batched import BatchedEnv
from warmstart.envs.frames.options import split_options
from warmstart.envs.gymnasium_vector import GymnasiumVectorEnv
from warmstart.envs.physics.cameras import pixel_camera
from warmstart.envs.pixels import FrameDrawer, FrameWatcher, PixelEnv
from warmstart.envs.robots.table import GYMNASIUM_TASKS, named_targets, robots
from warmstart.envs.tasks.hooks import ContextSource, Perturbation
from warmstart.envs.tasks.task import Task


@runtime_checkable
class World(Protocol):
    """Somewhere to act that makes its own environments: a reality whose physics is hidden, for one."""

    def make(
        self, n_envs: int = 1, seed: int | None = None, *, n_threads: int | None = None
    ) -> VectorEnv[Any, Any, Any]:
        """Make a vector environment that resets in the same step; see `make_vec`."""


def make_env(
    where: "Task | str | World", n_envs: int = 1, seed: int | None = None, *, n_threads: int | None = None
) -> VectorEnv[Any, Any, Any]:
    """Make environments of a task, its text, or a world; see `make_vec`."""
    if isinstance(where, World):
        return where.make(n_envs, seed, n_threads=n_threads)
    return make_vec(where, n_envs, seed, n_threads=n_threads)


STEPPERS = ("auto", "batch", "threads", "gymnasium")


def make_vec(
    task: str | Task,
    n_envs: int = 1,
    seed: int | None = None,
    *,
    n_threads: int | None = None,
    context_source: ContextSource | None = None,
    perturbations: Sequence[Perturbation] = (),
    stepper: str = "auto",
    step_timeout: float | None = None,
    render_mode: str | None = None,
) -> VectorEnv[Any, Any, Any]:
    """Make a vector environment that resets in the same step.

    Args:
        task: A task or its text: ``"HalfCheetah-v5@gravity=x0.5"``, ``"CartPole-v1@length=x2"``.
        n_envs: Number of environments.
        seed: Environment i is seeded with ``seed + i``; None takes the system's entropy.
        n_threads: Threads that simulate, the caller's included; None takes one per processor, at most
            `n_envs`. The episodes don't depend on it.
        context_source: Draws the physics of every episode.
        perturbations: Change actions, simulations and observations.
        stepper: ``"auto"``, ``"batch"`` (`mujoco.batch`), ``"threads"`` (threads of our own) or
            ``"gymnasium"`` (Gymnasium's own environment, whatever the task).
        step_timeout: Seconds that a step of a plain Gymnasium environment may take; it then runs in a process
            of its own.
        render_mode: None or ``"rgb_array"``.

    Raises:
        WarmstartError: The task, an option or a parameter isn't known, or the options don't go together.
    """
    task = Task.parse(task) if isinstance(task, str) else task
    whole, (task, bins) = task, split_bins(task)
    if bins is not None:
        inside = make_vec(
            task,
            n_envs,
            seed,
            n_threads=n_threads,
            context_source=context_source,
            perturbations=perturbations,
            stepper=stepper,
            step_timeout=step_timeout,
            render_mode=render_mode,
        )
        return BinnedActions(inside, whole, bins)
    if stepper not in STEPPERS:
        raise unknown_name("stepper", stepper, STEPPERS)
    if n_envs < 1:
        raise WarmstartError(f"Expected at least one environment, found n_envs={n_envs}.")
    pixels, options = split_options(str(task), dict(task.options))
    task_id = task.id.removeprefix("warmstart/")
    known = robots()
    if task_id in known and stepper != "gymnasium":
        robot = known[task_id].with_options(task.id, options)
        camera = None
        watchers: tuple[FrameWatcher, ...] = ()
        if pixels is not None:
            camera = pixel_camera(robot.model(), pixels.camera, robot.pixel_view, robot.follows)
            watchers = (FrameWatcher(),)
        threads = _threads(n_threads, n_envs)
        env = BatchedEnv(
            task,
            robot,
            n_envs,
            seed,
            n_threads=threads,
            stepper=stepper,
            context_source=context_source,
            perturbations=(*perturbations, *watchers),
            render_mode=render_mode,
            camera=camera,
        )
        if pixels is None or camera is None:
            return env
        return PixelEnv(env, watchers[0], FrameDrawer(env, camera, pixels, threads), pixels.with_state)
    if task_id.startswith("ALE/"):
        _register_atari()
    if task_id not in gymnasium.registry and ":" not in task_id:
        raise unknown_name("environment", task.id, [*known, *named_targets(), *gymnasium.registry])
    if task_id in known and task_id not in GYMNASIUM_TASKS:
        raise WarmstartError(f"{task.id} is a MujocoTask; it has no Gymnasium environment of its own.")
    if perturbations:
        raise WarmstartError(
            f"Expected no perturbations for {task.id}: they act on batched MuJoCo tasks only "
            f"({', '.join(known)})."
        )
    return GymnasiumVectorEnv(
        task,
        n_envs,
        seed,
        step_timeout=step_timeout,
        render_mode=render_mode,
        pixels=pixels,
        context_source=context_source,
    )


def _register_atari() -> None:
    """Let Gymnasium know of Atari's games, which come with a package of their own."""
    try:
        import ale_py
    except ImportError:
        raise WarmstartError("Atari's games need ale-py: pip install 'gymnasium[atari]'.") from None
    gymnasium.register_envs(ale_py)


def _threads(n_threads: int | None, n_envs: int) -> int:
    if n_threads is None:
        n_threads = available_cores()
    if n_threads < 1:
        raise WarmstartError(f"Expected at least one thread, found n_threads={n_threads}.")
    return min(n_threads, n_envs)
