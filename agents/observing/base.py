"""How an agent sees: the step between a task's observations and its networks. A checkpoint carries it along.

May import envs and agents.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from gymnasium.vector import VectorEnv

from warmstart.agents.encoders.encoder import Encoder
from warmstart.agents.encoders.fast_encoding import fast
from warmstart.agents.observing.frames import EncodedVectorEnv, StackedVectorEnv
from warmstart.envs.wrappers import PassingWrapper

ENCODER_FILE = "encoder.safetensors"
"""A frozen encoder's file in a checkpoint directory."""


class Vision(ABC):
    """Makes what an agent observes; the same for training, evaluation and films."""

    @abstractmethod
    def wrap(self, env: VectorEnv[Any, Any, Any]) -> PassingWrapper:
        """Put it around a task's environments."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values from which `read_vision` makes it again."""


@dataclass(frozen=True)
class FrozenVision(Vision):
    """Features of a frozen encoder, computed once per frame."""

    encoder: Encoder
    """Architecture, weights, preprocessing and fitted readout."""
    n_threads: int = 1
    """Threads that encode; the features don't depend on it."""

    def wrap(self, env: VectorEnv[Any, Any, Any]) -> EncodedVectorEnv:
        """See `Vision.wrap`."""
        config = self.encoder.config
        encode = fast(self.encoder, config.precision, n_threads=self.n_threads)
        wrapped = EncodedVectorEnv(
            env,
            encode,
            self.encoder.n_features,
            config.frames,
            config.difference,
            self.encoder.hash[:16],
        )
        wrapped.vision = self  # type: ignore[attr-defined]
        wrapped.encoder_in_use = encode  # type: ignore[attr-defined]
        return wrapped

    def to_json(self) -> dict[str, Any]:
        """See `Vision.to_json`; the encoder lies in a file of its own."""
        return {"kind": "frozen", "encoder": self.encoder.hash}


@dataclass(frozen=True)
class StackedVision(Vision):
    """Stacks of frames, for an encoder that is part of the policy."""

    frames: int = 3
    """Frames in a stack, the newest included."""

    def wrap(self, env: VectorEnv[Any, Any, Any]) -> StackedVectorEnv:
        """See `Vision.wrap`."""
        wrapped = StackedVectorEnv(env, self.frames)
        wrapped.vision = self  # type: ignore[attr-defined]
        return wrapped

    def to_json(self) -> dict[str, Any]:
        """See `Vision.to_json`."""
        return {"kind": "stacked", "frames": self.frames}
