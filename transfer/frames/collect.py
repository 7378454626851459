"""Acting in a task to see its frames, for pretraining an encoder."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from warmstart.agents.observing.frames import frame_space
from warmstart.core.errors import WarmstartError
from warmstart.transfer.frames.data import FrameData

Array = NDArray[Any]
ActionPolicy = Callable[[Any], Array]
"""Observations of all environments to their actions."""


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
    everyone = np.arange(env.num_envs)
    observations, _ = env.reset(seed=int(rng.integers(2**31)))
    seen = _Columns(env, observations, steps)
    seen.add(*_parts(observations), everyone, start=True)
    decide = _Decisions(env, policy, rng, share, hold)
    while not seen.full:
        actions = decide(observations)
        seen.act(actions)
        observations, _, terminations, truncations, infos = env.step(actions)
        frames, states = _parts(observations)
        ended = np.flatnonzero(terminations | truncations)
        if ended.size:
            seen.add(*_with_last(frames, states, infos["final_obs"], ended), everyone, start=False)
            seen.add(frames, states, ended, start=True)
            decide.begin(ended)
        else:
            seen.add(frames, states, everyone, start=False)
        if progress is not None:
            progress(seen.count, steps * env.num_envs)
    return FrameData(seen.frames, seen.actions, seen.starts, seen.state, (task,) if task else ())


def _parts(observations: Any) -> tuple[Array, Array | None]:
    """Frames, and states as rows if there are some."""
    if not isinstance(observations, dict):
        return observations, None
    frames = observations["pixels"]
    return frames, np.reshape(observations["state"], (len(frames), -1))


def _with_last(frames: Array, states: Array | None, last: Array, ended: Array) -> tuple[Array, Array | None]:
    """Frames and states with those of episodes that begin replaced by the last ones of those that ended."""
    frames = frames.copy()
    if states is None:
        for env in ended:
            frames[env] = last[env]
        return frames, None
    states = states.copy()
    for env in ended:
        frames[env], states[env] = last[env]["pixels"], np.ravel(last[env]["state"])
    return frames, states


class _Columns:
    """Frames as they come: an environment whose episode ends gives two of them in that step."""

    def __init__(self, env: VectorEnv[Any, Any, Any], observations: Any, steps: int) -> None:
        frames, states = _parts(observations)
        n, self._space = env.num_envs, env.single_action_space
        self._filled = np.zeros(n, dtype=int)
        self.frames = np.zeros((steps, *frames.shape), dtype=np.uint8)
        self.actions = np.full((steps, n, spaces.utils.flatdim(self._space)), np.nan, dtype=np.float32)
        self.starts = np.zeros((steps, n), dtype=bool)
        self.state = None if states is None else np.zeros((steps, *states.shape), dtype=np.float32)

    @property
    def count(self) -> int:
        """Frames there are."""
        return int(self._filled.sum())

    @property
    def full(self) -> bool:
        """Whether every column is."""
        return bool((self._filled == len(self.frames)).all())

    def act(self, actions: Array) -> None:
        """Note the actions beside the newest frames."""
        for env in np.flatnonzero(self._filled < len(self.frames)):
            action: Any = spaces.utils.flatten(self._space, actions[env])
            self.actions[self._filled[env] - 1, env] = action

    def add(self, frames: Array, states: Array | None, envs: Array, start: bool) -> None:
        """Append what some of all environments show, where there is room."""
        envs = envs[self._filled[envs] < len(self.frames)]
        rows = self._filled[envs]
        self.frames[rows, envs], self.starts[rows, envs] = frames[envs], start
        if self.state is not None and states is not None:
            self.state[rows, envs] = states[envs]
        self._filled[envs] += 1


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
            low, high = (np.where(bounded, bound, 0) for bound in (self._space.low, self._space.high))
            self._middle = (low + high) / 2
        self._policy, self._rng, self._share, self._hold = policy, rng, share, hold
        self._left = np.zeros(env.num_envs, dtype=int)
        self._vigour = rng.uniform(0, 1, env.num_envs)
        self._random = np.ones(env.num_envs, dtype=bool)
        self._held: Array = np.stack([np.asarray(self._space.sample()) for _ in range(env.num_envs)])

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
