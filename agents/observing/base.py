"""The step between a task's observations and an agent's networks, which a checkpoint carries along."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from gymnasium.vector import VectorEnv
from typing_extensions import override

from warmstart.agents.encoders.encoder import Encoder
from warmstart.agents.encoders.fast_encoding import FastEncoder
from warmstart.agents.observing.frames import EncodedVectorEnv, StackedVectorEnv
from warmstart.core.bounds import State
from warmstart.core.plain import to_plain
from warmstart.envs.wrappers import PassingWrapper

ENCODER_FILE = "encoder.safetensors"
"""A frozen encoder's file in a checkpoint directory."""


class Observing(ABC):
    """Makes what an agent observes; the same for training, evaluation and films."""

    kind: ClassVar[str]
    """Name in a checkpoint."""

    @abstractmethod
    def wrapper(self, env: VectorEnv[Any, Any, Any]) -> PassingWrapper:
        """The wrapper of a task's environments that does it."""

    def wrap(self, env: VectorEnv[Any, Any, Any]) -> PassingWrapper:
        """Put it around a task's environments, which then tell of it as ``vision``."""
        wrapped = self.wrapper(env)
        wrapped.vision = self  # type: ignore[attr-defined]
        return wrapped

    def to_json(self) -> State:
        """Plain values from which `read_observing` makes it again."""
        return {"kind": self.kind, **to_plain(self)}


@dataclass(frozen=True)
class EncodedFrames(Observing):
    """Features of a frozen encoder, computed once per frame."""

    kind: ClassVar[str] = "frozen"
    encoder: Encoder
    """Architecture, weights, preprocessing and fitted readout."""
    n_threads: int = 1
    """Threads that encode; the features don't depend on it."""

    @override
    def wrapper(self, env: VectorEnv[Any, Any, Any]) -> EncodedVectorEnv:
        encoder, config = self.encoder, self.encoder.config
        encode = FastEncoder(encoder, config.precision, self.n_threads)
        return EncodedVectorEnv(
            env, encode, encoder.n_features, config.frames, config.difference, encoder.hash[:16]
        )

    @override
    def to_json(self) -> State:
        return {"kind": self.kind, "encoder": self.encoder.hash}


@dataclass(frozen=True)
class StackedFrames(Observing):
    """Stacks of frames, for an encoder that is part of the policy."""

    kind: ClassVar[str] = "stacked"
    frames: int = 3
    """Frames in a stack, the newest included."""

    @override
    def wrapper(self, env: VectorEnv[Any, Any, Any]) -> StackedVectorEnv:
        return StackedVectorEnv(env, self.frames)
