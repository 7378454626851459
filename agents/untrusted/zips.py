"""Zip archives from anybody: members are counted, their sizes and names checked, before one is unpacked.

Nothing is ever extracted to the disk, so that a name can't lead anywhere; one that tries is refused.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from warmstart.core.bounds import show
from warmstart.core.errors import WarmstartError
from warmstart.core.files import check_file

MOST_MEMBERS = 100_000
"""Most members of an archive."""
MOST_DIRECTORY = 1 << 24
"""Most bytes of the list of members."""
LARGE, MOST_RATIO = 1 << 26, 100
"""Members of more bytes than the first unpack to at most so many times their packed size."""
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,  # an encrypted member, or a compression that zipfile doesn't know
    ValueError,
)
"""What Python's zipfile meets in an archive that is damaged, or made by hand."""
_END, _END_64 = 22, 76
"""Bytes of an archive's last record, and of the two before it in a large archive."""


@contextmanager
def open_zip(source: Path | bytes, most: int, *, what: str, exact: bool = False) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose members can be read to their ends.

    Args:
        source: A file, or its content.
        most: Most bytes of the file, and of all its members unpacked.
        what: What it should be, for messages.
        exact: Whether another reader reads it after us: nothing may stand before or after the archive, nor a
            member be packed, so that both see the same.

    Raises:
        FileNotFoundError: It isn't there.
        WarmstartError: It is damaged, too large or odd; the message says how, and names a file.
    """
    subject = source if isinstance(source, Path) else "it"
    if isinstance(source, Path):
        check_file(source, most)
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            length = _check_end(file, exact)
            with zipfile.ZipFile(file) as archive:
                _check_members(archive.infolist(), length, most, exact)
                if exact and (damaged := archive.testzip()) is not None:
                    raise ValueError(f"{show(damaged)} isn't what was written: its checksum differs")
                yield archive
    except FileNotFoundError:
        raise
    except WarmstartError:
        raise
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise WarmstartError(f"{subject} is truncated or not {what}: {reason.rstrip('.')}.") from error


def _check_end(file: io.BufferedIOBase, exact: bool) -> int:
    """See that the list of members isn't too long to be read; `zipfile` reads it whole.

    Returns:
        Bytes of the archive.

    Raises:
        ValueError: It is.
    """
    if file.read(2) != b"PK":
        raise ValueError("it doesn't begin as one")
    length = file.seek(0, io.SEEK_END)
    start = max(0, length - (1 << 16) - _END - _END_64)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END:
        raise ValueError("it has no end")
    size, offset = struct.unpack_from("<II", tail, at + 12)
    large = tail[at - 20 : at - 16] == b"PK\x06\x07" and at >= _END_64
    if large:
        size, offset = struct.unpack_from("<QQ", tail, at - _END_64 + 40)
    if size > MOST_DIRECTORY:
        raise ValueError(f"its list of members has {size:,} bytes, expected at most {MOST_DIRECTORY:,}")
    if exact and offset + size + (_END_64 if large else 0) + _END != length:
        raise ValueError("something stands before or after the archive")
    file.seek(0)
    return length


def _check_members(members: list[zipfile.ZipInfo], length: int, most: int, exact: bool) -> None:
    """See that members are few, named once, unpacked not too large, and readable.

    Raises:
        WarmstartError: They aren't.
        ValueError: One can't be read.
    """
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"it has {len(members):,} members, expected at most {MOST_MEMBERS:,}")
    names = set[str]()
    for member in members:
        name = member.filename
        if name in names:
            raise ValueError(f"it has two members {show(name)}")
        names.add(name)
        if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
            raise ValueError(f"the name {show(name)} leads out of it")
        packed = member.compress_type == zipfile.ZIP_DEFLATED
        if member.flag_bits & 0x1:
            raise ValueError(f"{show(name)} is encrypted")
        if not packed and member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{show(name)} is packed in a way that isn't read")
        if packed and exact:
            raise ValueError("it has packed members")
        if not packed and member.file_size != member.compress_size:
            raise ValueError(f"{show(name)} isn't packed, and has two sizes")
        if member.file_size > max(LARGE, MOST_RATIO * member.compress_size):
            raise ValueError(
                f"{show(name)} unpacks {member.compress_size:,} bytes to {member.file_size:,}, more than "
                f"{MOST_RATIO} times as many"
            )
    if sum(member.compress_size for member in members) > length:
        raise ValueError("its members overlap")
    unpacked = sum(member.file_size for member in members)
    if unpacked > most:
        raise ValueError(f"it holds {unpacked:,} bytes, expected at most {most:,}")
