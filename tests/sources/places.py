"""A source, and a place to ingest it: what the tests of ingest, table and quarantine share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mainspring.clock import VirtualClock, parse_time
from mainspring.engines.base import Engine
from mainspring.engines.urls import connect_engine
from mainspring.sources.ingest import Ingested, ingest
from mainspring.sources.source import Column, Source, column, event_time
from mainspring.sources.table import Table
from mainspring.stores.base import TableStore
from mainspring.stores.urls import connect_tables
from mainspring.windows import minutes

NOON = parse_time("2024-05-01T12:00")


class Payment(Source, url="payments*.*"):
    id: Column[str] = column(unique=True)
    amount: Column[float] = column(ge=0)
    paid_at: Column[datetime] = event_time(late_by=minutes(5))


class Click(Source, url="clicks/*.csv"):
    ad: Column[str]
    clicked_at: Column[datetime] = event_time()


def payment(id: str | None, amount: float | None = 1.0, at: int = NOON) -> dict[str, Any]:
    """A row of a payments file."""
    return {"id": id, "amount": amount, "paid_at": at}


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with data files and tables."""

    folder: Path
    store: TableStore
    engine: Engine
    clock: VirtualClock

    @classmethod
    def at(cls, folder: Path) -> Place:
        """The place in a folder."""
        return cls(
            folder, connect_tables(f"file://{folder}/tables"), connect_engine(), VirtualClock(NOON)
        )

    def write(self, name: str, *rows: dict[str, Any]) -> Path:
        """A Parquet file of payments."""
        schema = pa.schema(
            [("id", pa.string()), ("amount", pa.float64()), ("paid_at", pa.timestamp("us"))]
        )
        pq.write_table(pa.Table.from_pylist(list(rows), schema), self.folder / name)
        return self.folder / name

    def ingest(self, source: type[Source] = Payment) -> Ingested:
        """Takes what is new."""
        return ingest(source, self.folder, self.store, self.engine, self.clock)

    def table(self, source: type[Source] = Payment) -> Table:
        """The table of a source."""
        return Table.of(self.store, source)

    def rows(self, columns: str, source: type[Source] = Payment) -> list[tuple[Any, ...]]:
        """Columns of the good rows, by offset."""
        query = f"SELECT {columns} FROM rows ORDER BY __offset"
        found = self.engine.select(query, rows=self.table(source).rows)
        return [tuple(row.values()) for row in found.to_pylist()]

    def held(self) -> list[tuple[Any, ...]]:
        """Offset and reasons of the payments in quarantine, by offset."""
        files = self.table().quarantine_files
        if not files:
            return []
        found = self.engine.select("SELECT held.offset, reasons FROM held ORDER BY 1", held=files)
        return [tuple(row.values()) for row in found.to_pylist()]


class Killed(BaseException):
    """What stands for a kill where a test wants it at one place."""


class FrailStore:
    """A store that is killed instead of its n-th write."""

    def __init__(self, store: TableStore, writes: int) -> None:
        self._store, self._left = store, writes
        self.committed, self.files = store.committed, store.files
        self.version, self.compact = store.version, store.compact

    def append(self, *arguments: Any, **settings: Any) -> bool:
        self._write()
        return self._store.append(*arguments, **settings)

    def delete(self, *arguments: Any, **settings: Any) -> int:
        self._write()
        return self._store.delete(*arguments, **settings)

    def _write(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed
