"""Encoders with pretrained weights: of files, published models, other agents and modules of the user's own.

``squeezenet1_1:weights=imagenet`` is the text of one; see `NAMED` for the published weights that are known
by name.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from warmstart.agents.checkpoints.checkpoint import Checkpoint
from warmstart.agents.encoders.backbones import (
    BACKBONES,
    Backbone,
    BackboneKind,
    backbone_kind,
    build_backbone,
    register_backbone,
)
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.encoder import Encoder, assemble, configured, make_encoder
from warmstart.agents.encoders.preprocessing import Preprocessing
from warmstart.agents.loading import load_checkpoint
from warmstart.agents.observing.base import EncodedFrames
from warmstart.core.errors import WarmstartError
from warmstart.core.files import content_hash
from warmstart.transfer.encoders.sources import NAMED, FoundWeights, MissingWeightsError, find_weights, locate
from warmstart.transfer.encoders.weights import KeyTable, bare_names, check_match, load_weights, match_keys

EXTRACTORS = tuple(f"{at}features_extractor." for at in ("critic.", "", "pi_", "actor."))
"""Where SB3 keeps an agent's features extractor; SAC trains the critic's, which the actor may share."""
log = logging.getLogger(__name__)


def pretrained_encoder(
    config: EncoderConfig | str, frame_shape: Sequence[int], *, path: str | Path | None = None
) -> tuple[Encoder, KeyTable | None]:
    """Make an encoder with the weights that its settings name; its readout is not fitted yet.

    Args:
        config: Which one, or its text.
        frame_shape: Height and width of the task's frames.
        path: Where the weights lie, if another place than the one that ``config.weights`` is found at; the
            name still tells the preprocessing.

    Returns:
        The encoder and how its tensors were found; ``None`` for weights drawn at random, and for a file that
        ``Encoder.save`` wrote.

    Raises:
        MissingWeightsError: The weights aren't on this machine.
        WarmstartError: They are damaged, or of another architecture.
    """
    if isinstance(config, str):
        config = EncoderConfig.parse(config)
    if config.file or config.weights == "random":
        if config.file:
            find_weights(config)
        return make_encoder(config, frame_shape), None
    found = locate(config) if path is None else _given_at(config, Path(path))
    backbone = build_backbone(config.architecture, config.tap)
    tensors, preprocessing = _read(found, backbone)
    table = match_keys(tensors, backbone)
    check_match(table, backbone, str(found.path))
    if not found.commercial:
        log.warning("The weights %s may not be used commercially (licence: %s).", found.source, found.licence)
    provenance = {
        "source": found.source,
        "file": found.path.name,
        "sha256": content_hash(found.path),
        "licence": found.licence,
    }
    own = {name: tensors[source] for name, source in table.matched}
    encoder = make_encoder(config, frame_shape, own, preprocessing=preprocessing, provenance=provenance)
    return encoder, table


def _given_at(config: EncoderConfig, path: Path) -> FoundWeights:
    """What is known of an encoder's weights, which lie at another place than usual."""
    if not path.exists():
        raise MissingWeightsError(f"There are no weights at {path}.")
    named = NAMED.get(config.weights)
    return locate(replace(config, weights=str(path))) if named is None else named.at(path)


def _read(found: FoundWeights, backbone: Backbone) -> tuple[Mapping[str, torch.Tensor], Preprocessing | None]:
    """Tensors of a file of weights or of an agent, and what they expect as far as is known."""
    if found.path.is_file() and found.path.suffix != ".zip":
        return load_weights(found.path), found.preprocessing
    checkpoint = load_checkpoint(found.path)
    if isinstance(checkpoint.vision, EncodedFrames):
        encoder = checkpoint.vision.encoder
        return encoder.backbone.network.state_dict(), encoder.preprocessing
    text = checkpoint.policy_kwargs.get("features_extractor_kwargs", {}).get("encoder")
    expected = found.preprocessing
    if text is not None:  # an EncoderExtractor, which records how it prepares frames
        own = EncoderConfig.parse(text)
        expected = configured(backbone_kind(own.architecture).preprocessing, own)
    return for_single_frames(extractor_tensors(checkpoint), backbone), expected


