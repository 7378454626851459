"""Convolutional networks up to a tap, and how their frames are prepared; torchvision isn't needed.

May import envs. A network's tensors have the names that its published weights have.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from warmstart.envs.errors import WarmstartError, unknown_name

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects in place of uint8 RGB frames.

    A value v from 0 to 255 becomes ``(scale * v - mean) / std``.
    """

    size: int | None = None
    """Height and width that frames are resized to (bilinear, antialiased); ``None`` keeps them."""
    crop: int | None = None
    """Height and width of the centre that is kept after resizing; ``None`` keeps all."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels."""
    scale: float = 1 / 255
    """Factor on values from 0 to 255."""
    mean: Triple = (0.0, 0.0, 0.0)
    """Subtracted after scaling, in the order of ``order``."""
    std: Triple = (1.0, 1.0, 1.0)
    """Divided by last, in the order of ``order``."""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = tuple(float(v) for v in getattr(self, name))
            if len(values) != 3 or not all(math.isfinite(v) for v in values):
                raise WarmstartError(f"Expected three numbers as {name} of the channels, found {values}.")
            object.__setattr__(self, name, values)
        if min(self.std) <= 0 or not self.scale > 0:
            raise WarmstartError(f"Expected positive scale and std, found {self.scale} and {self.std}.")
        if self.order not in ("rgb", "bgr"):
            raise unknown_name("order of channels", str(self.order), ("rgb", "bgr"))
        for name in ("size", "crop"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise WarmstartError(f"Expected a {name} of at least 1 pixel, found {value}.")

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Prepare frames.

        Args:
            frames: RGB, uint8. Shape: (n, height, width, 3).

        Returns:
            Input of the network, float32 in channels-last memory. Shape: (n, 3, height', width').

        Raises:
            WarmstartError: The frames are of another type or shape.
        """
        check_frames(tuple(frames.shape), str(frames.dtype).removeprefix("torch."))
        x = frames.flip(3) if self.order == "bgr" else frames
        x = self._resized(x)
        factor, offset = (row.to(x.device) for row in affine_rows(self, x.shape[2]))
        x = torch.addcmul(offset, x.flatten(2), factor).view(x.shape)
        return x.permute(0, 3, 1, 2)

    def _resized(self, x: torch.Tensor) -> torch.Tensor:
        """Frames (n, height, width, 3) of the right size, contiguous; float32 where they had another."""
        size, crop = self.size, self.crop
        if size is not None and tuple(x.shape[1:3]) != (size, size):
            x = x.permute(0, 3, 1, 2).to(torch.float32)
            x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)
            x = x.permute(0, 2, 3, 1)
        height, width = x.shape[1:3]
        if crop is not None and crop > min(height, width):
            raise WarmstartError(
                f"The preprocessing keeps a centre of {crop} x {crop} pixels, but the frames have {height} x "
                f"{width}: resize them to at least {crop} first (input_size={crop})."
            )
        if crop is not None:
            top, left = (height - crop) // 2, (width - crop) // 2
            x = x[:, top : top + crop, left : left + crop]
        return x.contiguous()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Inverse of ``to_json``."""
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


@lru_cache(maxsize=32)
def affine_rows(preprocessing: Preprocessing, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and offset of the values in a row of pixels; whole rows are several times as fast as channels.

    Returns:
        float32. Shapes: (width * 3,).
    """
    with torch.inference_mode(False):
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (preprocessing.mean, preprocessing.std))
        factor, offset = preprocessing.scale / std, -mean / std
        return factor.float().repeat(width), offset.float().repeat(width)


def check_frames(shape: tuple[int, ...], dtype: str) -> None:
    """Raise an error that says what to do where frames aren't uint8 RGB (n, height, width, 3)."""
    wanted = "Expected frames of shape (n, height, width, 3), found"
    if len(shape) != 4:
        hint = "add the batch's axis with frames[None]" if len(shape) == 3 else "give one batch of images"
        raise WarmstartError(f"{wanted} {shape}: {hint}.")
    if shape[3] != 3:
        hint = {
            1: "grey frames must be repeated three times, frames.repeat(3, axis=-1)",
            4: "drop the alpha channel with frames[..., :3]",
        }.get(shape[3], "the three colour channels come last")
        raise WarmstartError(f"{wanted} {shape}: {hint}.")
    if dtype != "uint8":
        hint = "give the renderer's frames as they are, from 0 to 255; an encoder scales them itself, once"
        raise WarmstartError(f"Expected frames of type uint8, found {dtype}: {hint}.")


@dataclass(frozen=True)
class BackboneKind:
    """An architecture that encoders can be made of."""

    name: str
    """Name in an encoder's text form."""
    build: Callable[[], nn.Module]
    """Make the full network, with weights from torch's global generator."""
    taps: tuple[str, ...] = ()
    """Modules whose output can be used, shallow to deep; none: that of the network itself."""
    tap: str = ""
    """The usual one."""
    preprocessing: Preprocessing = Preprocessing()
    """What the network is usually fed."""
    ordered: bool = False
    """Whether the network's children run one after the other up to every tap, so that those after the tap
    can be left out; otherwise the network runs as it is until the tap has its output."""


class Backbone(nn.Module):
    """A network up to a tap.

    Args:
        name: Name of its kind.
        tap: Module of ``network`` whose output is used; empty: the network's own.
        network: The full network; what comes after the tap is removed from it where ``ordered``.
        ordered: See `BackboneKind`.
    """

    def __init__(self, name: str, tap: str, network: nn.Module, ordered: bool = False) -> None:
        super().__init__()
        self.name, self.tap, self.ordered = name, tap, ordered and bool(tap)
        if self.ordered:
            truncate(network, tap)
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The tap's output as a map.

        Args:
            x: Prepared frames. Shape: (n, 3, height, width).

        Returns:
            Map of features. Shape: (n, channels, height', width').
        """
        if self.ordered:
            return run_in_order(self.network, self.tap, x)
        out: Any = output_at(self.network, self.tap, x) if self.tap else self.network(x)
        return as_map(out, self.name)


def truncate(network: nn.Module, tap: str) -> None:
    """Remove a network's children that come after the tap."""
    head, _, rest = tap.partition(".")
    names = [name for name, _ in network.named_children()]
    for name in names[names.index(head) + 1 :]:
        delattr(network, name)
    if rest:
        truncate(network.get_submodule(head), rest)


def run_in_order(network: nn.Module, tap: str, x: torch.Tensor) -> torch.Tensor:
    """Run the children of a truncated network one after the other."""
    head, _, rest = tap.partition(".")
    for name, child in network.named_children():
        x = run_in_order(child, rest, x) if rest and name == head else child(x)
    return x


class _ReachedError(Exception):
    """Ends a forward pass at the tap."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def output_at(network: nn.Module, tap: str, x: torch.Tensor) -> Any:
    """Output of a module inside a network that runs as it is until then."""

    def stop(_module: nn.Module, _inputs: Any, output: Any) -> None:
        raise _ReachedError(output)

    handle = network.get_submodule(tap).register_forward_hook(stop)
    try:
        network(x)
    except _ReachedError as reached:
        return reached.output
    finally:
        handle.remove()
    raise WarmstartError(f"The tap {tap!r} isn't used by the network's forward pass; choose another module.")


def as_map(out: Any, name: str) -> torch.Tensor:
    """A network's output as a map: maps stay, tokens are laid out in a square, vectors become 1 x 1.

    Args:
        out: Shape: (n, channels, height, width), (n, tokens, channels) or (n, channels).
        name: The network's, for the error.

    Raises:
        WarmstartError: It is something else.
    """
    if isinstance(out, torch.Tensor) and out.ndim == 4:
        return out
    if isinstance(out, torch.Tensor) and out.ndim == 2:
        return out[:, :, None, None]
    if isinstance(out, torch.Tensor) and out.ndim == 3:
        side = math.isqrt(out.shape[1])  # class and register tokens come first
        tokens = out[:, out.shape[1] - side * side :].transpose(1, 2)
        return tokens.reshape(*tokens.shape[:2], side, side)
    found = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    raise WarmstartError(
        f"Expected that {name} gives a map (n, channels, height, width), tokens (n, tokens, channels) or "
        f"vectors (n, channels), found {found}; choose a tap that does."
    )


class Fire(nn.Module):
    """SqueezeNet's block (1602.07360, figure 2): torchvision's names, one nonlinearity after joining."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape: (n, inputs, h, w) to (n, 2 * expanded, h, w)."""
        x = self.squeeze(x).relu_()
        return torch.cat((self.expand1x1(x), self.expand3x3(x)), 1).relu_()


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 as torchvision names it."""

    def __init__(self) -> None:
        super().__init__()

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        first = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True), pool()]
        middle = [Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128), Fire(256, 32, 128), pool()]
        last = [Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]
        self.features = nn.Sequential(*first, *middle, *last)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of ImageNet's classes. Shape: (n, 1000)."""
        return torch.flatten(self.classifier(self.features(x)), 1)


class BasicBlock(nn.Module):
    """ResNet's block of two 3 x 3 convolutions (1512.03385, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape: (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu_()
        return self.bn2(self.conv2(x)).add_(shortcut).relu_()


class ResNet18(nn.Module):
    """ResNet 18 as torchvision names it."""

    widths: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for index, width in enumerate(self.widths):
            stride = 1 if index == 0 else 2
            blocks = nn.Sequential(BasicBlock(inputs, width, stride), BasicBlock(width, width, 1))
            self.add_module(f"layer{index + 1}", blocks)
            inputs = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, 1000)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of ImageNet's classes. Shape: (n, 1000)."""
        child: nn.Module
        for name, child in self.named_children():
            x = child(torch.flatten(x, 1) if name == "fc" else x)
        return x


class ConvStack(nn.Module):
    """Convolutions without padding, each followed by a ReLU.

    Args:
        name: What their tensors' names begin with.
        layers: Channels, size and stride of each.
    """

    def __init__(self, name: str, layers: tuple[tuple[int, int, int], ...]) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        inputs = 3
        for channels, size, stride in layers:
            convolution = nn.Conv2d(inputs, channels, size, stride)
            nn.init.orthogonal_(convolution.weight, math.sqrt(2))
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            modules += [convolution, nn.ReLU(inplace=True)]
            inputs = channels
        self.stack = name
        self.add_module(name, nn.Sequential(*modules))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map of the last layer."""
        return self.get_submodule(self.stack)(x)  # type: ignore[no-any-return]


NATURE_LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
DRQ_LAYERS = ((32, 3, 2), (32, 3, 1), (32, 3, 1), (32, 3, 1))
IMAGENET = Preprocessing(mean=IMAGENET_MEAN, std=IMAGENET_STD)

BACKBONES: dict[str, BackboneKind] = {
    kind.name: kind
    for kind in (
        BackboneKind(
            "nature_cnn",
            lambda: ConvStack("cnn", NATURE_LAYERS),
            ("cnn.1", "cnn.3", "cnn.5"),
            "cnn.5",
            ordered=True,
        ),
        BackboneKind(
            "drq",
            lambda: ConvStack("convnet", DRQ_LAYERS),
            ("convnet.1", "convnet.3", "convnet.5", "convnet.7"),
            "convnet.7",
            Preprocessing(mean=(0.5, 0.5, 0.5)),
            ordered=True,
        ),
        BackboneKind(
            "squeezenet1_1",
            SqueezeNet,
            tuple(f"features.{index}" for index in range(2, 13)),
            "features.4",
            IMAGENET,
            ordered=True,
        ),
        BackboneKind(
            "resnet18",
            ResNet18,
            ("layer1", "layer2", "layer3", "layer4"),
            "layer2",
            IMAGENET,
            ordered=True,
        ),
    )
}
"""Architectures by name."""


def register_backbone(kind: BackboneKind) -> BackboneKind:
    """Add an architecture of your own.

    Raises:
        WarmstartError: The name is taken.
    """
    if kind.name in BACKBONES and BACKBONES[kind.name] != kind:
        raise WarmstartError(f"There is an architecture {kind.name!r} already; choose another name.")
    BACKBONES[kind.name] = kind
    return kind


def backbone_kind(name: str) -> BackboneKind:
    """The architecture of a name, or an error that lists the known ones."""
    if name not in BACKBONES:
        raise unknown_name("architecture", name, BACKBONES)
    return BACKBONES[name]


def build_network(kind: BackboneKind, seed: int) -> nn.Module:
    """A full network with weights drawn from a seed; torch's global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind.build()


def build_backbone(name: str, tap: str = "", seed: int = 0) -> Backbone:
    """A network up to a tap with weights drawn from a seed.

    Args:
        name: Name of an architecture.
        tap: One of its taps; empty for the usual one.
        seed: Of the weights; torch's global generator stays as it is.
    """
    kind = backbone_kind(name)
    chosen = tap or kind.tap
    if kind.taps and chosen not in kind.taps:
        raise unknown_name(f"tap of {name}", chosen, kind.taps)
    return Backbone(name, chosen, build_network(kind, seed), kind.ordered)


def with_changes(preprocessing: Preprocessing, **changes: Any) -> Preprocessing:
    """A preprocessing with those values changed that aren't ``None``."""
    return replace(preprocessing, **{name: v for name, v in changes.items() if v is not None})
