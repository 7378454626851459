"""A task seen in small frames, without OpenGL, and agents for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from tests.agents.conftest import vectorise
from warmstart.agents.algorithms.ppo import PPO
from warmstart.agents.algorithms.sac import SAC
from warmstart.agents.algorithms.td3 import TD3
from warmstart.agents.encoders.backbones import BACKBONES, BackboneKind
from warmstart.agents.encoders.preprocessing import Preprocessing
from warmstart.agents.extractors.extractor import EncoderExtractor
from warmstart.agents.extractors.policies import ENCODER_POLICIES

SIZE = 20
FRAMES = 2
OURS: dict[str, Any] = {"ppo": PPO, "sac": SAC, "td3": TD3}
SB3: dict[str, Any] = {
    "ppo": stable_baselines3.PPO,
    "sac": stable_baselines3.SAC,
    "td3": stable_baselines3.TD3,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 8, "batch_size": 8, "n_epochs": 2},
    "sac": {"learning_starts": 4, "buffer_size": 100, "batch_size": 8},
    "td3": {"learning_starts": 4, "buffer_size": 100, "batch_size": 8, "policy_delay": 1},
}


class PixelTask(gymnasium.Env[Any, Any]):
    """Drive a bright block to the middle, seen in stacks of noisy frames, with its position if wanted."""

    def __init__(self, with_state: bool = False, size: int = SIZE, frames: int = FRAMES) -> None:
        image = spaces.Box(0, 255, (3 * frames, size, size), np.uint8)
        state = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.with_state = with_state
        self.observation_space = spaces.Dict({"pixels": image, "state": state}) if with_state else image
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.stack = np.zeros((frames, 3, size, size), np.uint8)
        self.x, self.t = 0.0, 0

    def _observe(self) -> Any:
        self.stack = np.roll(self.stack, -1, 0)
        self.stack[-1] = self.np_random.integers(0, 50, self.stack.shape[1:])
        centre = int((self.x + 1) / 2 * (self.stack.shape[-1] - 4))
        self.stack[-1, :, 4:9, centre : centre + 4] = np.array([250, 180, 110])[:, None, None]
        pixels = self.stack.reshape(-1, *self.stack.shape[2:]).copy()
        return {"pixels": pixels, "state": np.array([self.x, self.t / 10])} if self.with_state else pixels

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.uniform(-0.9, 0.9)), 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x = float(np.clip(self.x + 0.2 * action[0], -1, 1))
        self.t += 1
        return self._observe(), -abs(self.x), False, self.t >= 10, {}


class TinyNetwork(nn.Module):
    """Convolutions, batch norm and dropout: what spoils frozen networks, in little."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 3, 2)
        )
        nn.init.normal_(self.features[1].running_mean)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)  # type: ignore[no-any-return]


TINY = BackboneKind(
    "tiny", TinyNetwork, preprocessing=Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
)


@contextmanager
def tiny_backbone() -> Iterator[None]:
    BACKBONES["tiny"] = TINY
    yield
    del BACKBONES["tiny"]


def pixel_env(with_state: bool = False, n: int = 2) -> VecEnv:
    return vectorise(lambda: PixelTask(with_state), n)


def policy_class(algorithm: str, with_state: bool) -> Any:
    return ENCODER_POLICIES.get(algorithm, "MultiInputPolicy" if with_state else "CnnPolicy")


def agent(
    algorithm: str, with_state: bool = False, plain: bool = False, extractor: Any = None, **settings: Any
) -> Any:
    """An agent with the tiny encoder in its policy."""
    kwargs = {
        "net_arch": [8],
        "features_extractor_class": EncoderExtractor,
        "features_extractor_kwargs": {"encoder": "tiny", "features_dim": 6, **(extractor or {})},
        "normalize_images": False,
    }
    cls = (SB3 if plain else OURS)[algorithm]
    merged = {**SETTINGS[algorithm], "policy_kwargs": kwargs, "seed": 0, "device": "cpu", **settings}
    return cls(policy_class(algorithm, with_state), pixel_env(with_state), **merged)


def tensors(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def moved(model: Any, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, value in model.policy.state_dict().items() if not torch.equal(value, before[n])}


def backbone_of(model: Any) -> nn.Module:
    """The backbone that trains."""
    holder = model.policy if hasattr(model.policy, "mlp_extractor") else model.policy.critic
    return holder.features_extractor.backbone  # type: ignore[no-any-return]
