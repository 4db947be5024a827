"""Backfill: the features of past requests, computed once and kept.

A point-in-time value depends only on rows that were visible before its request, so it never
changes: what was computed stays right, and a training reads what an earlier one computed. Only new
files of history bring rows that arrived in the past. The folder is named by the definitions and by
how much history there is: other definitions, or more history, are another folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mainspring.engines.base import Engine
from mainspring.expressions import Kind, kind_of
from mainspring.features.feature_set import FeatureSet
from mainspring.features.point_in_time import TableOf, event_of, point_in_time, quoted
from mainspring.sources.source import Source
from mainspring.sources.table import LIVE, OFFSET
from mainspring.vectors import ARROW_KINDS, Vector, from_arrow, to_arrow

ID, AT = "__id", "__at"


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests with their features.

    Attributes:
        ids: the request's key, text, one per row.
        at: the request's time, int64 microseconds.
        columns: the features by name, one vector each.
    """

    ids: Vector
    at: Vector
    columns: dict[str, Vector]

    def __len__(self) -> int:
        return len(self.at)

    def take(self, chosen: Vector) -> Rows:
        """The rows at positions, or where a mask is true."""
        columns = {name: vector[chosen] for name, vector in self.columns.items()}
        return Rows(self.ids[chosen], self.at[chosen], columns)


class Backfill:
    """The features of all past requests of one feature set.

    Processes may share a folder: one computes at a time.

    Args:
        folder: where the computed rows are kept, one Parquet file per stretch of time.
        identity: the column that names a request.
    """

    def __init__(
        self, folder: Path, features: FeatureSet, identity: str, tables: TableOf, engine: Engine
    ) -> None:
        self._all, self._features, self._identity = folder, features, identity
        self._tables, self._engine = tables, engine
        self._kinds: dict[str, Kind] = dict(zip(features.names, features.kinds, strict=True))
        self._history: dict[tuple[str, int], int] = {}

    def read(self, start: int, end: int) -> Rows:
        """The requests with `start <= time < end`, in order of time, computed now if need be.

        The caller must not ask beyond what has arrived: `end` is at most the present.
        """
        folder = self.extend(start, end)
        files = [str(path) for path, low, high in _stretches(folder) if low < end and high > start]
        query = f"SELECT * FROM rows WHERE {AT} >= {start} AND {AT} < {end} ORDER BY {AT}, {ID}"
        table = self._engine.select(query, rows=files) if files else self._schema().empty_table()
        return self._as_rows(table)

    def _as_rows(self, table: pa.Table) -> Rows:
        columns = {name: from_arrow(table[name], kind) for name, kind in self._kinds.items()}
        return Rows(from_arrow(table[ID], "text"), from_arrow(table[AT], "time"), columns)

    def extend(self, start: int, end: int, ahead: int = 0) -> Path:
        """Computes what is missing of a stretch of time; gives the folder that has it.

        Args:
            ahead: how far to go on where something is missing, as a long stretch costs little more
                than a short one; in replay, no further than history goes.
        """
        folder = self._folder()
        if _gaps(_stretches(folder), start, end):
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                for low, high in _gaps(_stretches(folder), start, end + ahead):
                    _write(folder / f"{low}_{high}.parquet", self._computed(low, high))
        return folder

    def compute(self, ids: Vector, at: Vector) -> Rows:
        """The features of known requests at given times, computed anew: what audits compare with.

        A request that was asked twice has one row in its table, and features for each time.
        """
        asked = pa.table({ID: pa.array(ids, pa.string()), AT: pa.array(at, pa.int64())})
        names = "".join(f", r.{quoted(column.name)}" for column in self._features.columns)
        key = quoted(self._identity)
        query = f"""
            SELECT a.{ID}, a.{AT}{names} FROM asked a JOIN (
                SELECT *, CAST({key} AS VARCHAR) AS {ID} FROM requests
                QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {OFFSET}) = 1
            ) r USING ({ID}) ORDER BY a.{AT}, a.{ID}"""
        files = self._tables(self._features.request).files
        if not files:
            return self._as_rows(self._schema().empty_table())
        return self._as_rows(self._valued(self._engine.select(query, asked=asked, requests=files)))

    def _folder(self) -> Path:
        sources = {self._features.request, *(v.__view__.source for v in self._features.views)}
        history = {source.__schema__.id: self._rows_of_history(source) for source in sources}
        text = json.dumps([self._features.definition(), self._identity, history], sort_keys=True)
        return self._all / hashlib.sha256(text.encode()).hexdigest()[:16]

    def _rows_of_history(self, source: type[Source]) -> int:
        """How many rows of a source came in files; counted again when its table has changed."""
        table = self._tables(source)
        version = source.__schema__.id, table.version
        if version not in self._history:
            query = f"SELECT count(*) AS n FROM rows WHERE {OFFSET} < {LIVE}"
            files = table.files
            counted = self._engine.select(query, rows=files)["n"][0].as_py() if files else 0
            self._history[version] = counted
        return self._history[version]

    def _computed(self, start: int, end: int) -> pa.Table:
        files = self._tables(self._features.request).files
        if not files:
            return self._schema().empty_table()
        return self._valued(self._engine.select(self._query(start, end), requests=files))

    def _valued(self, asked: pa.Table) -> pa.Table:
        """The features of requests, beside their keys and times."""
        columns = self._features.columns
        request = {c.name: from_arrow(asked[c.name], kind_of(c)) for c in columns}
        at = from_arrow(asked[AT], "time")
        values = point_in_time(self._features, request, at, self._tables, self._engine)
        found = (to_arrow(values[name], kind) for name, kind in self._kinds.items())
        return pa.table([asked[ID], at, *found], schema=self._schema())

    def _query(self, start: int, end: int) -> str:
        event = event_of(self._features.request)
        names = "".join(f", {quoted(column.name)}" for column in self._features.columns)
        return f"""
            SELECT CAST({quoted(self._identity)} AS VARCHAR) AS {ID}, {event} AS {AT}{names}
            FROM requests WHERE {event} >= {start} AND {event} < {end} ORDER BY {AT}, {ID}"""

    def _schema(self) -> pa.Schema:
        values = [(name, ARROW_KINDS[kind]) for name, kind in self._kinds.items()]
        return pa.schema([(ID, pa.string()), (AT, pa.int64()), *values])


Stretch = tuple[Path, int, int]
"""A file of computed rows, and the start and end of the requests' times in it."""


def _stretches(folder: Path) -> list[Stretch]:
    named = ((path, path.stem.partition("_")) for path in folder.glob("*_*.parquet"))
    return sorted(((path, int(low), int(high)) for path, (low, _, high) in named), key=_begin)


def _begin(stretch: Stretch) -> int:
    return stretch[1]


def _gaps(stretches: list[Stretch], start: int, end: int) -> list[tuple[int, int]]:
    """What of a time no stretch covers; stretches are in order.

    Example:
        >>> _gaps([(Path("2_4"), 2, 4), (Path("6_9"), 6, 9)], 0, 8)
        [(0, 2), (4, 6)]
    """
    gaps: list[tuple[int, int]] = []
    for _, low, high in stretches:
        if low > start and start < end:
            gaps.append((start, min(low, end)))
        start = max(start, high)
    return [*gaps, (start, end)] if start < end else gaps


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """One at a time, of all processes and threads; the lock falls with its holder."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, rows: Any) -> None:
    """Writes a file that is there whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        pq.write_table(rows, file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
