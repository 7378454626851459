"""Frames of a task beside its state, acted in at random or by a policy that sees in its own way.

May import envs and agents. For probing encoders, and for pretraining them from several tasks.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from warmstart.agents.checkpoints import Checkpoint
from warmstart.agents.policy import Policy
from warmstart.envs.errors import WarmstartError
from warmstart.envs.hooks import ContextSource
from warmstart.envs.layouts import Dimension, generic_layout
from warmstart.envs.pixel_options import state_task
from warmstart.envs.robots import robots
from warmstart.envs.single_pixels import is_frame
from warmstart.envs.tasks import Task
from warmstart.envs.vector import make_vec
from warmstart.envs.wrappers import PassingWrapper
from warmstart.transfer.frame_data import FrameData, join_frames
from warmstart.transfer.frames import ActionPolicy, collect_frames

Array = NDArray[Any]
Env = VectorEnv[Any, Any, Any]
SIZE = 84
"""Height and width of the frames of tasks that draw their own, where the task names no size."""
_WINDOWS, _LENGTH, _ROUND, _FEWEST_ENVS = 12, 100, 30, 10
"""Scattered frames: most windows of one environment, its steps, environments at a time, and at least."""


def seen_task(task: Task) -> Task:
    """A task as an encoder is probed and pretrained in: it shows frames, and its state if that is numbers.

    Args:
        task: Any; the kind of its observations is replaced.

    Raises:
        WarmstartError: It observes grey images, or can't be made.
    """
    space = state_space(task)
    kind = "pixels+state" if is_numbers(space) else "pixels"
    if isinstance(space, spaces.Box) and not is_numbers(space) and not is_frame(space):
        raise WarmstartError(
            f"{task} observes images of shape {space.shape} and type {space.dtype}: expected colour, uint8 "
            "of shape (height, width, 3). Ask the environment for colour images, not grey ones."
        )
    seen = task.with_options(obs=kind)
    draws_itself = task.id.removeprefix("warmstart/") not in robots()
    return seen.with_options(size=SIZE) if draws_itself and task.option("size") is None else seen


def state_space(task: Task) -> spaces.Space[Any]:
    """What a task observes where it isn't asked for frames."""
    env = make_vec(state_task(task), 1, n_threads=1)
    space: spaces.Space[Any] = env.single_observation_space
    env.close()
    return space


def is_numbers(space: spaces.Space[Any]) -> bool:
    """Whether observations are numbers that can be told from features; images aren't."""
    if isinstance(space, spaces.Box):
        return not (space.dtype == np.uint8 and len(space.shape) > 1)
    return isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)


def frame_size(task: Task) -> tuple[int, int]:
    """Height and width of the frames of a task that shows some, pixels."""
    env = make_vec(task, 1, n_threads=1)
    space = env.single_observation_space
    frame = space["pixels"] if isinstance(space, spaces.Dict) else space
    env.close()
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
    looks: ContextSource | None = None,
    n_threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FrameData, tuple[Dimension, ...]]:
    """Act in a task and keep frames, states and actions.

    Args:
        task: Shows frames; see `seen_task`.
        steps: Frames of each environment.
        n_envs: Environments side by side.
        rng: Every draw comes from it.
        checkpoint: Who acts where decisions aren't random; None for random actions alone.
        random_share: Share of the decisions that are random where there is a checkpoint.
        hold: Most steps that a decision is held.
        looks: Draws what frames look like in each episode.
        n_threads: Threads that simulate and draw; the frames don't depend on it.
        progress: Called with the frames there are and those that there will be.

    Returns:
        The frames, and names and units of the state's numbers.

    Raises:
        WarmstartError: The policy doesn't fit the task, or the task can't be made.
    """
    env: Env = make_vec(task, n_envs, n_threads=n_threads, context_source=looks)
    try:
        acting, policy = (env, None) if checkpoint is None else eyes_of(checkpoint, env)
        data = collect_frames(
            acting,
            steps,
            policy,
            rng=rng,
            random_share=None if policy is None else random_share,
            hold=hold,
            task=str(task),
            progress=progress,
        )
        return in_numbers(data, env), state_dimensions(env)
    finally:
        env.close()


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
        task: Shows frames; see `seen_task`.
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
            progress=None if progress is None else _later(progress, index * drawn, rounds * drawn),
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


def state_dimensions(env: Env) -> tuple[Dimension, ...]:
    """Names and units of the state beside the frames; none where there is no state."""
    space = env.single_observation_space
    if not isinstance(space, spaces.Dict):
        return ()
    known = getattr(env, "state_layout", None)
    return (known if known is not None else generic_layout(space["state"], "state")).dimensions


