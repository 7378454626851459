"""Frames encoded once, where they are made: the agent, its rollouts and its buffer see features.

May import envs and agents.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from warmstart.envs.errors import WarmstartError
from warmstart.envs.layouts import Layout, generic_layout, opaque_block
from warmstart.envs.seeding import masked_ids
from warmstart.envs.single_pixels import is_frame
from warmstart.envs.wrappers import PassingWrapper

Array = NDArray[Any]
Features = NDArray[np.float32]
Encode = Callable[[NDArray[np.uint8]], Features]


class History:
    """The features of an environment's last frames, and how they are put together.

    The newest ``frames - 1`` features, oldest first, followed by their differences, as in PIE-G (2212.05749)
    and FLARE (2101.01857): ``[f2, f3, d (f2 - f1), d (f3 - f2)]`` for three frames. With one frame it is the
    features alone. An episode begins with its first frame repeated, so without motion.

    Args:
        n_envs: Number of environments.
        n_features: Features of one frame.
        frames: Frames that are looked back on, the newest included.
        difference: Factor on the differences, which are smaller than the features.
    """

    def __init__(self, n_envs: int, n_features: int, frames: int, difference: float) -> None:
        self.past: Features = np.zeros((n_envs, frames, n_features), dtype=np.float32)
        self.difference = np.float32(difference)

    @property
    def size(self) -> int:
        """Numbers that one observation consists of."""
        _, frames, features = self.past.shape
        return int(features * (1 if frames == 1 else 2 * (frames - 1)))

    def begin(self, ids: NDArray[np.integer[Any]], features: Features) -> None:
        """Start the history of some environments anew. Shape of the features: (len(ids), n_features)."""
        self.past[ids] = features[:, None]

    def push(self, features: Features) -> None:
        """Add the newest features of all environments. Shape: (n_envs, n_features)."""
        self.past[:, :-1] = self.past[:, 1:]
        self.past[:, -1] = features

    def observation(self) -> Features:
        """What the agent sees. Shape: (n_envs, size)."""
        return join(self.past, self.difference)


def join(past: Features, difference: Any) -> Features:
    """Features of consecutive frames as one observation; see `History`.

    Args:
        past: Shape: (n, frames, n_features).
        difference: Factor on the differences.
    """
    n, frames, _ = past.shape
    if frames == 1:
        return past[:, 0].copy()
    moved = (past[:, 1:] - past[:, :-1]) * difference
    return np.concatenate((past[:, 1:].reshape(n, -1), moved.reshape(n, -1)), axis=1)


class EncodedVectorEnv(PassingWrapper):
    """Encodes each new frame of all environments together, once, and hands out features.

    Observations are float32 features (n, k), followed by the state where the task shows it. Final
    observations of ended episodes are encoded too; the history of an episode that begins holds nothing of the
    last one.

    Args:
        env: Observes uint8 frames (n, height, width, 3), or a dict of them under ``pixels`` and of the state
            under ``state``; resets in the same step.
        encode: Frames (n, height, width, 3), uint8, to features (n, n_features), float32.
        n_features: Features of one frame.
        frames: See `History`.
        difference: See `History`.
        block: Hash of the encoder, so that features only match those of the same one.

    Raises:
        WarmstartError: The environment's observations aren't frames.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        encode: Encode,
        n_features: int,
        frames: int = 2,
        difference: float = 5.0,
        block: str = "",
    ) -> None:
        super().__init__(env)
        self._encode, self._block = encode, block
        self._with_state = frame_space(env.single_observation_space)[1] is not None
        self._history = History(env.num_envs, n_features, frames, difference)
        size = self._history.size + self._state_size
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    @property
    def observation_layout(self) -> Layout:
        """Opaque features, then the names of the state's numbers."""
        layout = opaque_block("feature", self._history.size, self._block)
        if not self._with_state:
            return layout
        known = getattr(self.env, "state_layout", None)
        state = self.env.single_observation_space["state"]  # type: ignore[index]
        return layout + (known if known is not None else generic_layout(state, "state"))

    @property
    def _state_size(self) -> int:
        if not self._with_state:
            return 0
        return int(spaces.utils.flatdim(self.env.single_observation_space["state"]))  # type: ignore[index]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Features, dict[str, Any]]:
        """Begin new episodes, with empty histories."""
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        ids = masked_ids(options, self.num_envs)
        frames, state = self._parts(observations)
        self._history.begin(ids, self._encode(frames[ids]))
        return self._with(self._history.observation(), state), infos

    def step(self, actions: Array) -> tuple[Features, Array, Array, Array, dict[str, Any]]:
        """Take one step in every environment."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        frames, state = self._parts(observations)
        ended = np.flatnonzero(terminations | truncations)
        if not ended.size:
            self._history.push(self._encode(frames))
            features = self._history.observation()
        else:
            features, infos = self._step_with_ends(frames, ended, infos)
        return self._with(features, state), rewards, terminations, truncations, infos

    def _step_with_ends(
        self, frames: NDArray[np.uint8], ended: NDArray[np.integer[Any]], infos: dict[str, Any]
    ) -> tuple[Features, dict[str, Any]]:
        """Encode the last frames of ended episodes, then the first ones of those that begin."""
        first = frames[ended]
        finals = [self._parts(infos["final_obs"][env]) for env in ended]
        frames = frames.copy()
        for env, (frame, _) in zip(ended, finals, strict=True):
            frames[env] = frame
        self._history.push(self._encode(frames))
        last = self._history.observation()
        final = np.full(self.num_envs, None, dtype=object)
        for env, (_, state) in zip(ended, finals, strict=True):
            final[env] = self._with(last[env][None], None if state is None else np.asarray(state)[None])[0]
        self._history.begin(ended, self._encode(first))
        return self._history.observation(), {**infos, "final_obs": final}

    def _parts(self, observations: Any) -> tuple[NDArray[np.uint8], Array | None]:
        if self._with_state:
            return observations["pixels"], observations["state"]
        return observations, None

    def _with(self, features: Features, state: Array | None) -> Features:
        if state is None:
            return features
        flat = np.asarray(state, dtype=np.float32).reshape(len(features), -1)
        return np.concatenate((features, flat), axis=1)

    def state_dict(self) -> dict[str, Any]:
        """State of the environments and the histories."""
        return {"env": self.env.state_dict(), "past": self._history.past.copy()}  # type: ignore[attr-defined]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.env.load_state_dict(state["env"])  # type: ignore[attr-defined]
        self._history.past[...] = state["past"]


def frame_space(space: spaces.Space[Any]) -> tuple[spaces.Box, spaces.Space[Any] | None]:
    """The space of a task's frames, and that of the state beside them, if there is one.

    Raises:
        WarmstartError: Its observations aren't colour frames of uint8.
    """
    frames, state = space, None
    if isinstance(space, spaces.Dict) and set(space.spaces) == {"pixels", "state"}:
        frames, state = space["pixels"], space["state"]
    if is_frame(frames):
        assert isinstance(frames, spaces.Box)
        return frames, state
    shape = getattr(space, "shape", None)
    hint = "ask for frames with the task's option obs=pixels"
    if shape is not None and len(shape) == 3 and shape[2] in (1, 4):
        hint = "an encoder needs three colour channels, not grey-scale or alpha"
    raise WarmstartError(
        "Expected observations that are colour frames, uint8 of shape (height, width, 3), found "
        f"{space}: {hint}."
    )
