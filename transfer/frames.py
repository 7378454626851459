"""Frames of a task with the actions between them, collected for pretraining an encoder.

May import envs and agents.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from warmstart.agents.frame_history import frame_space
from warmstart.envs.errors import WarmstartError

Array = NDArray[Any]
ActionPolicy = Callable[[Any], Array]
"""Observations of all environments to their actions."""


@dataclass(frozen=True, eq=False)
class FrameData:
    """Frames of several environments, each column a succession of episodes.

    The last frame of an ended episode is there as well; the action beside it was never taken.
    """

    frames: NDArray[np.uint8]
    """Shape: (steps, n_envs, height, width, 3)."""
    actions: NDArray[np.float32]
    """Action taken on seeing each frame, one-hot where actions are discrete; NaN where there is none. Shape:
    (steps, n_envs, actions)."""
    starts: NDArray[np.bool_]
    """Whether a frame is the first of its episode. Shape: (steps, n_envs)."""
    state: NDArray[np.float32] | None = None
    """What the task observes beside the frames, for probes; NaN where a task has fewer numbers than another.
    Shape: (steps, n_envs, numbers)."""
    tasks: tuple[str, ...] = ()
    """Texts of the tasks that the frames are of."""

    def __post_init__(self) -> None:
        shape = self.frames.shape
        if len(shape) != 5 or shape[4] != 3 or self.frames.dtype != np.uint8:
            raise WarmstartError(
                "Expected frames of type uint8 and shape (steps, n_envs, height, width, 3), found "
                f"{self.frames.dtype} {shape}."
            )
        for name, axes in (("actions", 3), ("starts", 2), ("state", 3)):
            values = getattr(self, name)
            if values is not None and (values.shape[:2] != shape[:2] or values.ndim != axes):
                raise WarmstartError(
                    f"Expected {name} with {axes} axes, the first {shape[:2]} like the frames', found "
                    f"{values.shape}."
                )

    def __len__(self) -> int:
        return self.starts.size

    def environments(self, chosen: slice) -> "FrameData":
        """The frames of some of the environments."""
        state = None if self.state is None else self.state[:, chosen]
        frames, actions, starts = (a[:, chosen] for a in (self.frames, self.actions, self.starts))
        return FrameData(frames, actions, starts, state, self.tasks)

    def starts_at(self, offsets: Sequence[int]) -> NDArray[np.int64]:
        """Where windows can start: the frames ``offsets`` steps later are of the same episode.

        Args:
            offsets: Steps from the window's start, ascending from 0.

        Returns:
            Step and environment of every window's first frame. Shape: (windows, 2).

        Raises:
            WarmstartError: No episode is long enough.
        """
        last = offsets[-1]
        episodes = np.cumsum(self.starts, axis=0)
        same = episodes[: max(0, len(episodes) - last)] == episodes[last:]
        found = np.argwhere(same)
        if not len(found):
            raise WarmstartError(
                f"There are too few frames: expected episodes of at least {last + 1} frames, found "
                f"{len(self)} frames of {int(self.starts.sum())} episodes. Collect more steps, or look fewer "
                "steps ahead."
            )
        return found


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Windows of frames, drawn at random."""

    frames: torch.Tensor
    """The frames at each offset, uint8. Shape: (offsets, batch, height, width, 3)."""
    actions: torch.Tensor
    """The actions taken on seeing them, float32. Shape: (offsets, batch, actions)."""


