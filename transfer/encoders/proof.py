"""Proof that a frozen encoder stayed frozen."""

import hashlib

from warmstart.agents.encoders.encoder import Encoder
from warmstart.agents.encoders.fast_encoding import FastEncoder
from warmstart.core.errors import WarmstartError


class FreezeProof:
    """Remembers a frozen encoder before training, and compares it with what it is afterwards.

    Args:
        encoder: Its weights, buffers and readout are hashed.
        in_use: What computes the features of training: those of the encoder's sample frames are hashed.
    """

    def __init__(self, encoder: Encoder, in_use: FastEncoder) -> None:
        self._encoder, self._in_use = encoder, in_use
        self._before = self._hashes()

    def _hashes(self) -> tuple[str, str]:
        features = self._in_use(self._encoder.samples.cpu().numpy())
        return self._encoder.hash, hashlib.sha256(features.tobytes()).hexdigest()

    def note(self) -> str:
        """What a transfer report says of it.

        Raises:
            WarmstartError: Something changed it: the agent's features no longer mean what they did.
        """
        after = self._hashes()
        if after != self._before:
            raise WarmstartError(
                "The frozen encoder changed in training: its weights, buffers or features had the hashes "
                f"{self._before[0][:16]} and {self._before[1][:16]} before, {after[0][:16]} and "
                f"{after[1][:16]} after. Something trains or overwrites it."
            )
        return (
            "The encoder was frozen: weights, buffers and the features of sample frames have the same hashes "
            f"before and after ({after[0][:16]})."
        )


def precision_note(in_use: FastEncoder) -> str:
    """How exactly features are computed, for a transfer report."""
    return f"Features are computed in {in_use.precision}; their relative error is {100 * in_use.error:.2g}%."
