"""Proof that a frozen encoder stayed frozen. May import envs and agents.

The wrapper that encodes each frame once is `warmstart.agents.frame_history.EncodedVectorEnv`: evaluation and
checkpoints, which are the agents' own, need it too.
"""

from warmstart.agents.encoders import Encoder
from warmstart.envs.errors import WarmstartError


def proof_of_freeze(encoder: Encoder, before: str) -> str:
    """Compare an encoder's hash with that from before training.

    Args:
        encoder: Its weights, buffers and readout are hashed.
        before: `Encoder.hash` before training.

    Returns:
        A note for the transfer report.

    Raises:
        WarmstartError: Something changed it: the agent's features no longer mean what they did.
    """
    after = encoder.hash
    if after != before:
        raise WarmstartError(
            f"The frozen encoder changed in training: its hash was {before[:16]}, now it is {after[:16]}. "
            "Something trains or overwrites it."
        )
    return (
        f"The encoder was frozen: its weights and buffers have the same hash before and after ({after[:16]})."
    )
