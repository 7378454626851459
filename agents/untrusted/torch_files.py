"""What ``torch.save`` wrote, read by torch's restricted loader after its own claims were checked."""

import argparse
import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from warmstart.agents.untrusted.pickles import Called, check_growth, read_pickle
from warmstart.agents.untrusted.zips import open_zip
from warmstart.core.bounds import show
from warmstart.core.errors import WarmstartError
from warmstart.core.files import check_file

MOST_BYTES = 1 << 34
"""Most bytes of a file of tensors."""
LARGEST_PICKLE = 1 << 26
"""Most bytes of the pickle that says what such a file holds."""
PICKLES = 5
"""Pickles at the beginning of a file of torch before 1.6."""
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


def read_torch(source: Path | bytes, what: str, advice: str) -> Any:
    """Read what ``torch.save`` wrote; nothing of it is run.

    Args:
        source: A file, or its content.
        what: What messages call it.
        advice: What to do about a file that holds more than tensors and plain values.

    Raises:
        FileNotFoundError: It isn't there.
        WarmstartError: It is damaged, too large, or holds Python objects.
    """
    if isinstance(source, Path):
        check_file(source, MOST_BYTES)
    wrong = f"{what} is truncated or not a file of tensors that torch.save wrote"
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            if zipped:
                with open_zip(source, MOST_BYTES, what="a file of torch.save", exact=True) as archive:
                    _check_storages(archive)
            else:
                _check_old(file)
                file.seek(0)
            # Training checkpoints keep their command line's options, which are as plain as a dict.
            with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of unusual pickle protocols
                return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        raise WarmstartError(
            f"{what} holds Python objects besides tensors, or is damaged; nothing of it was run. {advice} "
            f"({_reason(error)})"
        ) from error
    except WarmstartError as error:
        reason = str(error).rpartition("a file of torch.save: ")[2].rstrip(".")
        raise WarmstartError(f"{wrong}: {reason}.") from error
    except DAMAGE as error:
        raise WarmstartError(f"{wrong}: {_reason(error)}") from error


def _check_storages(archive: zipfile.ZipFile) -> None:
    """See that an archive's pickle asks for no more bytes than its members have.

    Raises:
        WarmstartError: It does, or there is no such pickle.
    """
    named = [each for each in archive.infolist() if each.filename.endswith("/data.pkl")]
    if len(named) != 1:
        raise WarmstartError(f"it has {len(named)} members named data.pkl, expected one.")
    if named[0].file_size > LARGEST_PICKLE:
        raise WarmstartError(
            f"data.pkl has {named[0].file_size:,} bytes, expected at most {LARGEST_PICKLE:,}."
        )
    folder = named[0].filename.removesuffix("data.pkl")
    sizes = {each.filename: each.file_size for each in archive.infolist()}
    asked = list[Any]()
    read_pickle(archive.read(named[0]), persistent=asked.append)
    for each in asked:
        if not (isinstance(each, tuple) and len(each) == 5 and isinstance(each[1], Called)):
            raise WarmstartError("it asks for something other than a storage.")
        _, kind, key, _, count = each
        held = sizes.get(f"{folder}data/{key}" if isinstance(key, str) else "", 0)
        if type(count) is not int or count < 0 or count * _size_of(kind.name) > held:
            raise WarmstartError(f"it asks for {show(count)} numbers of {show(key)}, of {held:,} bytes.")


def _size_of(storage: str) -> int:
    """Bytes of a number in a storage, at least, such as ``torch.FloatStorage``."""
    kinds: Mapping[Any, str] = torch.storage._dtype_to_storage_type_map()
    found = {name: dtype for dtype, name in kinds.items()}.get(storage.rpartition(".")[2])
    return 1 if found is None else int(found.itemsize)


def _check_old(file: BinaryIO) -> None:
    """See that the pickles of an old file don't build far more than they have bytes.

    Raises:
        WarmstartError: They do.
        pickle.UnpicklingError: They aren't as torch wrote them.
    """
    try:
        for _ in range(PICKLES):
            check_growth(file, LARGEST_PICKLE)
    except (ValueError, LookupError, TypeError) as error:
        raise pickle.UnpicklingError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """The line of an error's message that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Unsupported" in line or "GLOBAL" in line]
    return (telling or lines or [type(error).__name__])[0]
