"""Backfill: the features of past requests, computed once and kept.

A point-in-time value depends only on rows that were visible before its request, so it never changes: what was computed stays right, and
a training reads what an earlier one computed. The folder is named by the definitions; other definitions are another folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mainspring.engines.base import Engine
from mainspring.expressions import kind_of
from mainspring.features.feature_set import FeatureSet
from mainspring.features.point_in_time import TableOf, point_in_time
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
        return Rows(
            self.ids[chosen], self.at[chosen], {n: v[chosen] for n, v in self.columns.items()}
        )


class Backfill:
    """The features of all past requests of one feature set.

    Args:
        folder: where the computed rows are kept, one Parquet file per stretch of time.
        identity: the column that names a request.
    """

    def __init__(
        self, folder: Path, features: FeatureSet, identity: str, tables: TableOf, engine: Engine
    ) -> None:
        self._folder = folder / definition_hash(features)
        self._features, self._identity = features, identity
        self._tables, self._engine = tables, engine

    def read(self, start: int, end: int) -> Rows:
        """The requests with `start <= time < end`, in order of time; what is not computed yet is computed now.

        The caller must not ask beyond what has arrived: `end` is at most the present.
        """
        self.extend(start, end)
        files = [str(path) for path, low, high in self._stretches() if low < end and high > start]
        query = f"SELECT * FROM rows WHERE {AT} >= {start} AND {AT} < {end} ORDER BY {AT}, {ID}"
        table = self._engine.select(query, rows=files) if files else self._schema().empty_table()
        kinds = zip(self._features.names, self._features.kinds, strict=True)
        columns = {name: from_arrow(table[name], kind) for name, kind in kinds}
        return Rows(from_arrow(table[ID], "text"), from_arrow(table[AT], "time"), columns)

    def extend(self, start: int, end: int) -> None:
        """Computes what is missing of a stretch of time. Values never depend on rows that arrived later."""
        for low, high in _gaps([(a, b) for _, a, b in self._stretches()], start, end):
            self._write(low, high, self._computed(low, high))

    def _computed(self, start: int, end: int) -> pa.Table:
        source = self._features.request.__schema__
        event = f'epoch_us("{source.event.name}")'
        columns = {c.name: kind_of(c) for c in self._features.columns}
        names = ", ".join(f'"{c}"' for c in columns)
        table = self._tables(self._features.request)
        query = f"""SELECT CAST("{self._identity}" AS VARCHAR) AS {ID}, {event} AS {AT}{", " + names if names else ""}
            FROM requests WHERE {event} >= {start} AND {event} < {end} ORDER BY {AT}, {ID}"""
        if not table.files:
            return self._schema().empty_table()
        asked = self._engine.select(query, requests=table.files)
        request = {name: from_arrow(asked[name], kind) for name, kind in columns.items()}
        at = np.asarray(asked[AT], np.int64)
        values = point_in_time(self._features, request, at, self._tables, self._engine)
        return self._as_table(asked[ID], at, values)

    def _as_table(self, ids: Any, at: Vector, values: dict[str, Vector]) -> pa.Table:
        kinds = zip(self._features.names, self._features.kinds, strict=True)
        return pa.table(
            [ids, at, *(to_arrow(values[n], k) for n, k in kinds)], schema=self._schema()
        )

    def _schema(self) -> pa.Schema:
        kinds = zip(self._features.names, self._features.kinds, strict=True)
        return pa.schema(
            [(ID, pa.string()), (AT, pa.int64()), *((n, ARROW_KINDS[k]) for n, k in kinds)]
        )

    def _stretches(self) -> list[tuple[Path, int, int]]:
        found = [
            (path, *map(int, path.stem.split("_"))) for path in self._folder.glob("*_*.parquet")
        ]
        return sorted(found, key=lambda f: f[1])

    def _write(self, start: int, end: int, rows: pa.Table) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{start}_{end}.parquet"
        pq.write_table(rows, path.with_suffix(".partial"))
        path.with_suffix(".partial").rename(path)


def _gaps(covered: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """What of a stretch no other covers.

    Example:
        >>> _gaps([(2, 4), (6, 9)], 0, 8)
        [(0, 2), (4, 6)]
    """
    gaps: list[tuple[int, int]] = []
    for low, high in sorted(covered):
        if high <= start or low >= end:
            continue
        if low > start:
            gaps.append((start, low))
        start = max(start, high)
    return [*gaps, (start, end)] if start < end else gaps


def definition_hash(features: FeatureSet) -> str:
    """What names a feature set's values: a hash over everything that they are defined by."""
    text = json.dumps(features.definition(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
