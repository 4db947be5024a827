"""DuckDB: the embedded engine. It scans and sorts, and spills to disk when memory is short."""

from __future__ import annotations

import csv
import glob
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from mainspring.engines.base import Relation
from mainspring.errors import UnreadableFile

_BATCH = 20_000  # rows: small enough for bounded memory, large enough for speed
_BOUND = "200MB"  # of what a stream may hold: a sort of more goes through the disk
_DAMAGE = (
    duckdb.ConversionException,
    duckdb.InvalidInputException,
    duckdb.IOException,
    duckdb.NotImplementedException,
    duckdb.SerializationException,
    pa.ArrowException,
    OSError,
)
"""What is raised where a file is not as it should be: DuckDB's own, and of its streams Arrow's."""


class DuckDB:
    """DuckDB in memory, one database for selects and one with little memory for streams; each call
    works on a cursor of its own, so threads may share them.

    Example:
        >>> rows = pa.table({"n": [1, 2]})
        >>> DuckDB().select("SELECT max(n) AS most FROM rows", rows=rows).to_pylist()
        [{'most': 2}]
    """

    def __init__(self) -> None:
        self._database = _database()
        self._bounded = _database(memory_limit=_BOUND)

    def select(self, query: str, **relations: Relation) -> pa.Table:
        with _cursor(self._database, relations) as cursor:
            return cursor.sql(query).to_arrow_table()

    def stream(
        self, query: str, *, reads: str = "", **relations: Relation
    ) -> Iterator[pa.RecordBatch]:
        with _cursor(self._bounded, relations) as cursor, _damage_as_ours(reads):
            yield from cursor.sql(query).to_arrow_reader(_BATCH)

    def describe(self, path: str) -> pa.Schema:
        if Path(path).suffix not in (".parquet", ".csv"):
            raise UnreadableFile(path=path, problem="it is neither .parquet nor .csv")
        if not Path(path).stat().st_size:
            raise UnreadableFile(path=path, problem="it is empty")
        with _cursor(self._database, {}) as cursor, _damage_as_ours(path):
            return cursor.sql(f"SELECT * FROM {self.scan(path)} LIMIT 0").to_arrow_table().schema

    def scan(self, path: str) -> str:
        if path.endswith(".parquet"):
            return _read_parquet([path])
        names, delimiter = _csv_header(path)
        columns = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in names)
        return f"""read_csv({_text(glob.escape(path))}, columns = {{{columns}}},
            delim = {_text(delimiter)}, quote = '"', escape = '"', header = true,
            auto_detect = false, hive_partitioning = false)"""


def _database(**more: str) -> duckdb.DuckDBPyConnection:
    spill = Path(tempfile.gettempdir()) / "mainspring-duckdb"
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "temp_directory": str(spill),
        **more,
    }
    return duckdb.connect(":memory:", config=config)


@contextmanager
def _cursor(
    database: duckdb.DuckDBPyConnection, relations: dict[str, Relation]
) -> Generator[duckdb.DuckDBPyConnection]:
    with database.cursor() as cursor:
        cursor.execute("SET enable_progress_bar = false")
        cursor.execute("SET TimeZone = 'UTC'")  # of times without a zone
        for name, relation in relations.items():
            if isinstance(relation, pa.Table):
                cursor.register(name, relation)
            else:
                cursor.execute(f"CREATE TEMP VIEW {name} AS FROM {_read_parquet(relation)}")
        yield cursor


def _read_parquet(paths: Sequence[str]) -> str:
    """The rows of files, by the names of their columns: later files may have more of them."""
    listed = ", ".join(_text(glob.escape(path)) for path in paths)
    by_name = ", union_by_name = true" if len(paths) > 1 else ""
    return f"read_parquet([{listed}], hive_partitioning = false{by_name})"


def _csv_header(path: str) -> tuple[list[str], str]:
    """The names in the first line, and what is between them: nothing else is guessed."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(",;\t|", key=first.count)
            file.seek(0)
            names = next(csv.reader(file, delimiter=delimiter, strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(path=path, problem=f"it is no CSV in UTF-8: {error}") from error
    lowered = [name.lower() for name in names]
    twice = next((name for name in names if lowered.count(name.lower()) > 1), None)
    if twice is not None or not names:
        problem = (
            "its first line is empty" if twice is None else f"two columns are called {twice!r}"
        )
        raise UnreadableFile(path=path, problem=problem)
    return [name or "column0" for name in names], delimiter


@contextmanager
def _damage_as_ours(path: str) -> Generator[None]:
    """Turns DuckDB's complaint about a data file into ours; without a path it passes."""
    try:
        yield
    except _DAMAGE as error:
        if not path or "Out of Memory" in str(error):
            raise
        raise UnreadableFile(path=path, problem=_told(str(error))) from error


def _told(message: str) -> str:
    """What is wrong, without what the library proposes and how it was set."""
    said = message.removeprefix("Invalid Input Error: ").split("\nPossible")[0]
    return ", ".join(line.strip() for line in said.splitlines() if line.strip())[:300]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def connect(url: str) -> DuckDB:
    """The engine of a `duckdb://` URL."""
    del url
    return DuckDB()
