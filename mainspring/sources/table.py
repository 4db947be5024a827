"""The table of a source: its good rows with their ingest offset and arrival time, in a store of (version, file list)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def arrow_schema(schema: Schema) -> pa.Schema:
    """The columns of a source's table: those declared, the offset and the arrival time."""
    declared = [(c.name, ARROW_TYPES[c.type]) for c in schema.columns.values()]
    return pa.schema([*declared, (OFFSET, pa.int64()), (ARRIVAL, pa.int64())])


@dataclass(frozen=True, slots=True)
class Table:
    """The table of one source, and its quarantine."""

    store: TableStore
    schema: Schema

    @classmethod
    def of(cls, store: TableStore, source: type[Source]) -> Table:
        """The table of a source in a store."""
        return cls(store, source.__schema__)

    @property
    def files(self) -> Sequence[str]:
        """The Parquet files with the good rows."""
        return self.store.files(self.schema.id)

    @property
    def version(self) -> int:
        """The version of the table; -1 before the first row."""
        return self.store.version(self.schema.id)

    def append(self, batches: Iterable[pa.RecordBatch], once: tuple[str, int]) -> bool:
        """Appends good rows in one commit; a repeated `once` is a no-op."""
        return self.store.append(self.schema.id, arrow_schema(self.schema), batches, once=once)

    def hold(self, rows: Sequence[dict[str, Any]], once: tuple[str, int]) -> bool:
        """Puts bad rows into quarantine in one commit; a repeated `once` is a no-op."""
        if not rows:
            return False
        held = pa.RecordBatch.from_pylist(list(rows), QUARANTINE_SCHEMA)
        return self.store.append(self.schema.id + QUARANTINE, QUARANTINE_SCHEMA, [held], once=once)

    @property
    def quarantine_files(self) -> Sequence[str]:
        """The Parquet files with the rows in quarantine."""
        return self.store.files(self.schema.id + QUARANTINE)