def in_numbers(data: FrameData, env: Env) -> FrameData:
    """The frames with choices in the state one-hot, so that a linear map can tell them."""
    space = env.single_observation_space
    state = space["state"] if isinstance(space, spaces.Dict) else None
    if data.state is None or not isinstance(state, spaces.Discrete | spaces.MultiDiscrete):
        return data
    rows = data.state.reshape(-1, *(state.shape or ())).astype(np.int64)
    flat = np.array([spaces.utils.flatten(state, row) for row in rows], dtype=np.float32)
    return replace(data, state=flat.reshape(*data.starts.shape, -1))


def eyes_of(checkpoint: Checkpoint, env: Env) -> tuple[Env, ActionPolicy]:
    """Let a policy act in a task that shows frames and state, whichever of them it takes.

    Args:
        checkpoint: A policy of states, of a frozen encoder's features or of stacks of frames.
        env: The task's environments.

    Returns:
        The environments, which observe the same as before; and the policy for these observations.

    Raises:
        WarmstartError: Neither the state nor the frames are what the policy takes, or its actions differ.
    """
    policy, own = checkpoint.policy(), env.single_observation_space
    if not _alike(policy.action_space, env.single_action_space):
        raise WarmstartError(
            f"{_named(checkpoint)} has actions {policy.action_space}, the task {_task(env)} takes "
            f"{env.single_action_space}."
        )
    if (
        policy.vision is None
        and isinstance(own, spaces.Dict)
        and _alike(policy.observation_space, own["state"])
    ):
        _check_names(checkpoint, env)
        return env, lambda observations: policy(observations["state"])
    if policy.vision is not None:
        for with_state in (False, True) if isinstance(own, spaces.Dict) else (False,):
            tap = _Tap(env, with_state)
            seeing = policy.seeing(tap)
            if _alike(policy.observation_space, seeing.single_observation_space):
                watched = _Watched(seeing, tap)
                return watched, watched.acting(policy)
    raise WarmstartError(
        f"{_named(checkpoint)} observes {policy.observation_space}; the task {_task(env)} shows {own}, which "
        "isn't that."
    )


def _alike(first: spaces.Space[Any], second: spaces.Space[Any]) -> bool:
    """Whether two spaces hold the same kind of arrays; bounds may differ."""
    if isinstance(first, spaces.Dict) and isinstance(second, spaces.Dict):
        return first.keys() == second.keys() and all(_alike(first[key], second[key]) for key in first)
    same = type(first) is type(second) and first.shape == second.shape
    return same and getattr(first, "n", 0) == getattr(second, "n", 0)


def _check_names(checkpoint: Checkpoint, env: Env) -> None:
    layout, names = checkpoint.observation_layout, [d.name for d in state_dimensions(env)]
    if layout is None or list(layout.names) == names:
        return
    own, other = next((a, b) for a, b in zip(layout.names, names, strict=True) if a != b)
    raise WarmstartError(f"{_named(checkpoint)} observes {own} where the task {_task(env)} has {other}.")


def _named(checkpoint: Checkpoint) -> str:
    trained = f" (trained in {checkpoint.task})" if checkpoint.task else ""
    return f"The policy in {checkpoint.path}{trained}"


def _task(env: Env) -> str:
    return str(getattr(env, "task", env))


class _Tap(PassingWrapper):
    """Keeps all that a task shows, and passes on the part that a policy sees."""

    def __init__(self, env: Env, with_state: bool) -> None:
        super().__init__(env)
        own = env.single_observation_space
        self._cut = isinstance(own, spaces.Dict) and not with_state
        self.shown: Any = None
        self.infos: dict[str, Any] = {}
        if self._cut:
            self.single_observation_space = own["pixels"]  # type: ignore[index]
            self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.shown, self.infos = self.env.reset(seed=seed, options=options)
        return (self.shown["pixels"] if self._cut else self.shown), self.infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        self.shown, rewards, terminations, truncations, self.infos = self.env.step(actions)
        if not self._cut:
            return self.shown, rewards, terminations, truncations, self.infos
        infos = self.infos
        if "final_obs" in infos:
            final = np.full(self.num_envs, None, dtype=object)
            for env in np.flatnonzero(terminations | truncations):
                final[env] = infos["final_obs"][env]["pixels"]
            infos = {**infos, "final_obs": final}
        return self.shown["pixels"], rewards, terminations, truncations, infos


class _Watched(PassingWrapper):
    """Observes what the tap was shown, while ``seen`` holds what the policy makes of it."""

    def __init__(self, env: Env, tap: _Tap) -> None:
        super().__init__(env)
        self._tap = tap
        self.single_observation_space = tap.env.single_observation_space
        self.observation_space = tap.env.observation_space
        self.seen: Any = None

    def acting(self, policy: Policy) -> ActionPolicy:
        """The policy, which looks at ``seen`` whatever it is given."""
        return lambda _: policy(self.seen)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.seen, _ = self.env.reset(seed=seed, options=options)
        return self._tap.shown, self._tap.infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        self.seen, rewards, terminations, truncations, _ = self.env.step(actions)
        return self._tap.shown, rewards, terminations, truncations, self._tap.infos
