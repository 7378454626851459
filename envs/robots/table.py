"""The table of tasks that run batched: the eleven Gymnasium MuJoCo v5 tasks and those that users register."""

from warmstart.core.errors import WarmstartError
from warmstart.envs.robots.base import MujocoTask
from warmstart.envs.robots.humanoids import Humanoid, HumanoidStandup
from warmstart.envs.robots.locomotion import Ant, HalfCheetah, Hopper, Swimmer, Walker2d
from warmstart.envs.robots.manipulators import Pusher, Reacher
from warmstart.envs.robots.pendulums import InvertedDoublePendulum, InvertedPendulum

GYMNASIUM_TASKS: dict[str, type[MujocoTask]] = {
    "Ant-v5": Ant,
    "HalfCheetah-v5": HalfCheetah,
    "Hopper-v5": Hopper,
    "Humanoid-v5": Humanoid,
    "HumanoidStandup-v5": HumanoidStandup,
    "InvertedDoublePendulum-v5": InvertedDoublePendulum,
    "InvertedPendulum-v5": InvertedPendulum,
    "Pusher-v5": Pusher,
    "Reacher-v5": Reacher,
    "Swimmer-v5": Swimmer,
    "Walker2d-v5": Walker2d,
}

_registered: dict[str, type[MujocoTask]] = dict(GYMNASIUM_TASKS)


def robots() -> dict[str, type[MujocoTask]]:
    """The tasks that run batched, by id."""
    return dict(_registered)


def register_task(task_id: str, task_class: type[MujocoTask]) -> None:
    """Make a task of your own known under an id, such as ``"my/Reach-v0"``.

    Raises:
        WarmstartError: The id belongs to another class already, or the class isn't a `MujocoTask`.
    """
    if not (isinstance(task_class, type) and issubclass(task_class, MujocoTask)):
        raise WarmstartError(f"Expected a subclass of MujocoTask for {task_id!r}, found {task_class!r}.")
    known = _registered.get(task_id)
    if known is not None and (known.__module__, known.__qualname__) != (
        task_class.__module__,
        task_class.__qualname__,
    ):
        raise WarmstartError(f"The id {task_id!r} belongs to {known.__qualname__} already; choose another.")
    _registered[task_id] = task_class
