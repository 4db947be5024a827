"""The table of a source: its good rows with ingest offset and arrival time, and its quarantine.

Both are tables of a store of (version, file list). Offsets say where a row came in: rows of files
count from 0 in the order of the files, rows of the log have `LIVE` + their offset in it, and rows
that the live path refused have one below 0. A row keeps its offset in quarantine, so that it can go
to where it belongs once it is mended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mainspring.sources.source import Schema, Source
from mainspring.stores.base import TableStore
from mainspring.vectors import ARROW_TYPES

OFFSET, ARRIVAL = "__offset", "__arrival"
QUARANTINE = "__quarantine"
LIVE = 1 << 40
"""Rows from the log have the offset LIVE + log offset: after those that came in files."""

QUARANTINE_SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("at", pa.int64()),
        ("file", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("row", pa.string()),
    ]
)

Moves = Mapping[str, tuple[int, int]]
Once = tuple[str, int]

_REFUSED_AT_ONCE = 1 << 20


def arrow_schema(schema: Schema) -> pa.Schema:
    """The columns of a source's table: those declared, the offset and the arrival time."""
    declared = [(c.name, ARROW_TYPES[c.type]) for c in schema.columns.values()]
    return pa.schema([*declared, (OFFSET, pa.int64()), (ARRIVAL, pa.int64())])


@dataclass(frozen=True, slots=True)
class Table:
    """The table of one source, and its quarantine.

    Example:
        >>> from datetime import datetime
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from mainspring.sources.source import Column, event_time
        >>> from mainspring.stores.urls import connect_tables
        >>> class Click(Source, url="clicks.parquet"):
        ...     ad: Column[str]
        ...     clicked_at: Column[datetime] = event_time()
        >>> with TemporaryDirectory() as folder:
        ...     table = Table.of(connect_tables(f"file://{folder}"), Click)
        ...     table.hold_live([({"ad": 7}, ["ad is no str"])], at=0)
        ...     table.version, len(table.files), len(table.quarantine_files)
        (-1, 0, 1)
    """

    store: TableStore
    schema: Schema

    @classmethod
    def of(cls, store: TableStore, source: type[Source]) -> Table:
        """The table of a source in a store."""
        return cls(store, source.__schema__)

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self.schema.id

    @property
    def quarantine(self) -> str:
        """The name of its quarantine in the store."""
        return self.schema.id + QUARANTINE

    @property
    def files(self) -> Sequence[str]:
        """The Parquet files with the good rows."""
        return self.store.files(self.name)

    @property
    def rows(self) -> pa.Table | Sequence[str]:
        """The good rows for an engine's query, also where there are none."""
        return self.files or arrow_schema(self.schema).empty_table()

    @property
    def quarantine_files(self) -> Sequence[str]:
        """The Parquet files with the rows in quarantine."""
        return self.store.files(self.quarantine)

    @property
    def version(self) -> int:
        """The version of the table; -1 before the first row."""
        return self.store.version(self.name)

    def append(
        self, batches: Iterable[pa.RecordBatch], once: Once, moves: Moves | None = None
    ) -> bool:
        """Appends good rows in one commit; a repeated `once` is a no-op."""
        schema = arrow_schema(self.schema)
        return self.store.append(self.name, schema, batches, once=once, moves=moves)

    def hold(
        self, batches: Iterable[pa.RecordBatch], once: Once, moves: Moves | None = None
    ) -> bool:
        """Puts bad rows into quarantine in one commit; a repeated `once` is a no-op."""
        return self.store.append(
            self.quarantine, QUARANTINE_SCHEMA, batches, once=once, moves=moves
        )

    def hold_live(
        self, refused: Sequence[tuple[Mapping[str, Any], Sequence[str]]], at: int
    ) -> None:
        """Puts rows that the live path refused, each with its reasons, into quarantine.

        Any number of threads and processes may do so at once: each call has offsets of its own.
        """
        held = False
        while refused and not held:
            number = self.store.committed(self.quarantine, "refused") + 1
            first = -number * _REFUSED_AT_ONCE - 1
            rows = [
                {"offset": first - i, "at": at, "file": "", "reasons": why, "row": json.dumps(row)}
                for i, (row, why) in enumerate(refused)
            ]
            batch = pa.RecordBatch.from_pylist(rows, QUARANTINE_SCHEMA)
            held = self.hold([batch], ("refused", number))
