"""Wrappers that turn a task's frames into what an agent observes: features, or stacks of frames.

Each new frame is handled once, when it is made; an episode's history holds nothing of the last one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from typing_extensions import override

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.envs.simulation.layouts import Layout, generic_layout, opaque_block
from warmstart.envs.single.pixels import is_frame
from warmstart.envs.wrappers import Ids, ObservationWrapper

Array = NDArray[Any]
Frames = NDArray[np.uint8]
Features = NDArray[np.float32]
Encode = Callable[[Frames], Features]


class FrameHistoryEnv(ObservationWrapper):
    """Keeps what became of each environment's last frames; the base of the wrappers below.

    Args:
        env: Observes uint8 frames (n, height, width, 3), or a dict of them under ``pixels`` and of the state
            under ``state``; resets in the same step.
        item: Shape and type of what one frame becomes.
        frames: Frames that are looked back on, the newest included.

    Raises:
        WarmstartError: The environment's observations aren't colour frames.
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], item: tuple[tuple[int, ...], type], frames: int
    ) -> None:
        super().__init__(env)
        if frames < 1:
            raise WarmstartError(f"Expected at least 1 frame of history, found {frames}.")
        self.with_state = frame_space(env.single_observation_space)[1] is not None
        shape, dtype = item
        self._past: Array = np.zeros((env.num_envs, frames, *shape), dtype=dtype)

    def _items(self, frames: Frames) -> Array:
        """What new frames become. Shape: (n, *item)."""
        raise NotImplementedError(f"{type(self).__name__} has no _items(frames).")

    def _joined(self, past: Array, state: Array | None) -> Any:
        """Observations from histories (n, frames, *item) and, where there is one, the state (n, k)."""
        raise NotImplementedError(f"{type(self).__name__} has no _joined(past, state).")

    @override
    def begin(self, observations: Any, ids: Ids) -> None:
        self._past[ids] = self._items(self._parts(observations)[0])[:, None]

    @override
    def proceed(self, observations: Any, actions: Array) -> None:
        self._past[:, :-1] = self._past[:, 1:]
        self._past[:, -1] = self._items(self._parts(observations)[0])

    @override
    def observed(self, observations: Any, ids: Ids) -> Any:
        return self._joined(self._past[ids], self._parts(observations)[1])

    def _parts(self, observations: Any) -> tuple[Frames, Array | None]:
        if self.with_state:
            return observations["pixels"], observations["state"]
        return observations, None

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), "past": self._past.copy()}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._past[...] = state["past"]


class EncodedVectorEnv(FrameHistoryEnv):
    """Features of a frozen encoder: the agent, its rollouts and its replay buffer never see a frame.

    Observations are float32: the newest ``frames - 1`` features, oldest first, then their differences, as in
    PIE-G (2212.05749) and FLARE (2101.01857): ``[f2, f3, d (f2 - f1), d (f3 - f2)]`` for three frames, the
    features alone for one; then the state where the task shows it.

    Args:
        env: Observes colour frames, with the state beside them or without; resets in the same step.
        encode: Frames (n, height, width, 3), uint8, to features (n, n_features), float32.
        n_features: Features of one frame.
        frames: Frames that are looked back on, the newest included.
        difference: Factor d on the differences, which are smaller than the features.
        block: Hash of the encoder, so that features only match those of the same one.
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
        super().__init__(env, ((n_features,), np.float32), frames)
        self.encoder_in_use, self._block, self._difference = encode, block, np.float32(difference)
        self._size = n_features * (1 if frames == 1 else 2 * (frames - 1))
        state = env.single_observation_space["state"] if self.with_state else None  # type: ignore[index]
        size = self._size + (0 if state is None else spaces.utils.flatdim(state))
        self.observe_as(spaces.Box(-np.inf, np.inf, (size,), np.float32))

    @property
    def observation_layout(self) -> Layout:
        """Opaque features, then the names of the state's numbers."""
        layout = opaque_block("feature", self._size, self._block)
        if not self.with_state:
            return layout
        known = getattr(self.env, "state_layout", None)
        state = self.env.single_observation_space["state"]  # type: ignore[index]
        return layout + (known if known is not None else generic_layout(state, "state"))

    def _items(self, frames: Frames) -> Features:
        return self.encoder_in_use(frames)

    def _joined(self, past: Array, state: Array | None) -> Features:
        n, frames, _ = past.shape
        parts = [past[:, 0]]
        if frames > 1:
            moved = (past[:, 1:] - past[:, :-1]) * self._difference
            parts = [past[:, 1:].reshape(n, -1), moved.reshape(n, -1)]
        if state is not None:
            parts.append(np.asarray(state, dtype=np.float32).reshape(n, -1))
        return np.concatenate(parts, axis=1)


class StackedVectorEnv(FrameHistoryEnv):
    """The last frames as one image, for an encoder that trains inside the policy.

    Observations are uint8 (n, 3 × frames, height, width), oldest frame first, channels first as SB3's
    networks take them; or a dict of these under ``pixels`` and of the state under ``state``.

    Args:
        env: Observes colour frames, with the state beside them or without; resets in the same step.
        frames: Frames that are looked back on, the newest included.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], frames: int = 3) -> None:
        seen, state = frame_space(env.single_observation_space)
        height, width, channels = seen.shape
        super().__init__(env, ((channels, height, width), np.uint8), frames)
        image = spaces.Box(0, 255, (channels * frames, height, width), np.uint8)
        self.observe_as(image if state is None else spaces.Dict({"pixels": image, "state": state}))

    @property
    def observation_layout(self) -> Layout | None:
        """Pixels have no names; None."""
        return None

    def _items(self, frames: Frames) -> Frames:
        return frames.transpose(0, 3, 1, 2)

    def _joined(self, past: Array, state: Array | None) -> Any:
        stacked = past.reshape(len(past), -1, *past.shape[3:]).copy()
        return stacked if state is None else {"pixels": stacked, "state": state}


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
    if shape is not None and len(shape) == 3:
        hint = "an encoder needs three colour channels last, not grey-scale or alpha, and uint8 from 0 to 255"
    raise WarmstartError(
        "Expected observations that are colour frames, uint8 of shape (height, width, 3), found "
        f"{space}: {hint}."
    )
