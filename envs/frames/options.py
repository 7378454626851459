"""The options of a task that ask for frames: kind of observation, resolution, camera, quality."""

from dataclasses import dataclass
from typing import Any

from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.physics.catalogue import is_visual
from warmstart.envs.tasks.task import Task

KINDS = ("state", "pixels", "pixels+state")
QUALITY_NAMES = ("lean", "full")
OPTIONS = ("obs", "size", "camera", "visuals")
"""What they are called in a task's text."""


@dataclass(frozen=True)
class PixelOptions:
    """How a task is shown to an agent.

    Attributes:
        with_state: Whether the state is observed beside the frames.
        height: Rows of a frame; None leaves what the environment draws.
        width: Columns of a frame.
        camera: Name or index of a camera of the model; None is the task's own.
        quality: ``lean`` or ``full``.
    """

    with_state: bool
    height: int | None
    width: int | None
    camera: str | int | None
    quality: str


def split_options(task: str, options: Settings) -> tuple[PixelOptions | None, Settings]:
    """Take the options that are about frames out of a task's options.

    Args:
        task: The task's text, for messages.
        options: All its options.

    Returns:
        What they ask for, None for a task that observes its state; and the other options.

    Raises:
        WarmstartError: A value isn't known, or frames are described that nobody observes.
    """
    rest = {name: value for name, value in options.items() if name not in OPTIONS}
    kind = options.get("obs", "state")
    if kind not in KINDS:
        raise unknown_name(f"kind of observation in {task}:", str(kind), KINDS)
    if kind == "state":
        idle = [name for name in OPTIONS[1:] if name in options]
        if idle:
            raise WarmstartError(
                f"{task}: the option {idle[0]!r} is about frames, and this task observes its state; add "
                "obs=pixels (or obs=pixels+state)."
            )
        return None, rest
    quality = options.get("visuals", "lean")
    if quality not in QUALITY_NAMES:
        raise unknown_name(f"visuals of {task}:", str(quality), QUALITY_NAMES)
    height, width = _size(task, options.get("size"))
    camera = options.get("camera")
    if camera is not None and (isinstance(camera, bool) or not isinstance(camera, str | int)):
        raise WarmstartError(f"{task}: expected a camera's name or index, found {camera!r}.")
    return PixelOptions(kind == "pixels+state", height, width, camera, quality), rest


def sees_pixels(task: Task) -> bool:
    """Whether a task shows frames."""
    return str(task.option("obs", "state")).startswith("pixels")


def state_task(task: Task) -> Task:
    """The same task observed by its state: without the options and parameters that are about frames."""
    options = tuple((name, value) for name, value in task.options if name not in OPTIONS)
    return Task(task.id, options, tuple(c for c in task.context if not is_visual(c.selector)))


def _size(task: str, value: Any) -> tuple[int | None, int | None]:
    if value is None:
        return None, None
    sides = (value, value) if isinstance(value, int) and not isinstance(value, bool) else value
    whole = isinstance(sides, tuple | list) and len(sides) == 2 and all(type(side) is int for side in sides)
    if not whole or not all(8 <= side <= 1024 for side in sides):
        raise WarmstartError(
            f"{task}: expected a size of 8 to 1024 pixels, or [height,width], found {value!r}."
        )
    return sides[0], sides[1]
