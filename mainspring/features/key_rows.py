"""Rows of one key: all that a source has of it, when each arrived, and what aggregates take of it.

The rows of the log that are not in the tables yet are among them, so that what the online store has
taken in can be compared with what it is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.clock import NEVER, as_datetime
from mainspring.engines.base import Engine
from mainspring.expressions import Feature, Kind, kind_of
from mainspring.features.keys import key_arrays
from mainspring.features.measure import columns_needed, measured
from mainspring.features.online import OnlineFeatures
from mainspring.features.point_in_time import TableOf, event_of, quoted
from mainspring.features.statistic import Flags, Ints
from mainspring.features.stream import first_arrivals
from mainspring.features.view import FeatureView
from mainspring.sources import record as records
from mainspring.sources.reader import Reader
from mainspring.sources.record import Numbered, rows_of
from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL, LIVE, OFFSET
from mainspring.sources.versions import UNTIL, versions
from mainspring.vectors import Vectors, to_value

_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where to look for what serving and history know.

    Attributes:
        online: what serving reads; without it only history is looked at.
        log: the folder of the log.
        folded: the offset up to which the log is in the tables.
    """

    tables: TableOf
    engine: Engine
    online: OnlineFeatures | None = None
    log: Path | None = None
    folded: int = 0


@dataclass(frozen=True, slots=True)
class KeyRows:
    """The rows of one key of a view, in the order of event time and offset.

    Attributes:
        key: the key, as a person says it.
        arrival: when each row arrived; of a change feed `until` says until when it stands.
        values: what aggregates take of the rows, by measure.
        table: the rows with the columns that aggregates are computed from.
    """

    view: type[FeatureView]
    key: str
    event: Ints
    arrival: Ints
    until: Ints
    offset: Ints
    values: Vectors
    table: pa.Table

    @classmethod
    def read(
        cls, view: type[FeatureView], request: Vectors, evidence: Evidence, below: int = 1 << 62
    ) -> KeyRows:
        """The rows of the key of one request.

        Args:
            below: rows with this offset or a later one are not there.
        """
        about, source = view.__view__, view.__view__.source
        keys = key_arrays(about, request)
        asked = pa.table({f"k{n}": array for n, array in enumerate(keys)})
        of_key = [f"{quoted(k.name)} IN (SELECT k{n} FROM asked)" for n, k in enumerate(about.keys)]
        time, needed = event_of(source), columns_needed(about.aggregates)
        own = {source.__schema__.event.name: source.__schema__.event, **needed}
        both = f"""(SELECT * FROM events UNION ALL BY NAME SELECT * FROM tail
            WHERE {OFFSET} NOT IN (SELECT {OFFSET} FROM events WHERE {OFFSET} >= {LIVE}))"""
        query = f"""
            SELECT {", ".join(map(quoted, own))}, {time} AS __event, {ARRIVAL}, {OFFSET}, {UNTIL}
            FROM {versions(source, f"{OFFSET} < {below}", both)} WHERE {" AND ".join(of_key)}
            ORDER BY __event, {OFFSET}"""
        tail = _unfolded(source, evidence)  # before the tables: a row may be in both, not in none
        rows = evidence.tables(source).rows
        found = evidence.engine.select(query, events=rows, tail=tail, asked=asked)
        event, arrival, until, offset = (
            np.asarray(found[n], np.int64) for n in ("__event", ARRIVAL, UNTIL, OFFSET)
        )
        said = [f"{k.name} = {to_value(request[k.name][0], kind_of(k))!r}" for k in about.keys]
        values = measured(about.aggregates, found)
        return cls(view, ", ".join(said), event, arrival, until, offset, values, found)

    def __len__(self) -> int:
        return len(self.event)

    def seen(self, at: int) -> Flags:
        """Which rows a request at a time sees."""
        return (self.event < at) & (self.arrival < at) & (at <= self.until)

    def known_by(self, then: int, at: int) -> Flags:
        """Which rows it would see if only what arrived before `then` were known."""
        return (self.event < at) & (self.arrival < then) & (then <= self.until)


def _unfolded(source: type[Source], evidence: Evidence) -> pa.Table:
    """The rows of a source in the log that are not in its table yet."""
    table = evidence.tables(source)
    fresh: list[Numbered] = []
    if evidence.log is not None and evidence.online is not None:
        first = max(evidence.folded, table.store.committed(table.name, "log"), 0)
        with Reader(evidence.log, first) as tail:
            while batch := tail.read(_AT_ONCE):
                fresh += [(offset, records.decode(data)) for offset, data in batch]
        fresh = first_arrivals(fresh, {source.__schema__.id: source}, evidence.online)
    return rows_of(source, fresh)


def kind_taken(aggregate: Feature[Any]) -> Kind:
    """The kind of what an aggregate takes of each row; times are numbers of microseconds then."""
    if aggregate.op == "time_since_last":
        return "time"
    return kind_of(aggregate.args[0]) if aggregate.args else "number"


def said(value: Any, kind: Kind = "number") -> str:
    """A value as a person reads it.

    Example:
        >>> said(3.0), said(float("nan")), said("a", "text"), said(0, "time")
        ('3', 'NULL', "'a'", '1970-01-01 00:00:00')
    """
    if value is None or value != value or (kind == "time" and value == NEVER):
        return "NULL"
    if kind == "text":
        return repr(value)
    if kind == "time":
        return moment(int(value))
    if kind == "flag":
        return str(bool(value)).lower()
    return repr(float(value)).removesuffix(".0")


def moment(at: int) -> str:
    """A time to the microsecond.

    Example:
        >>> moment(1_500_000), moment(0)
        ('1970-01-01 00:00:01.5', '1970-01-01 00:00:00')
    """
    return as_datetime(at).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").removesuffix(".")


def row_named(offset: int) -> str:
    """A row by its offset, as a person says it: its number in files, or in the log.

    Example:
        >>> row_named(7), row_named(LIVE + 7)
        ('row 7', 'log row 7')
    """
    return f"log row {offset - LIVE}" if offset >= LIVE else f"row {offset}"
