"""Encoders: frames to features by a frozen network and a readout, saved in one file that can't run code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from torch import nn

from warmstart.agents.encoders.backbones import Backbone, backbone_kind, build_backbone
from warmstart.agents.encoders.config import EncoderConfig
from warmstart.agents.encoders.preprocessing import Preprocessing
from warmstart.agents.encoders.readouts import Readout, build_readout
from warmstart.agents.encoders.tensors import read_safetensors, tensors_digest
from warmstart.core.bounds import Bounds, SettingError, State, show
from warmstart.core.documents import Document
from warmstart.core.errors import WarmstartError
from warmstart.core.files import canonical_json, parse_json, replace_file
from warmstart.core.plain import placed, to_plain

FORMAT = 1
METADATA = "warmstart_encoder"
IDENTITY = ("readout", "features", "frames", "difference")
"""Settings that an encoder's hash covers; others act through the tensors, or say where they came from."""
FIT_ROWS = 32
SAMPLES = 32
"""Frames of the fit that are kept."""


class Encoder(nn.Module):
    """A frozen network and its readout; always in evaluation mode.

    The buffer ``samples`` keeps some of the frames that the readout was fitted on, by which the error of a
    faster computation can be measured anywhere.

    Args:
        config: What it was made of.
        preprocessing: How frames are prepared.
        backbone: The network up to its tap.
        readout: Makes vectors of its maps.
        frame_shape: Height and width of the task's frames.
        provenance: Where the weights come from: ``source``, ``sha256``, ``licence``, …
    """

    samples: torch.Tensor
    """uint8. Shape: (at most `SAMPLES`, height, width, 3)."""

    def __init__(
        self,
        config: EncoderConfig,
        preprocessing: Preprocessing,
        backbone: Backbone,
        readout: Readout,
        frame_shape: Sequence[int],
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.preprocessing = config, preprocessing
        self.backbone, self.readout = backbone, readout
        self.frame_shape = (int(frame_shape[0]), int(frame_shape[1]), 3)
        self.provenance: dict[str, Any] = dict(provenance or {})
        self.register_buffer("samples", torch.zeros(0, *self.frame_shape, dtype=torch.uint8))
        self.requires_grad_(False)
        self.train(False)

    @property
    def n_features(self) -> int:
        """Features of one frame."""
        return self.readout.n_features

    @property
    def fitted(self) -> bool:
        """Whether its readout can be used."""
        return self.readout.fitted

    def maps(self, frames: torch.Tensor) -> torch.Tensor:
        """The backbone's maps.

        Args:
            frames: RGB, uint8. Shape: (n, height, width, 3).

        Returns:
            float32. Shape: (n, channels, height', width').

        Raises:
            WarmstartError: The frames are of another type or size.
        """
        x = self.preprocessing(frames)
        self.check_size(tuple(frames.shape))
        return self.backbone(x)  # type: ignore[no-any-return]

    def check_size(self, shape: tuple[int, ...]) -> None:
        """Raise an error where frames are of another size and nothing resizes them."""
        if self.preprocessing.size is None and tuple(shape[1:]) != self.frame_shape:
            raise WarmstartError(
                f"Expected frames of shape (n, {', '.join(map(str, self.frame_shape))}), found {shape}: "
                "the encoder was made for that size; render such frames, or make an encoder with input_size."
            )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Features of frames.

        Args:
            frames: RGB, uint8. Shape: (n, height, width, 3).

        Returns:
            float32. Shape: (n, n_features).
        """
        return self.readout(self.maps(frames))  # type: ignore[no-any-return]

    @torch.no_grad()
    def fit(self, frames: torch.Tensor) -> None:
        """Fit the readout.

        Args:
            frames: Frames of random states of the task, uint8. Shape: (n, height, width, 3).
        """
        if not len(frames):
            raise WarmstartError("Expected frames to fit the readout on, found none.")
        self.readout.fit(torch.cat([self.maps(part) for part in torch.split(frames, FIT_ROWS)]))
        chosen = torch.linspace(0, len(frames) - 1, min(SAMPLES, len(frames))).long()
        self.samples = frames[chosen].clone()

    def train(self, mode: bool = True) -> "Encoder":  # noqa: ARG002
        """Stay in evaluation mode: a frozen network's batch statistics must not drift."""
        return super().train(False)

    @property
    def hash(self) -> str:
        """sha256 of what decides its features: the same for the same encoder, wherever it came from.

        64 hexadecimal digits over settings, preprocessing and all tensors; neither paths nor the precision
        count.
        """
        values = {name: getattr(self.config, name) for name in IDENTITY}
        values |= {"architecture": self.backbone.name, "tap": self.backbone.tap}
        values |= {"preprocessing": to_plain(self.preprocessing), "frame_shape": list(self.frame_shape)}
        return tensors_digest(self.state_dict(), canonical_json(values).encode()).hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write it to one safetensors file, entirely or not at all.

        Raises:
            WarmstartError: The file can't be written.
        """
        target = Path(path)
        metadata = {
            "format": FORMAT,
            "config": to_plain(self.config),
            "backbone": {"name": self.backbone.name, "tap": self.backbone.tap},
            "preprocessing": to_plain(self.preprocessing),
            "frame_shape": list(self.frame_shape),
            "provenance": self.provenance,
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        content = safetensors.torch.save(tensors, {METADATA: json.dumps(metadata, allow_nan=False)})
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, content)
        except OSError as error:
            raise WarmstartError(f"The encoder {target} could not be written: {error}.") from error
        return target


def make_encoder(
    config: EncoderConfig,
    frame_shape: Sequence[int],
    weights: Mapping[str, torch.Tensor] | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Encoder:
    """Build an encoder, whose readout is not fitted yet.

    Args:
        config: Which one. One that names a file is read from there.
        frame_shape: Height and width of the task's frames (and their channels).
        weights: The network's tensors by their names; ``None`` draws them from ``config.seed``.
        preprocessing: What the weights expect; ``None`` takes the architecture's usual one. The settings in
            ``config`` go before.
        provenance: Where the weights come from.

    Raises:
        WarmstartError: Weights are missing, of other shapes, or named in ``config`` and not given.
    """
    if config.file:
        encoder = load_encoder(config.file)
        encoder.check_size((1, int(frame_shape[0]), int(frame_shape[1]), 3))
        if config.precision != "auto":
            encoder.config = replace(encoder.config, precision=config.precision)
        return encoder
    if weights is None and config.weights != "random":
        raise WarmstartError(
            f"The encoder {config} needs its weights: `pretrained_encoder` of warmstart.transfer.encoders."
        )
    kind = backbone_kind(config.architecture)
    backbone = build_backbone(config.architecture, config.tap, config.seed)
    if weights is not None:
        fill_network(backbone, weights)
    chosen = configured(preprocessing or kind.preprocessing, config)
    return assemble(config, chosen, backbone, frame_shape, provenance or {"source": "random"})


def assemble(
    config: EncoderConfig,
    preprocessing: Preprocessing,
    backbone: Backbone,
    frame_shape: Sequence[int],
    provenance: Mapping[str, Any],
) -> Encoder:
    """Put an encoder together, with a readout for the backbone's map."""
    backbone.train(False)
    height, width = int(frame_shape[0]), int(frame_shape[1])
    x = preprocessing(torch.zeros(1, height, width, 3, dtype=torch.uint8))
    try:
        with torch.no_grad():
            map_ = backbone(x)
    except RuntimeError as error:
        raise WarmstartError(
            f"{backbone.name} can't take images of {x.shape[2]} x {x.shape[3]} pixels; input_size resizes "
            f"the frames. ({error})"
        ) from error
    shape = (int(map_.shape[1]), int(map_.shape[2]), int(map_.shape[3]))
    readout = build_readout(config.readout, shape, config.features, config.seed)
    return Encoder(config, preprocessing, backbone, readout, frame_shape, provenance)


def configured(preprocessing: Preprocessing, config: EncoderConfig) -> Preprocessing:
    """A preprocessing with what an encoder's options say."""
    changes: State = {"order": config.order or None, "mean": config.mean, "std": config.std}
    changes["scale"] = None if config.scale is None else config.scale / 255
    changes = {name: value for name, value in changes.items() if value is not None}
    for name, size in (("size", config.input_size), ("crop", config.crop)):
        if size is not None:
            changes[name] = size or None
    return replace(preprocessing, **changes)


def fill_network(backbone: Backbone, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy a network's tensors into it, those up to the tap; all have to be there, in its own shapes."""
    own = backbone.network.state_dict()
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - weights.keys() - optional)
    if missing:
        raise WarmstartError(
            f"The weights lack {len(missing)} of {len(own)} tensors of {backbone.name} up to "
            f"{backbone.tap or 'its end'}, the first {missing[0]!r}."
        )
    for name, tensor in own.items():
        if name in weights and weights[name].shape != tensor.shape:
            raise WarmstartError(
                f"Expected the tensor {name!r} of {backbone.name} with shape {tuple(tensor.shape)}, found "
                f"{tuple(weights[name].shape)}: these weights are of another architecture."
            )
    with torch.no_grad():
        for name, tensor in own.items():
            if name in weights:
                tensor.copy_(weights[name])


Side = Annotated[int, Bounds(1, 4096)]
"""Height or width of frames, in pixels."""


@dataclass(frozen=True)
class _Network:
    """Which network an encoder's file is of."""

    name: str
    tap: str


@dataclass(frozen=True)
class _Told:
    """What an encoder's file says beside its tensors."""

    config: EncoderConfig
    backbone: _Network
    preprocessing: Preprocessing
    frame_shape: tuple[Side, ...]
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        if len(self.frame_shape) not in (2, 3):
            raise SettingError(("frame_shape",), f"expected height and width, found {self.frame_shape}.")


def load_encoder(path: str | Path) -> Encoder:
    """Read an encoder that ``Encoder.save`` wrote; nothing is unpickled.

    Raises:
        WarmstartError: There is no such file, it is damaged or something else, or its architecture isn't
            registered.
    """
    target = Path(path).expanduser()
    if not target.is_file():
        raise WarmstartError(f"There is no encoder at {target}.")
    tensors, texts = read_safetensors(target)
    text = texts.get(METADATA)
    if text is None:
        raise WarmstartError(
            f"{target} holds tensors but no encoder that warmstart saved. If they are a network's weights, "
            f"name the network too: ARCHITECTURE:weights={target}."
        )
    source = f"The description in {target}"
    values = parse_json(text, source)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else values
        raise WarmstartError(f"{target} has the format {show(found)}, expected {FORMAT}; update warmstart.")
    document = Document({key: values[key] for key in values if key != "format"}, source)
    told: _Told = document.read(_Told)

    def build() -> Encoder:
        backbone = placed(("backbone",), build_backbone, told.backbone.name, told.backbone.tap)
        parts = told.config, told.preprocessing, backbone, told.frame_shape, told.provenance
        return placed((), assemble, *parts)

    encoder = document.checked(build)
    try:
        encoder.samples = encoder.samples.new_empty(tensors["samples"].shape)
        encoder.load_state_dict(tensors)
    except (RuntimeError, KeyError) as error:
        what = f"its encoder {told.config}"
        raise WarmstartError(f"The tensors in {target} don't fit {what}: {error}") from error
    return encoder
