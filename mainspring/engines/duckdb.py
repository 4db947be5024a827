"""DuckDB: the embedded engine. It scans, partitions and sorts, and spills to disk when memory is short."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from mainspring.engines.base import Relation
from mainspring.errors import DataFileMissing, UnreadableFile

_READERS = {".parquet": "read_parquet", ".csv": "read_csv"}


class DuckDB:
    """One in-memory DuckDB database; every call works on a cursor of its own, so threads may share it."""

    def __init__(self) -> None:
        self._database = duckdb.connect(":memory:")
        self._database.execute("SET enable_progress_bar = false")
        self._database.execute("SET autoinstall_known_extensions = false")

    def select(self, query: str, **relations: Relation) -> pa.Table:
        with self._prepared(relations) as cursor:
            return cursor.sql(query).to_arrow_table()

    def stream(self, query: str, **relations: Relation) -> Iterator[pa.RecordBatch]:
        with self._prepared(relations) as cursor:
            yield from cursor.sql(query).to_arrow_reader(100_000)

    def describe(self, url: str) -> pa.Schema:
        if not glob.glob(url):
            raise DataFileMissing(path=url)
        if Path(url).suffix not in _READERS:
            raise UnreadableFile(path=url, problem="it is neither Parquet nor CSV")
        with self._database.cursor() as cursor:
            try:
                return cursor.sql(f"SELECT * FROM {self.scan(url)} LIMIT 0").to_arrow_table().schema
            except duckdb.Error as error:
                raise UnreadableFile(path=url, problem=str(error).splitlines()[0]) from error

    def scan(self, url: str) -> str:
        reader = _READERS[Path(url).suffix]
        return (
            f"{reader}({_text(url)})"
            if reader == "read_parquet"
            else f"{reader}({_text(url)}, header = true, all_varchar = true)"
        )

    def _prepared(self, relations: dict[str, Relation]) -> duckdb.DuckDBPyConnection:
        cursor = self._database.cursor()
        for name, relation in relations.items():
            if isinstance(relation, pa.Table):
                cursor.register(name, relation)
            else:
                cursor.execute(
                    f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM {_files(relation)}"
                )
        return cursor


def _files(paths: Sequence[str]) -> str:
    return f"read_parquet([{', '.join(map(_text, paths))}])"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def connect(url: str) -> DuckDB:
    """The engine of a `duckdb://` URL."""
    del url
    return DuckDB()
