"""A made-up task: an action pushes a white square over a grey chequered floor; episodes end after a while."""

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from warmstart.agents.encoders.encoder import EncoderConfig, make_encoder

SIZE = 32
SIDE = 6


class MovingSquare(VectorEnv):
    """The state is the square's corner, x and y, from 0 to 1.

    Args:
        n: Number of environments.
        with_state: Whether the state is observed beside the frames.
        length: Steps of the first environment's episodes; those of the next are one longer each.
        action_space: What an action is.
    """

    def __init__(self, n=4, with_state=True, length=7, action_space=None):
        self.num_envs = n
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        frame = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.with_state = with_state
        state = spaces.Box(0, 1, (2,), np.float64)
        self.single_observation_space = (
            spaces.Dict({"pixels": frame, "state": state}) if with_state else frame
        )
        self.single_action_space = action_space or spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self.lengths = length + np.arange(n)

    def reset(self, *, seed=None, options=None):
        self.rng = np.random.default_rng(seed)
        self.places = self.rng.uniform(0, 1, (self.num_envs, 2))
        self.ages = np.zeros(self.num_envs, dtype=int)
        return self._observations(), {}

    def step(self, actions):
        moves = np.reshape(actions, (self.num_envs, -1)).astype(float)
        self.places = np.clip(self.places + 0.2 * moves[:, :2], 0, 1)
        self.ages += 1
        ended = self.ages >= self.lengths
        infos = {}
        if ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            observations = self._observations()
            for env in np.flatnonzero(ended):
                parts = observations if self.with_state else {"": observations}
                one = {key: value[env] for key, value in parts.items()}
                final[env] = one if self.with_state else one[""]
            infos = {"final_obs": final, "_final_obs": ended}
            self.places[ended] = self.rng.uniform(0, 1, (ended.sum(), 2))
            self.ages[ended] = 0
        none = np.zeros(self.num_envs, dtype=bool)
        return self._observations(), np.zeros(self.num_envs), none, ended, infos

    def _observations(self):
        frames = np.stack([picture(place) for place in self.places])
        return {"pixels": frames, "state": self.places.copy()} if self.with_state else frames


def picture(place):
    """A frame."""
    rows, columns = np.indices((SIZE, SIZE))
    frame = np.repeat((60 + 40 * ((rows // 8 + columns // 8) % 2))[:, :, None], 3, axis=2).astype(np.uint8)
    x, y = np.round(np.asarray(place) * (SIZE - SIDE)).astype(int)
    frame[y : y + SIDE, x : x + SIDE] = (250, 220, 40)
    return frame


def small_encoder(features=8, seed=0, **settings):
    """The smallest architecture there is, on the frames of this task."""
    config = EncoderConfig(
        "nature_cnn", tap="cnn.3", features=features, fit_frames=200, seed=seed, **settings
    )
    return make_encoder(config, (SIZE, SIZE))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)
