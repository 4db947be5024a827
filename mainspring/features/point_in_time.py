"""The point-in-time join: the features of any requests, each as they were visible at its own time.

The engine selects and sorts the events of each view by (key, event time, offset), once for views of
the same source and keys; the window kernel turns them into columns, part by part. A value depends
only on rows that were visible before the request's time, so it never changes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mainspring.clock import NEVER
from mainspring.engines.base import Engine
from mainspring.expressions import Feature, Wide, kind_of
from mainspring.features.feature_set import FeatureSet
from mainspring.features.kernel import Aggregate, Events, Requests, compute
from mainspring.features.keys import Keys, key_arrays, key_column
from mainspring.features.measure import columns_needed, measure_of, measured, parameter_of
from mainspring.features.view import View
from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL, OFFSET, Table
from mainspring.sources.versions import UNTIL, versions
from mainspring.vectors import Vector, evaluate_all

PART = 120_000
"""Events per part, or those of one key if they are more: what bounds the memory of a join."""

PART_COLUMN, EVENT, VISIBLE = "__part", "__event", "__visible"

TableOf = Callable[[type[Source]], Table]
Told = Callable[[int, int], None]


def _nobody(done: int, parts: int) -> None:
    pass


def point_in_time(
    features: FeatureSet,
    requests: Mapping[str, Vector],
    at: Vector,
    tables: TableOf,
    engine: Engine,
    told: Told = _nobody,
) -> dict[str, Vector]:
    """The values of a feature set for requests, by name.

    Args:
        requests: the request's columns (entity keys and raw values) as vectors, by column name.
        at: the time of each request, in microseconds.
        tables: where the rows of each source are.
        told: is told how many rows of events are done, of how many.
    """
    values = dict(requests)
    for join in _joins(features, requests, at):
        values |= join.found(tables, engine, told)
    evaluated = evaluate_all(features.expressions, values, len(at))
    return dict(zip(features.names, evaluated, strict=True))


class _Join:
    """The aggregates of the views of one source and one set of keys, at the requests.

    Args:
        wanted: for each view its aggregates, in one list.
    """

    def __init__(
        self, wanted: Sequence[Feature[Any]], requests: Mapping[str, Vector], at: Vector
    ) -> None:
        self._wanted, self._at = wanted, at
        self._view: View = wanted[0].view.__view__
        self._keys = key_arrays(self._view, requests)

    def found(self, tables: TableOf, engine: Engine, told: Told) -> dict[str, Vector]:
        """The values by the aggregates' labels."""
        files, asked = tables(self._view.source).files, len(self._at)
        if not files or not asked:
            return {a.label: _nothing(a, asked) for a in self._wanted}
        seen = _seen(self._view, self._wanted, self._at)
        query = f"SELECT count(*) AS n FROM {events_of(self._view.source)} WHERE {seen}"
        rows = engine.select(query, events=files)["n"][0].as_py()
        parts = max(1, -(-rows // PART))
        # Values are written part after part, so that memory grows with what is done.
        order, edges = self._parts(parts, engine)
        found, done, reached = {a.label: _unwritten(a, asked) for a in self._wanted}, 0, 0
        sort = sorted_events(self._view, self._wanted, seen, parts=parts)
        for number, events in _cut(engine.stream(sort, events=files)):
            lo, hi = edges[number], edges[number + 1]
            self._write_nothing(found, reached, lo)
            for label, values in self._part(events, order[lo:hi]).items():
                found[label][lo:hi] = values
            reached, done = hi, done + events.num_rows
            told(done, rows)
        self._write_nothing(found, reached, asked)
        back = np.argsort(order)
        for label in found:
            found[label] = found[label][back]
        return found

    def _write_nothing(self, found: dict[str, Vector], lo: int, hi: int) -> None:
        """The values of requests whose parts have no events."""
        for a in self._wanted if lo < hi else ():
            found[a.label][lo:hi] = _nothing(a, hi - lo)

    def _parts(self, parts: int, engine: Engine) -> tuple[Vector, Vector]:
        """The requests in the order of the parts that their keys fall in, by the engine's own hash;
        and where each part begins."""
        if parts == 1:
            return np.arange(len(self._at)), np.array([0, len(self._at)])
        named = {f"k{number}": keys for number, keys in enumerate(self._keys)}
        rows = pa.table({**named, "row": np.arange(len(self._at))})
        query = (
            f"SELECT coalesce(hash({', '.join(named)}) % {parts}, 0) AS p FROM keys ORDER BY row"
        )
        part = engine.select(query, keys=rows)["p"].to_numpy()
        order = np.argsort(part, kind="stable")
        return order, np.searchsorted(part[order], np.arange(parts + 1))

    def _part(self, events: pa.Table, mine: Vector) -> dict[str, Vector]:
        keys = Keys.of(self._view, events)
        event, visible = (np.asarray(events[name]) for name in (EVENT, VISIBLE))
        until = np.asarray(events[UNTIL]) if self._view.source.__schema__.is_feed else None
        number = keys.numbers([column.take(pa.array(mine)) for column in self._keys])
        values = measured(self._wanted, events)
        aggregates = [
            Aggregate(a.op, values[measure_of(a)], a.settings["window"], parameter_of(a))
            for a in self._wanted
        ]
        found = compute(
            Events(keys.starts, event, visible, until), Requests(number, self._at[mine]), aggregates
        )
        pairs = zip(self._wanted, found, strict=True)
        return {a.label: _as_times(v) if kind_of(a) == "time" else v for a, v in pairs}


def _joins(features: FeatureSet, requests: Mapping[str, Vector], at: Vector) -> Iterator[_Join]:
    def sort(aggregate: Feature[Any]) -> tuple[int, ...]:
        return tuple(id(key) for key in aggregate.view.__view__.keys)

    for _, wanted in groupby(sorted(features.aggregates, key=sort), key=sort):
        yield _Join(list(wanted), requests, at)


def _cut(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.Table]]:
    """The parts of sorted events, each with its number."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        part = np.asarray(batch.column(PART_COLUMN))
        edges = np.flatnonzero(np.diff(part)) + 1
        for lo, hi in zip(np.append(0, edges), np.append(edges, len(part)), strict=True):
            if held and held[0].column(PART_COLUMN)[0].as_py() != part[lo]:
                yield held[0].column(PART_COLUMN)[0].as_py(), pa.Table.from_batches(held)
                held = []
            held.append(batch.slice(lo, hi - lo))
    if held:
        yield held[0].column(PART_COLUMN)[0].as_py(), pa.Table.from_batches(held)


def _unwritten(aggregate: Feature[Any], rows: int) -> Vector:
    none = _nothing(aggregate, 0)
    return np.empty((rows, *none.shape[1:]), none.dtype)


def _nothing(aggregate: Feature[Any], rows: int) -> Vector:
    """What an aggregate is for a key without rows."""
    kind = kind_of(aggregate)
    shape = (rows, len(aggregate)) if isinstance(aggregate, Wide) else rows
    if kind == "text":
        return np.full(shape, None, object)
    if kind == "time":
        return np.full(shape, NEVER, np.int64)
    return np.full(shape, 0.0 if aggregate.op in ("count", "count_distinct") else np.nan)


def _seen(view: View, wanted: Sequence[Feature[Any]], at: Vector) -> str:
    """The condition on rows that any window of any request may see."""
    first, last = int(at.min()), int(at.max())
    ended = f" AND {UNTIL} >= {first}" if view.source.__schema__.is_feed else ""
    reached = reach(view, wanted, first)
    return f"{event_of(view.source)} < {last} AND {ARRIVAL} < {last}{ended} AND {reached}"


def reach(view: View, aggregates: Sequence[Feature[Any]], at: int) -> str:
    """The condition on rows with a key that are not too old for any window at `at` or later."""
    windows = [a.settings["window"] for a in aggregates]
    known = " AND ".join(f"{quoted(key.name)} IS NOT NULL" for key in view.keys)
    if any(w.size is None for w in windows):
        return known
    return f"{known} AND {event_of(view.source)} >= {min(w.start(at) for w in windows)}"


def event_of(source: type[Source]) -> str:
    """The event time of a source's rows in a query, in microseconds."""
    return f"epoch_us({quoted(source.__schema__.event.name)})"


def events_of(source: type[Source], among: str = "true") -> str:
    """The rows of the relation `events` in a query; of a change feed, its versions.

    Args:
        among: the condition on rows that are there at all: versions that are not end none.
    """
    return versions(source, among)


def quoted(name: str) -> str:
    """A name as a query has it."""
    return '"' + name.replace('"', '""') + '"'


def sorted_events(
    view: View,
    aggregates: Sequence[Feature[Any]],
    where: str,
    *,
    parts: int = 1,
    among: str = "true",
) -> str:
    """The query for the rows of `events` that aggregates are computed from, key after key."""
    source, event = view.source, event_of(view.source)
    columns = "".join(f", {quoted(name)}" for name in columns_needed(aggregates))
    until = f", {UNTIL}" if source.__schema__.is_feed else ""
    keys = [quoted(key.name) for key in view.keys]
    named = ", ".join(f"{key} AS {key_column(number)}" for number, key in enumerate(keys))
    part = f"hash({', '.join(keys)}) % {parts}" if parts > 1 else "0"
    order = ", ".join(key_column(number) for number in range(len(keys)))
    return f"""
        SELECT CAST({part} AS BIGINT) AS {PART_COLUMN}, {named}, {event} AS {EVENT},
            greatest({event}, {ARRIVAL}) AS {VISIBLE}, {OFFSET}{until}{columns}
        FROM {events_of(source, among)} WHERE {where}
        ORDER BY {PART_COLUMN}, {order}, {EVENT}, {OFFSET}"""


def _as_times(numbers: Vector) -> Vector:
    return cast(Vector, np.nan_to_num(numbers, nan=NEVER).astype(np.int64))
