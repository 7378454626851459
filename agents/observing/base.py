"""How an agent sees: the step between a task's observations and its networks. A checkpoint carries it along.

May import envs and agents.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from warmstart.agents.encoders.encoder import Encoder, load_encoder
from warmstart.agents.encoders.fast_encoding import fast
from warmstart.agents.observing.frames import EncodedVectorEnv, StackedVectorEnv
from warmstart.core.errors import WarmstartError, unknown_name
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


def read_vision(values: Mapping[str, Any], directory: Path) -> Vision:
    """Make what a checkpoint's metadata describe.

    Args:
        values: What `Vision.to_json` gave.
        directory: The checkpoint.

    Raises:
        WarmstartError: The encoder's file is missing or another one, or the kind is unknown.
    """
    from warmstart.agents.observing.history import HistoryVision  # these two import this module
    from warmstart.agents.observing.privileged import PrivilegedVision

    kind = values["kind"]
    if kind == "stacked":
        return StackedVision(int(values["frames"]))
    if kind == "privileged":
        return PrivilegedVision.from_json(values)
    if kind == "history":
        return HistoryVision.from_json(values)
    if kind != "frozen":
        raise unknown_name("kind of vision", str(kind), ("frozen", "stacked", "privileged", "history"))
    path = directory / ENCODER_FILE
    if not path.is_file():
        raise WarmstartError(
            f"{directory} is not complete: its agent sees by an encoder, but {path} is missing."
        )
    encoder = load_encoder(path)
    if encoder.hash != values["encoder"]:
        raise WarmstartError(
            f"{path} is not the encoder that the checkpoint was trained with: its hash differs."
        )
    return FrozenVision(encoder)