def extractor_tensors(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The tensors of an agent's features extractor, by their names in it, in the shapes of plain layers.

    Raises:
        WarmstartError: The agent has none that has tensors: it observes no frames.
    """
    own = checkpoint.policy_tensors
    for prefix in EXTRACTORS:
        tensors = {name.removeprefix(prefix): own[name] for name in own if name.startswith(prefix)}
        if tensors:
            return without_adapters(tensors)
    raise WarmstartError(
        f"{checkpoint.path} is an agent without an image encoder: expected tensors such as "
        f"{EXTRACTORS[1]}cnn.0.weight, found {', '.join(sorted(own)[:4])}."
    )


def without_adapters(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add what low-rank adapters learned to the convolutions beside which they stand; see `AdaptedConv2d`.

    The convolutions' weights keep their shapes.
    """
    out = {name: value for name, value in tensors.items() if not name.endswith((".down", ".up"))}
    for place in (name.removesuffix(".down") for name in tensors if name.endswith(".down")):
        down, up, weight = (tensors[f"{place}.{part}"] for part in ("down", "up", "weight"))
        out[f"{place}.weight"] = weight + (up.flatten(1) @ down.flatten(1)).view_as(weight)
    return out


def for_single_frames(tensors: Mapping[str, torch.Tensor], backbone: Backbone) -> dict[str, torch.Tensor]:
    """Make a network that was fed stacks of colour frames one that is fed a single frame.

    The first convolution's weights are summed over the frames, oldest first with their colours together:
    one frame gives what a stack of it repeated gave. Shape: (outputs, 3 * frames, height, width) to
    (outputs, 3, height, width); the other tensors stay as they are.
    """
    own = backbone.network.state_dict()
    colours = {bare: own[name].shape for name, bare in bare_names(own).items() if own[name].ndim == 4}
    out = dict(tensors)
    for name, bare in bare_names(tensors).items():
        value, expected = tensors[name], colours.get(bare)
        stacked = value.ndim == 4 and value.shape[1] > 3 and value.shape[1] % 3 == 0
        if stacked and expected is not None and expected[1] == 3:
            out[name] = value.unflatten(1, (-1, 3)).sum(1)  # type: ignore[no-untyped-call]
    return out


def module_encoder(
    module: nn.Module,
    preprocessing: Preprocessing,
    frame_shape: Sequence[int],
    *,
    name: str = "module",
    tap: str = "",
    **options: Any,
) -> Encoder:
    """Make an encoder of a module of your own, with the weights that it has; it is copied.

    Args:
        module: Takes prepared frames (n, 3, height, width).
        preprocessing: How frames are prepared for it.
        frame_shape: Height and width of the task's frames.
        name: Name under which its architecture is registered: a file that ``Encoder.save`` writes of it can
            be read where `register_backbone` was called with that name.
        tap: Module inside it whose output is used; empty for its own output. It has to be a map (n, channels,
            height, width), tokens (n, tokens, channels) or vectors (n, channels).
        options: Further settings of `EncoderConfig`: ``readout``, ``features``, ``frames``, …

    Raises:
        WarmstartError: The name is that of another architecture, or the output of another kind.
    """
    network = copy.deepcopy(module)
    if name not in BACKBONES:
        register_backbone(BackboneKind(name, lambda: copy.deepcopy(network), (), tap, preprocessing))
    known, own = BACKBONES[name].build().state_dict(), network.state_dict()
    if {n: v.shape for n, v in known.items()} != {n: v.shape for n, v in own.items()}:
        raise WarmstartError(f"There is another architecture {name!r} already; choose another name.")
    config = EncoderConfig(name, tap=tap, **options)
    backbone = Backbone(name, tap, network)
    return assemble(
        config, configured(preprocessing, config), backbone, frame_shape, {"source": f"module {name}"}
    )
