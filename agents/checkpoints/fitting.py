"""Whether a checkpoint's policy can act in a task as it is."""

from pathlib import Path
from typing import Any

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.core.errors import WarmstartError
from warmstart.envs.describe import describe
from warmstart.envs.tasks.task import Task
from warmstart.envs.vector import make_vec


def check_fit(checkpoint: Checkpoint, task: Task, path: Path | None = None) -> None:
    """See that a checkpoint's policy observes and acts as a task's environments do.

    Args:
        checkpoint: Any that acts.
        task: Where it shall act.
        path: How messages call it.

    Raises:
        WarmstartError: It observes or acts otherwise: says the first difference.
    """
    there = describe(task)
    observed, layout = there.observation_space, there.observation_layout
    if checkpoint.vision is not None:
        env: Any = checkpoint.vision.wrap(make_vec(task, 1, n_threads=1))
        observed, layout = env.single_observation_space, env.observation_layout
        env.close()
    policy = f"The policy in {path or checkpoint.path} (trained in {checkpoint.task or 'an unnamed task'})"
    own = (checkpoint.observation_space, checkpoint.observation_layout)
    _check_fit(policy, task, "observation", own, (observed, layout))
    own = (checkpoint.action_space, checkpoint.action_layout)
    _check_fit(policy, task, "action", own, (there.action_space, there.action_layout))


def _check_fit(policy: str, task: Task, kind: str, own: Any, there: Any) -> None:
    """Raise where observations or actions, as space and layout, differ in shape, kind or names."""
    advice = "`warmstart transfer` carries the policy over, matching dimensions by name."
    (space, layout), (other_space, other_layout) = own, there
    if type(space) is not type(other_space) or _size(space) != _size(other_space):
        raise WarmstartError(
            f"{policy} has {kind}s {_size(space)}, those of {task} are {_size(other_space)}. {advice}"
        )
    if layout is not None and other_layout is not None and layout.names != other_layout.names:
        pairs = zip(layout.names, other_layout.names, strict=True)
        mine, theirs = next((a, b) for a, b in pairs if a != b)
        raise WarmstartError(
            f"{policy} has other {kind}s than {task}: {mine} where the task has {theirs}. {advice}"
        )


def _size(space: Any) -> str:
    return f"{type(space).__name__}({space.n})" if hasattr(space, "n") else f"of shape {space.shape}"
