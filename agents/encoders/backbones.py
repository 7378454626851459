"""The networks that encoders are made of, by name, and how one runs up to a tap.

Networks of torchvision and timm are imported when they are built.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from warmstart.agents.encoders.extra_backbones import residual_stages, timm_network, torchvision_network
from warmstart.agents.encoders.networks import ConvStack, ResNet18, SqueezeNet
from warmstart.agents.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, UNIT, Preprocessing
from warmstart.core.errors import WarmstartError, unknown_name


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
    preprocessing: Preprocessing = UNIT
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
        ordered: Whether its children run one after the other up to the tap.

    Attributes:
        beyond: Names of the full network's tensors that were removed.

    Raises:
        WarmstartError: There is no such module in the network.
    """

    network: nn.Module

    def __init__(self, name: str, tap: str, network: nn.Module, ordered: bool = False) -> None:
        super().__init__()
        modules = dict(network.named_modules())
        if tap not in modules:
            raise unknown_name(f"tap of {name}", tap, [module for module in modules if module])
        self.name, self.tap, self.ordered = name, tap, ordered and bool(tap)
        names = set(network.state_dict())
        if self.ordered:
            truncate(network, tap)
        self.network = network
        self.beyond = frozenset(names - set(network.state_dict()))

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
    """Run the children of a truncated network one after the other.

    Args:
        network: What `truncate` left.
        tap: Module whose output is wanted.
        x: Prepared frames. Shape: (n, 3, height, width).

    Returns:
        The tap's output. Shape: (n, channels, height', width').
    """
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
    """Output of a module inside a network that runs as it is until then, of any form.

    Args:
        network: The full network.
        tap: Name of the module.
        x: Prepared frames. Shape: (n, 3, height, width).
    """

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


# MVP's heads are half as wide as usual, which its tensors' shapes don't tell.
MVP = BackboneKind(
    "mvp_vits16", lambda: timm_network("vit_small_patch16_224", num_heads=12), preprocessing=IMAGENET
)


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
    """The architecture of a name, or an error that lists the known ones.

    Args:
        name: That of a registered one; or, with the ``vision`` extra, ``mvp_vits16``, ``timm/MODEL`` or
            ``torchvision/MODEL``.
    """
    if name in BACKBONES or name == MVP.name:
        return BACKBONES.get(name, MVP)
    library, _, model = name.partition("/")
    if library == "timm" and model:
        return BackboneKind(name, lambda: timm_network(model), preprocessing=IMAGENET)
    if library == "torchvision" and model:
        taps = residual_stages(model)
        tap = taps[1] if taps else ""
        return BackboneKind(name, lambda: torchvision_network(model), taps, tap, IMAGENET, bool(taps))
    raise unknown_name("architecture", name, [*BACKBONES, MVP.name, "timm/MODEL", "torchvision/MODEL"])


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
