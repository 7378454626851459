"""Tensors in files from anybody: read within limits, checked to be numbers of a network, and hashed."""

import argparse
import hashlib
import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch

from warmstart.core.bounds import show
from warmstart.core.errors import WarmstartError
from warmstart.core.files import check_file

if TYPE_CHECKING:
    from hashlib import _Hash

MOST_BYTES, MOST_TENSORS, MOST_AXES = 1 << 34, 100_000, 8
"""Most bytes, tensors and axes of a tensor in a file that is read."""
DAMAGE = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
)
"""What torch's reader meets in a file that isn't its own."""


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


def read_torch(path: Path, advice: str) -> Any:
    """Read what ``torch.save`` wrote, by torch's restricted loader, which runs nothing.

    Args:
        path: The file.
        advice: What to do about a file that holds more than tensors and plain values.

    Raises:
        FileNotFoundError: It isn't there.
        WarmstartError: It is damaged, too large, or holds Python objects.
    """
    check_file(path, MOST_BYTES)
    try:
        # Training checkpoints keep their command line's options, which are as plain as a dict.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WarmstartError(
            f"{path} holds Python objects besides tensors, or is damaged; nothing of it was run. {advice} "
            f"({_reason(error)})"
        ) from error
    except DAMAGE as error:
        raise WarmstartError(
            f"{path} is truncated or not a file of weights that torch.save wrote: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """The line of an error's message that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Unsupported" in line or "GLOBAL" in line]
    return (telling or lines or [type(error).__name__])[0]


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
