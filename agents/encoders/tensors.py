"""Tensors in files from anybody: read within limits, checked to be numbers of a network, and hashed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import torch

from warmstart.core.bounds import show
from warmstart.core.errors import WarmstartError
from warmstart.core.files import check_file

if TYPE_CHECKING:
    from hashlib import _Hash

MOST_BYTES, MOST_TENSORS, MOST_AXES = 1 << 34, 100_000, 8
"""Most bytes, tensors and axes of a tensor in a file that is read."""


def read_safetensors(
    path: Path, within: Path | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file.

    Args:
        path: The file.
        within: The folder that it belongs to, which no link may lead out of.

    Returns:
        Tensors by name, and the texts beside them.

    Raises:
        FileNotFoundError: It isn't there.
        WarmstartError: It is truncated, too large or no such file, or `check_tensors`.
    """
    check_file(path, MOST_BYTES, within)
    try:
        with safetensors.safe_open(path, "pt") as file:
            names = list(file.keys())
            if len(names) > MOST_TENSORS:
                raise ValueError(f"it names {len(names):,} tensors; at most {MOST_TENSORS:,} are read")
            tensors = {name: file.get_tensor(name) for name in names}
            texts = dict(file.metadata() or {})
    except (
        safetensors.SafetensorError,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WarmstartError(f"{path} is truncated or not a safetensors file: {reason}.") from error
    return check_tensors(tensors, str(path)), texts


def check_tensors(tensors: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """See that tensors can be a network's: real numbers, finite, whole only where something is counted.

    Args:
        tensors: By name, of any shape.
        source: What messages call the file.

    Returns:
        The same tensors.

    Raises:
        WarmstartError: One isn't.
    """
    if len(tensors) > MOST_TENSORS:
        raise WarmstartError(f"{source} holds {len(tensors):,} tensors; expected at most {MOST_TENSORS:,}.")
    for name, value in tensors.items():
        if value.is_meta or value.layout != torch.strided or value.dim() > MOST_AXES:
            what = f"{value.dim()} axes" if value.dim() > MOST_AXES else f"{value.layout} on {value.device}"
            raise WarmstartError(
                f"{source}: {show(name)} is no plain array of at most {MOST_AXES} axes ({what})."
            )
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise WarmstartError(f"{source}: {show(name)} claims {value.numel():,} numbers and holds fewer.")
        kind = str(value.dtype).removeprefix("torch.")
        weights = name.rpartition(".")[2] in ("weight", "bias", "log_std")
        if value.is_complex() or value.is_quantized or (weights and not value.is_floating_point()):
            raise WarmstartError(f"{source}: {name} holds {kind}; expected real floating-point numbers.")
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise WarmstartError(f"{source}: {name} holds NaN or infinities: these weights are of no use.")
    return dict(tensors)


def tensors_digest(tensors: Mapping[str, torch.Tensor], before: bytes = b"") -> "_Hash":
    """sha256 over names, shapes, types and values of tensors in the order of their names."""
    digest = hashlib.sha256(before)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest
