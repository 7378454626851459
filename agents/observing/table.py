"""The ways of observing by the name that a checkpoint gives them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmstart.agents.encoders.encoder import load_encoder
from warmstart.agents.observing.base import ENCODER_FILE, FrozenVision, StackedVision, Vision
from warmstart.agents.observing.history import HistoryVision
from warmstart.agents.observing.privileged import PrivilegedVision
from warmstart.core.errors import WarmstartError, unknown_name


def read_vision(values: Mapping[str, Any], directory: Path) -> Vision:
    """Make what a checkpoint's metadata describe.

    Args:
        values: What `Vision.to_json` gave.
        directory: The checkpoint.

    Raises:
        WarmstartError: The encoder's file is missing or another one, or the kind is unknown.
    """
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
