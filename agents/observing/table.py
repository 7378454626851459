"""The ways of observing by the name that a checkpoint gives them."""

from pathlib import Path

from warmstart.agents.encoders.encoder import load_encoder
from warmstart.agents.observing.base import ENCODER_FILE, EncodedFrames, Observing, StackedFrames
from warmstart.agents.observing.history import ObservationHistory
from warmstart.agents.observing.privileged import PrivilegedObservation
from warmstart.core.bounds import Settings
from warmstart.core.errors import WarmstartError
from warmstart.core.plain import read_named

KINDS: dict[str, type[Observing]] = {
    kind.kind: kind for kind in (EncodedFrames, StackedFrames, PrivilegedObservation, ObservationHistory)
}


def read_observing(values: Settings, directory: Path) -> Observing:
    """Make what a checkpoint's metadata describe.

    Args:
        values: What `Observing.to_json` returned.
        directory: The checkpoint.

    Raises:
        WarmstartError: The encoder's file is missing or another one, or the kind is unknown.
    """
    if values["kind"] != EncodedFrames.kind:
        return read_named("way of observing", KINDS, values, "kind", ("vision",))
    path = directory / ENCODER_FILE
    if not path.is_file():
        raise WarmstartError(
            f"{directory} is not complete: its agent observes by an encoder, but {path} is missing."
        )
    encoder = load_encoder(path)
    if encoder.hash != values["encoder"]:
        raise WarmstartError(
            f"{path} is not the encoder that the checkpoint was trained with: its hash differs."
        )
    return EncodedFrames(encoder)
