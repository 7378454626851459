"""Builds the index: an SQLite database over many runs, and Parquet files beside it, from the runs alone.

SQLite because Python brings it: whoever has the package can build the index and query it. DuckDB, pandas and
Polars read the Parquet files, and DuckDB the database, too; it would be a dependency that adds no power here.
Rows are bound as parameters, never written into statements, and nothing of a run is executed or unpickled.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from warmstart.core.bounds import State
from warmstart.core.errors import WarmstartError
from warmstart.core.files import DiskFullError, as_disk_full, sync_directory
from warmstart.core.progress import Progress
from warmstart.experiments.index.finding import find_runs
from warmstart.experiments.index.rows import Row, read_rows
from warmstart.experiments.index.tables import KEYS, TABLES
from warmstart.experiments.pairs.pairs import PAIRS_FILE

DATABASE = "index.sqlite"
_APPLICATION = 0x57536964
"""SQLite's `application_id` of an index: only such a file is ever replaced."""
_PLACE, _MAGIC = 68, b"SQLite format 3\0"
"""Where the id stands in the file, and what the file begins with."""
_BATCH = 50_000
"""Rows of a group of a Parquet file."""
NO_PARQUET = "No Parquet files were written: pip install 'warmstart[data]'."


@dataclass(frozen=True)
class Index:
    """What was built."""

    path: Path
    """The database."""
    parquet: tuple[Path, ...] = ()
    """The Parquet files, one a table."""
    rows: dict[str, int] = field(default_factory=dict)
    """Number of rows of each table."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Folders of which nothing is in the tables, each with the reason; the table `skipped`, too."""
    notes: tuple[str, ...] = ()
    """What else a reader must know, a sentence each."""

    def told(self, most: int) -> list[str]:
        """What was left out and why, and the notes, a sentence each; at most so many folders are named."""
        named = [f"left out: {path}: {reason}" for path, reason in [*self.skipped.items()][:most]]
        more = len(self.skipped) - len(named)
        rest = [f"left out: {more} more; all of them stand in the table `skipped`."] if more else []
        return [*named, *rest, *self.notes]

    def to_json(self) -> State:
        """Give it as plain data."""
        return {**vars(self), "path": str(self.path), "parquet": list(map(str, self.parquet))}


def index_runs(
    directory: str | Path,
    out: str | Path | None = None,
    *,
    parquet: bool | None = None,
    progress: Progress | None = None,
) -> Index:
    """Build the index of all runs below a folder; one that is there already is replaced when it is complete.

    The same runs give the same rows in the same order. A run in progress is taken as far as it is; a damaged
    one is left out as a whole, and named.

    Args:
        directory: The folder.
        out: The database; None for ``index.sqlite`` in the folder. Parquet files lie beside it, as
            ``index.runs.parquet``.
        parquet: Whether to write them; None for where pyarrow is installed. Those of an earlier index are
            removed where none are written, as they would tell of other runs.
        progress: Where it is told how far it is.

    Returns:
        Paths, numbers of rows, and what was skipped, with reasons.

    Raises:
        WarmstartError: There is no such folder or no run in it, `out` is something else than an index, it
            can't be written, or pyarrow is missing though Parquet is asked for.
        DiskFullError: No space is left.
    """
    directory = Path(directory).expanduser()
    path = directory / DATABASE if out is None else Path(out).expanduser()
    if not directory.is_dir():
        raise WarmstartError(f"There is no folder {directory}. Expected one that holds runs, such as runs.")
    if parquet and find_spec("pyarrow") is None:
        raise WarmstartError(f"Parquet needs pyarrow. {NO_PARQUET}")
    _check_replaceable(path)
    runs, skipped = find_runs(directory)
    if not runs and not skipped:
        raise WarmstartError(f"No run below {directory}. Expected folders that `warmstart compare` made.")
    advance = (progress or Progress()).stage("Indexing runs")
    with _staged(path) as staged, closing(sqlite3.connect(staged)) as database:
        _create(database)
        for number, run in enumerate(runs, start=1):
            reason = _add(database, run, _name(run, directory))
            if reason:
                skipped[run] = reason
            advance(number, len(runs))
        told = {_name(folder, directory): _writable(reason) for folder, reason in sorted(skipped.items())}
        with database:
            _insert(database, "skipped", [{"path": name, "reason": why} for name, why in told.items()])
        counts = {table: _count(database, table) for table in TABLES}
        written, notes = _write_parquet(database, path, parquet)
    return Index(path, written, counts, told, notes)


