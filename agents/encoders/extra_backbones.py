"""Architectures of torchvision and timm, which come with the ``vision`` extra; imported when one is built."""

import importlib
from types import ModuleType
from typing import Any

from torch import nn

from warmstart.core.errors import WarmstartError

STAGES = ("layer1", "layer2", "layer3", "layer4")


class MissingExtraError(WarmstartError):
    """A package of the ``vision`` extra isn't installed."""


def import_vision(module: str, purpose: str) -> ModuleType:
    """Import a module of the ``vision`` extra.

    Args:
        module: Its name.
        purpose: What needs it, for the message.

    Raises:
        MissingExtraError: It isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs {module.partition('.')[0]}, which isn't installed: "
            "pip install 'warmstart[vision]'."
        ) from error


def timm_network(model: str, **options: Any) -> nn.Module:
    """A network of timm without its head: it gives a map, or a transformer's tokens.

    Positions of a transformer adapt to the size of its input.
    """
    timm = import_vision("timm", f"The architecture timm/{model}")
    options = {"pretrained": False, "num_classes": 0, "global_pool": "", **options}
    try:
        return timm.create_model(model, dynamic_img_size=True, **options)  # type: ignore[no-any-return]
    except TypeError:  # a convolutional network takes any size
        return timm.create_model(model, **options)  # type: ignore[no-any-return]
    except RuntimeError as error:
        raise WarmstartError(f"timm has no model {model!r}: {error}.") from error


def torchvision_network(model: str) -> nn.Module:
    """A network of torchvision with its head."""
    models = import_vision("torchvision.models", f"The architecture torchvision/{model}")
    try:
        return models.get_model(model, weights=None)  # type: ignore[no-any-return]
    except ValueError as error:
        raise WarmstartError(f"torchvision has no model {model!r}: {error}.") from error


def residual_stages(model: str) -> tuple[str, ...]:
    """Taps of torchvision's residual networks, whose children run one after the other; none of others."""
    return STAGES if model.startswith(("resnet", "resnext", "wide_resnet")) else ()
