"""The table of tasks that run batched: the eleven Gymnasium MuJoCo v5 tasks and those that users register."""

import mujoco

from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.core.plain import setting_names
from warmstart.envs.robots.ant import Ant
from warmstart.envs.robots.base import MujocoTask, Target
from warmstart.envs.robots.half_cheetah import HalfCheetah
from warmstart.envs.robots.hopper import Hopper
from warmstart.envs.robots.humanoids import Humanoid, HumanoidStandup
from warmstart.envs.robots.manipulators import Pusher, Reacher
from warmstart.envs.robots.pendulums import InvertedDoublePendulum, InvertedPendulum
from warmstart.envs.robots.swimmer import Swimmer
from warmstart.envs.robots.walker2d import Walker2d
from warmstart.envs.simulation.layouts import Layout

_OWN: tuple[type[MujocoTask], ...] = (
    Ant,
    HalfCheetah,
    Hopper,
    Humanoid,
    HumanoidStandup,
    InvertedDoublePendulum,
    InvertedPendulum,
    Pusher,
    Reacher,
    Swimmer,
    Walker2d,
)
GYMNASIUM_TASKS = {robot.gymnasium_id: robot for robot in _OWN}
_registered: dict[str, type[MujocoTask]] = dict(GYMNASIUM_TASKS)

_CARTPOLE = (
    Target("cartpole-long-pole", "CartPole-v1@length=x2", "A pole of twice the length."),
    Target("cartpole-heavy-pole", "CartPole-v1@masspole=x5", "A pole 5 times as heavy."),
)


def robots() -> dict[str, type[MujocoTask]]:
    """The tasks that run batched, by id."""
    return dict(_registered)


def register_task(task_id: str, task_class: type[MujocoTask]) -> None:
    """Make a task of your own known under an id, such as ``"my/Reach-v0"``, and its named targets.

    Raises:
        WarmstartError: The id or a target's name belongs to another class already, or the class isn't a
            `MujocoTask`.
    """
    if not (isinstance(task_class, type) and issubclass(task_class, MujocoTask)):
        raise WarmstartError(f"Expected a subclass of MujocoTask for {task_id!r}, found {task_class!r}.")
    known = _registered.get(task_id)
    if known is not None and _full_name(known) != _full_name(task_class):
        raise WarmstartError(f"The id {task_id!r} belongs to {known.__qualname__} already; choose another.")
    others = {name: robot for name, robot in _registered.items() if name != task_id}
    taken = named_targets(others)
    for name in named_targets({task_id: task_class}):
        if name in taken:
            raise WarmstartError(f"Two target tasks are called {name!r}; names must be unique.")
    _registered[task_id] = task_class


def named_targets(of: dict[str, type[MujocoTask]] | None = None) -> dict[str, Target]:
    """Named target tasks by their whole name; their `changes` are the whole text of the task.

    Args:
        of: Tasks by id; None is all that are known, and CartPole.
    """
    found = {
        f"{robot.short_name}-{target.name}": Target(
            f"{robot.short_name}-{target.name}", task_id + target.changes, target.description, target.source
        )
        for task_id, robot in (_registered if of is None else of).items()
        for target in robot.targets
    }
    return found if of is not None else {**found, **{target.name: target for target in _CARTPOLE}}


def observation_layout(task_id: str, model: mujoco.MjModel, options: Settings) -> Layout:
    """Return the layout of a Gymnasium v5 MuJoCo task's observation.

    Args:
        task_id: One of the eleven ids, ``warmstart/`` in front or not.
        model: The task's model.
        options: The task's constructor options; those that shape the observation are read
            (``exclude_current_positions_from_observation``, ``include_cfrc_ext_in_observation``, …).

    Raises:
        WarmstartError: The task is not one of the eleven.
    """
    name = task_id.removeprefix("warmstart/")
    if name not in GYMNASIUM_TASKS:
        raise unknown_name("MuJoCo v5 task", task_id, GYMNASIUM_TASKS)
    robot = GYMNASIUM_TASKS[name]
    known = {option: value for option, value in options.items() if option in setting_names(robot)}
    return Layout(tuple(robot(**known).dimensions(model)))


def _full_name(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__
