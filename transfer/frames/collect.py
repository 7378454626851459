"""Acting in a task to record its frames, for pretraining an encoder."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.agents.observing.frames import frame_space
from warmstart.core.errors import WarmstartError
from warmstart.envs.wrappers import Ids, ObservationWrapper
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
    """Act in a task and keep what it shows.

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
    recorder = _Recorder(env, steps)
    observations, _ = recorder.reset(seed=int(rng.integers(2**31)))
    decide = _Decisions(env, policy, rng, share, hold)
    while recorder.count < steps * env.num_envs:
        observations, _, terminations, truncations, _ = recorder.step(decide(observations))
        decide.begin(np.flatnonzero(terminations | truncations))
        if progress is not None:
            progress(recorder.count, steps * env.num_envs)
    tasks = (task,) if task else ()
    return FrameData(recorder.frames, recorder.actions, recorder.starts, recorder.state, tasks)


class _Recorder(ObservationWrapper):
    """Keeps what an environment shows: one whose episode ends shows two frames in that step.

    Choices in the state become one-hot, so that a linear map can tell them.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], steps: int) -> None:
        super().__init__(env)
        frame_space(env.single_observation_space)
        self._filled = np.zeros(env.num_envs, dtype=int)
        shown: Any = env.single_observation_space
        with_state, columns = isinstance(shown, spaces.Dict), (steps, env.num_envs)
        size = spaces.utils.flatdim(env.single_action_space)
        self.frames = np.zeros((*columns, *(shown["pixels"] if with_state else shown).shape), dtype=np.uint8)
        self.actions = np.full((*columns, size), np.nan, dtype=np.float32)
        self.starts = np.zeros(columns, dtype=bool)
        self.state = None
        if with_state:
            numbers = spaces.utils.flatdim(shown["state"])
            self.state = np.zeros((*columns, numbers), dtype=np.float32)

    @property
    def count(self) -> int:
        """Frames there are."""
        return int(self._filled.sum())

    @override
    def observed(self, observations: Any, ids: Ids) -> Any:
        return observations

    @override
    def begin(self, observations: Any, ids: Ids) -> None:
        self._add(observations, ids, start=True)

    @override
    def proceed(self, observations: Any, actions: Array) -> None:
        for env in np.flatnonzero(self._filled < len(self.frames)):
            action: Any = spaces.utils.flatten(self.env.single_action_space, actions[env])
            self.actions[self._filled[env] - 1, env] = action
        self._add(observations, self._everyone, start=False)

    def _add(self, observations: Any, envs: Ids, start: bool) -> None:
        """Append what some environments show, where there is room. Shape: (len(envs), ...)."""
        room = self._filled[envs] < len(self.frames)
        rows, envs = self._filled[envs[room]], envs[room]
        frames = observations if self.state is None else observations["pixels"]
        self.frames[rows, envs], self.starts[rows, envs] = frames[room], start
        if self.state is not None:
            space: Any = self.single_observation_space
            for row, env, state in zip(rows, envs, observations["state"][room], strict=True):
                flat: Any = spaces.utils.flatten(space["state"], state)
                self.state[row, env] = flat
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
        self._amplitude = rng.uniform(0, 1, env.num_envs)
        self._random = np.ones(env.num_envs, dtype=bool)
        self._held: Array = np.stack([np.asarray(self._space.sample()) for _ in range(env.num_envs)])

    def begin(self, envs: Array) -> None:
        """Decide anew at the start of an episode."""
        self._left[envs] = 0
        self._amplitude[envs] = self._rng.uniform(0, 1, len(envs))

    def _random_action(self, amplitude: float) -> Array:
        action = np.asarray(self._space.sample())
        if not isinstance(self._space, spaces.Box):
            return action
        return (self._middle + amplitude * (action - self._middle)).astype(action.dtype)

    def __call__(self, observations: Any) -> Array:
        """Actions of all environments."""
        for env in np.flatnonzero(self._left == 0):
            self._left[env] = self._rng.integers(1, self._hold + 1)
            self._random[env] = self._rng.random() < self._share
            self._held[env] = self._random_action(self._amplitude[env])
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