def _name(folder: Path, directory: Path) -> str:
    """What the tables call a folder: bytes that aren't text are written as escapes."""
    return os.fsencode(folder.relative_to(directory).as_posix()).decode(errors="backslashreplace")


def _writable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _check_replaceable(path: Path) -> None:
    """Refuse to replace a file that isn't an index."""
    if not path.exists():
        return
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(_PLACE + 4)
    if not head.startswith(_MAGIC) or head[_PLACE:] != _APPLICATION.to_bytes(4, "big"):
        raise WarmstartError(f"{path} exists and is no index of warmstart's: name another file with --out.")


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A file beside the one that is wanted, which takes its place in the end, or is removed."""
    staged = path.with_name(f".{path.name}.new-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.unlink(missing_ok=True)
        yield staged
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        staged.replace(path)
        sync_directory(path.parent)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFullError(path) from None
        raise WarmstartError(f"{path} can't be written: {error}. Name another file with --out.") from None
    except OSError as error:
        raise as_disk_full(error, path) from None
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)


def _create(database: sqlite3.Connection) -> None:
    """Make the tables. The file is staged, so nothing needs to be undone, nor to be on the disk meanwhile."""
    database.execute("PRAGMA journal_mode = MEMORY")
    database.execute("PRAGMA synchronous = OFF")
    database.execute(f"PRAGMA application_id = {_APPLICATION}")
    for table, columns in TABLES.items():
        key = [f"PRIMARY KEY ({KEYS[table]})"] if table in KEYS else []
        database.execute(f"CREATE TABLE {table} ({', '.join([c.sql for c in columns] + key)}) STRICT")


def _insert(database: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    names = [f":{column.name}" for column in TABLES[table]]
    database.executemany(f"INSERT INTO {table} VALUES ({', '.join(names)})", rows)


def _add(database: sqlite3.Connection, run: Path, name: str) -> str:
    """Add all rows of a run, or none; returns why none, empty where they are there."""
    try:
        rows = read_rows(run, name)
        pairs = (run.parent / PAIRS_FILE).is_file()
        parent = name.rpartition("/")[0] or "." if pairs and name != "." else None
        rows["runs"] = [{**row, "pairs": parent} for row in rows["runs"]]
        with database:
            for table, new in rows.items():
                _insert(database, table, new)
    except WarmstartError as error:
        return str(error)
    except OverflowError:
        return f"{run} holds a whole number of more than 64 bits, which no table takes."
    return ""


def _count(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _write_parquet(
    database: sqlite3.Connection, path: Path, wanted: bool | None
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write each table as a Parquet file beside the database, or remove those of an earlier index.

    Returns:
        The files, and what there is to say of them.
    """
    files = {table: path.with_name(f"{path.stem}.{table}.parquet") for table in TABLES}
    if wanted is False or find_spec("pyarrow") is None:
        old = [file for file in files.values() if file.is_file()]
        for file in old:
            file.unlink()
        removed = [f"{len(old)} Parquet files of an earlier index were removed."] if old else []
        return (), (*([] if wanted is False else [NO_PARQUET]), *removed)
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    for table, file in files.items():
        schema = pa.schema([(column.name, column.arrow) for column in TABLES[table]])
        found = database.execute(f"SELECT * FROM {table} ORDER BY rowid")
        with _staged(file) as staged, parquet.ParquetWriter(staged, schema) as writer:
            while rows := found.fetchmany(_BATCH):
                columns = zip(*rows, strict=True)
                arrays = [pa.array(values, each.type) for values, each in zip(columns, schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return tuple(files.values()), ()