class FrameSampler:
    """Draws windows that don't cross the end of an episode, all with equal probability.

    Args:
        data: Where from.
        offsets: Steps from a window's start to each of its frames, ascending from 0: ``(0, k)`` for pairs.
        device: Where batches go.

    Raises:
        WarmstartError: No episode is long enough.
    """

    def __init__(self, data: FrameData, offsets: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.data, self.offsets, self.device = data, tuple(offsets), device
        self._windows = data.starts_at(self.offsets)

    def sample(self, n: int, generator: torch.Generator) -> FrameBatch:
        """Draw ``n`` windows, with replacement."""
        chosen = torch.randint(len(self._windows), (n,), generator=generator).numpy()
        steps, envs = self._windows[chosen].T
        at = steps + np.array(self.offsets)[:, None]
        frames, actions = self.data.frames[at, envs], self.data.actions[at, envs]
        return FrameBatch(torch.from_numpy(frames).to(self.device), torch.from_numpy(actions).to(self.device))


def join_frames(parts: Sequence[FrameData]) -> FrameData:
    """Put the frames of several tasks side by side.

    Args:
        parts: Frames of equal number and size. Numbers of actions may differ: missing ones become NaN.

    Raises:
        WarmstartError: There are none, or their shapes differ.
    """
    if not parts:
        raise WarmstartError("There are no frames to learn from: name at least one task.")
    shapes = {part.frames.shape[:1] + part.frames.shape[2:] for part in parts}
    if len(shapes) > 1:
        found = " and ".join(f"{steps} steps of {size}" for steps, *size in sorted(shapes))
        raise WarmstartError(
            f"Tasks that are learned together need equally many frames of one size, found {found}: give them "
            "the same option size."
        )
    if len(parts) == 1:
        return parts[0]
    states = [part.state for part in parts if part.state is not None]
    return FrameData(
        np.concatenate([part.frames for part in parts], axis=1),
        _side_by_side([part.actions for part in parts]),
        np.concatenate([part.starts for part in parts], axis=1),
        _side_by_side(states) if len(states) == len(parts) else None,
        tuple(task for part in parts for task in part.tasks),
    )


def _side_by_side(values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    width = max(array.shape[2] for array in values)
    padded = [
        np.pad(array, ((0, 0), (0, 0), (0, width - array.shape[2])), constant_values=np.nan)
        for array in values
    ]
    return np.concatenate(padded, axis=1)


def collect_frames(
    env: VectorEnv[Any, Any, Any],
    steps: int,
    policy: ActionPolicy | None = None,
    *,
    rng: np.random.Generator,
    random_share: float | None = None,
    hold: int = 4,
    task: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> FrameData:
    """Act in a task and keep what is seen.

    Random actions are held for some steps, so that they move the robot instead of averaging out.

    Args:
        env: Observes uint8 frames (n, height, width, 3), or a dict of them under ``pixels`` and the state
            under ``state``; resets in the same step.
        steps: Frames of each environment.
        policy: Who acts; None for random actions alone.
        rng: Every draw comes from it, the environments' seed included.
        random_share: Share of the decisions that are random; by default 1 without and 0.5 with a policy.
        hold: Most steps that a decision, what to do or to follow the policy, is held.
        task: Text of the task, kept with the frames.
        progress: Called with the frames there are and those that there will be.

    Raises:
        WarmstartError: The observations aren't colour frames, or a number is out of range.
    """
    share = (1.0 if policy is None else 0.5) if random_share is None else random_share
    if steps < 2 or hold < 1 or not 0 <= share <= 1 or (policy is None and share < 1):
        raise WarmstartError(
            "Expected at least 2 steps, a hold of at least 1 and a random share from 0 to 1 (1 without a "
            f"policy), found steps={steps}, hold={hold}, random_share={share}."
        )
    frame_space(env.single_observation_space)
    observations, _ = env.reset(seed=int(rng.integers(2**31)))
    seen = _Seen(env, observations, steps)
    decide = _Decisions(env, policy, rng, share, hold)
    seen.add(range(env.num_envs), _items(observations), start=True)
    while not seen.full:
        actions = decide(observations)
        seen.act(actions)
        observations, _, terminations, truncations, infos = env.step(actions)
        ended = np.flatnonzero(terminations | truncations)
        items = _items(observations)
        for index in ended:
            seen.add([index], [_item(infos["final_obs"][index])], start=False)
        going = np.flatnonzero(~(terminations | truncations))
        seen.add(going, [items[i] for i in going], start=False)
        seen.add(ended, [items[i] for i in ended], start=True)
        decide.begin(ended)
        if progress is not None:
            progress(seen.count, steps * env.num_envs)
    return FrameData(seen.frames, seen.actions, seen.starts, seen.state, (task,) if task else ())


def _item(observation: Any) -> tuple[Array, Array | None]:
    """Frame and, if there is one, state of one environment's observation."""
    if isinstance(observation, dict):
        return observation["pixels"], np.ravel(observation["state"])
    return observation, None


def _items(observations: Any) -> list[tuple[Array, Array | None]]:
    if isinstance(observations, dict):
        return [
            _item({key: value[i] for key, value in observations.items()}) for i in range(_count(observations))
        ]
    return [(frame, None) for frame in observations]


def _count(observations: dict[str, Array]) -> int:
    return len(observations["pixels"])


class _Seen:
    """Columns that fill up: an environment whose episode ends contributes two frames in that step."""

    def __init__(self, env: VectorEnv[Any, Any, Any], observations: Any, steps: int) -> None:
        first, state = _items(observations)[0]
        n, actions = env.num_envs, spaces.utils.flatdim(env.single_action_space)
        self._space = env.single_action_space
        self._filled = np.zeros(n, dtype=int)
        self.frames = np.zeros((steps, n, *first.shape), dtype=np.uint8)
        self.actions = np.full((steps, n, actions), np.nan, dtype=np.float32)
        self.starts = np.zeros((steps, n), dtype=bool)
        self.state = None if state is None else np.zeros((steps, n, state.size), dtype=np.float32)

    @property
    def count(self) -> int:
        return int(self._filled.sum())

    @property
    def full(self) -> bool:
        return bool((self._filled == len(self.frames)).all())

    def act(self, actions: Array) -> None:
        for env, action in enumerate(actions):
            if self._filled[env] < len(self.frames):
                self.actions[self._filled[env] - 1, env] = spaces.utils.flatten(self._space, action)

    def add(self, envs: Any, items: Sequence[tuple[Array, Array | None]], start: bool) -> None:
        for env, (frame, state) in zip(envs, items, strict=True):
            row = self._filled[env]
            if row < len(self.frames):
                self.frames[row, env], self.starts[row, env] = frame, start
                if self.state is not None and state is not None:
                    self.state[row, env] = state
                self._filled[env] += 1


class _Decisions:
    """Random actions, each held for some steps, and those of a policy between them."""

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        policy: ActionPolicy | None,
        rng: np.random.Generator,
        share: float,
        hold: int,
    ) -> None:
        self._space = deepcopy(env.single_action_space)
        self._space.seed(int(rng.integers(2**31)))
        if isinstance(self._space, spaces.Box):
            bounded = np.isfinite(self._space.low) & np.isfinite(self._space.high)
            self._middle = np.where(bounded, (self._space.low + self._space.high) / 2, 0)
        self._policy, self._rng, self._share, self._hold = policy, rng, share, hold
        self._left = np.zeros(env.num_envs, dtype=int)
        self._vigour = rng.uniform(0, 1, env.num_envs)
        self._random = np.ones(env.num_envs, dtype=bool)
        self._held = np.stack([np.asarray(self._space.sample()) for _ in range(env.num_envs)])

    def begin(self, envs: Array) -> None:
        """Decide anew at the start of an episode."""
        self._left[envs] = 0
        self._vigour[envs] = self._rng.uniform(0, 1, len(envs))

    def _random_action(self, vigour: float) -> Array:
        action = np.asarray(self._space.sample())
        if not isinstance(self._space, spaces.Box):
            return action
        return (self._middle + vigour * (action - self._middle)).astype(action.dtype)

    def __call__(self, observations: Any) -> Array:
        """Actions of all environments."""
        for env in np.flatnonzero(self._left == 0):
            self._left[env] = self._rng.integers(1, self._hold + 1)
            self._random[env] = self._rng.random() < self._share
            self._held[env] = self._random_action(self._vigour[env])
        self._left -= 1
        if self._policy is None:
            return self._held.copy()
        actions = np.array(self._policy(observations), dtype=self._held.dtype)
        if actions.shape != self._held.shape:
            raise WarmstartError(
                f"The policy's actions have shape {actions.shape}, expected {self._held.shape}: one action "
                "for each environment."
            )
        actions[self._random] = self._held[self._random]
        return actions
