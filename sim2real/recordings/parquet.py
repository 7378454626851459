"""The columns of a Parquet file from anybody, read in small parts, as far as they fit into memory."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.core.files import check_file

MOST_BYTES = 1 << 31
"""Most bytes of a file."""
MOST_UNPACKED = 1 << 29
"""Most bytes of its columns, however little room they take in the file."""
ROWS = 1 << 12
"""Rows that are read at a time."""


def read_parquet(file: Path, within: Path | None) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Read columns of numbers, of lists of numbers, of text and of points in time.

    Args:
        file: The file.
        within: The folder that it belongs to, which no link may lead out of.

    Returns:
        Columns by name, of shape (n,) or (n, k), and the names of those of other kinds.

    Raises:
        ImportError: pyarrow isn't installed.
        WarmstartError: The file is damaged or too large, or lists in a column differ in length.
    """
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]
    from pyarrow import ArrowException

    check_file(file, MOST_BYTES, within)
    try:
        kinds = {field.name: field.type for field in parquet.read_schema(file)}
        wanted = [key for key, kind in kinds.items() if _is_numeric(kind) or _is_written(kind)]
        # Texts stay in a dictionary until their lengths are known: few bytes can stand for gigabytes.
        texts = [key for key in wanted if not _is_numeric(kinds[key])]
        held: dict[str, list[Any]] = {key: [] for key in wanted}
        left = MOST_UNPACKED
        for batch in parquet.ParquetFile(file, read_dictionary=texts).iter_batches(
            ROWS, columns=wanted, use_threads=False
        ):
            for key in wanted:
                column = batch.column(key)
                left -= max(column.nbytes, _characters(column))
                if left < 0:
                    raise WarmstartError(f"{file} unpacks to more than {MOST_UNPACKED:,} bytes.")
                held[key] += column.to_pylist()
    except WarmstartError:
        raise
    except (ArrowException, OSError, MemoryError, OverflowError, LookupError) as error:
        raise WarmstartError(f"Expected a Parquet file at {file}: {error}") from None
    except (ValueError, TypeError) as error:
        raise WarmstartError(f"Expected a sound Parquet file at {file}: {error}") from None
    try:
        columns = {key: _cells(values, _is_numeric(kinds[key])) for key, values in held.items()}
    except (ValueError, TypeError):
        raise WarmstartError(f"{file}: expected lists of the same length in each column.") from None
    return columns, [key for key in kinds if key not in wanted]


def _characters(column: Any) -> int:
    """Bytes of a column of text whose values are written out."""
    from pyarrow import compute, types

    if not types.is_dictionary(column.type) or not types.is_string(column.type.value_type):
        return 0
    longest = compute.max(compute.binary_length(column.dictionary)).as_py()
    return len(column) * int(longest or 0)


def _is_numeric(kind: Any) -> bool:
    """Whether a column holds numbers or lists of numbers."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _is_written(kind: Any) -> bool:
    """Whether a column holds text or points in time."""
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_timestamp(kind))


def _cells(values: list[Any], numeric: bool) -> NDArray[Any]:
    """A column's values: numbers, or text as in a CSV file, points in time as ISO 8601."""
    if numeric:
        return np.array(values, dtype=float)
    text = ("" if v is None else v.isoformat() if isinstance(v, datetime) else str(v) for v in values)
    return np.array(list(text), dtype=object)
