"""Frames of any Gymnasium environment: those that it observes, or those that it renders."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import AddRenderObservation
from numpy.typing import NDArray
from PIL import Image

from warmstart.core.errors import WarmstartError
from warmstart.envs.frames.options import PixelOptions

AnyEnv = gymnasium.Env[Any, Any]


def observe_frames(env: AnyEnv, options: PixelOptions, task: str) -> AnyEnv:
    """Wrap an environment so that it observes uint8 frames, or a dict of ``pixels`` and ``state``.

    Args:
        env: The environment. One that observes colour images keeps them; any other must render
            ``rgb_array``.
        options: Size, and whether the state stays beside the frames.
        task: The task's text, for messages.

    Raises:
        WarmstartError: The environment neither observes nor renders frames, or an option is about MuJoCo
            only.
    """
    if options.camera is not None or options.quality != "lean":
        env.close()
        raise WarmstartError(
            f"{task}: the options camera and visuals are about batched MuJoCo tasks; this environment draws "
            "its own frames. Leave them out."
        )
    if is_frame(env.observation_space):
        if options.with_state:
            env.close()
            raise WarmstartError(f"{task} observes images and has no state beside them; use obs=pixels.")
    else:
        if _is_other_image(env.observation_space):
            env.close()
            raise WarmstartError(
                f"{task} observes images that aren't colour, uint8 of shape (height, width, 3): "
                f"{env.observation_space}. Ask the environment for colour images, not grey ones or alpha."
            )
        if env.render_mode != "rgb_array":
            env.close()
            raise WarmstartError(f"{task} renders no rgb_array, so there are no frames to observe.")
        env = AddRenderObservation(
            env, render_only=not options.with_state, render_key="pixels", obs_key="state"
        )
    return (
        env if options.height is None else ResizedFrames(env, options.height, options.width or options.height)
    )


def is_frame(space: spaces.Space[Any]) -> bool:
    """Whether a space holds colour images of uint8. Shape: (height, width, 3)."""
    return (
        isinstance(space, spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[2] == 3
    )


def _is_other_image(space: spaces.Space[Any]) -> bool:
    """Whether a space holds uint8 pixels in some other form: grey, stacked, with alpha, channels first."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)


class ResizedFrames(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Frames of another size: each new pixel is the mean of those that it covers.

    Args:
        env: Observes frames, alone or under ``pixels``.
        height: New number of rows.
        width: New number of columns.
    """

    def __init__(self, env: AnyEnv, height: int, width: int) -> None:
        super().__init__(env)
        self._size = (width, height)
        frame = spaces.Box(0, 255, (height, width, 3), np.uint8)
        space = env.observation_space
        self.observation_space = (
            spaces.Dict({**space.spaces, "pixels": frame}) if isinstance(space, spaces.Dict) else frame
        )

    def observation(self, observation: Any) -> Any:
        """Resize the frame of an observation."""
        if isinstance(observation, dict):
            return {**observation, "pixels": self._resized(observation["pixels"])}
        return self._resized(observation)

    def _resized(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(
            Image.fromarray(np.ascontiguousarray(frame)).resize(self._size, Image.Resampling.BOX)
        )
