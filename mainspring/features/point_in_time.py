"""The point-in-time join: the features of any requests, each as they were visible at its own time.

The engine selects and sorts the events of each view by (key, event time, offset); the window kernel
turns them into columns. A value depends only on rows that were visible before the request's time,
so it never changes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mainspring.clock import NEVER
from mainspring.engines.base import Engine
from mainspring.expressions import Feature, kind_of
from mainspring.features.feature_set import FeatureSet
from mainspring.features.kernel import Aggregate, Events, Requests, compute
from mainspring.features.measure import columns_needed, measure_of, measured
from mainspring.features.view import View
from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL, OFFSET, Table
from mainspring.vectors import ARROW_TYPES, Vector, evaluate_all, to_arrow

PART = 4_000_000
"""Events per part: what bounds the memory of a join."""

KEY, EVENT, VISIBLE = "__key", "__event", "__visible"

TableOf = Callable[[type[Source]], Table]


def point_in_time(
    features: FeatureSet,
    requests: Mapping[str, Vector],
    at: Vector,
    tables: TableOf,
    engine: Engine,
) -> dict[str, Vector]:
    """The values of a feature set for requests, by name.

    Args:
        requests: the request's columns (entity keys and raw values) as vectors, by column name.
        at: the time of each request, in microseconds.
        tables: where the rows of each source are.
    """
    values = dict(requests)
    for view in features.views:
        wanted = [a for a in features.aggregates if a.view is view]
        values |= _stored(view.__view__, wanted, requests, at, tables, engine)
    evaluated = evaluate_all(features.expressions, values, len(at))
    return dict(zip(features.names, evaluated, strict=True))


def _stored(
    view: View,
    wanted: Sequence[Feature[Any]],
    requests: Mapping[str, Vector],
    at: Vector,
    tables: TableOf,
    engine: Engine,
) -> dict[str, Vector]:
    """The aggregates of one view at the requests, part by part."""
    found = {a.label: _nothing(a, len(at)) for a in wanted}
    files = tables(view.source).files
    if not files or not len(at):
        return found
    keys, seen = key_array(view, requests[view.key.name]), _seen(view, wanted, at)
    counted = engine.select(f"SELECT count(*) AS n FROM events WHERE {seen}", events=files)
    parts = -(-counted["n"][0].as_py() // PART)
    for part, mine in enumerate(_parts(keys, parts, engine)):
        only = f"{seen} AND hash({quoted(view.key.name)}) % {parts} = {part}"
        query = sorted_events(view, wanted, only if parts > 1 else seen)
        events = engine.select(query, events=files)
        for label, values in _part(view, wanted, events, keys.take(mine), at[mine]).items():
            found[label][mine] = values
    return found


def _nothing(aggregate: Feature[Any], rows: int) -> Vector:
    """What an aggregate is for a key without rows."""
    kind = kind_of(aggregate)
    if kind == "text":
        return np.full(rows, None, object)
    if kind == "time":
        return np.full(rows, NEVER, np.int64)
    return np.full(rows, 0.0 if aggregate.op == "count" else np.nan)


def _seen(view: View, wanted: Sequence[Feature[Any]], at: Vector) -> str:
    """The condition on rows that any window of any request may see."""
    last, reached = int(at.max()), reach(view, wanted, int(at.min()))
    return f"{event_of(view.source)} < {last} AND {ARRIVAL} < {last} AND {reached}"


def reach(view: View, aggregates: Sequence[Feature[Any]], at: int) -> str:
    """The condition on rows with a key that are not too old for any window at `at` or later."""
    windows = [a.settings["window"] for a in aggregates]
    known = f"{quoted(view.key.name)} IS NOT NULL"
    if any(w.size is None for w in windows):
        return known
    return f"{known} AND {event_of(view.source)} >= {min(w.start(at) for w in windows)}"


def event_of(source: type[Source]) -> str:
    """The event time of a source's rows in a query, in microseconds."""
    return f"epoch_us({quoted(source.__schema__.event.name)})"


def quoted(name: str) -> str:
    """A name as a query has it."""
    return '"' + name.replace('"', '""') + '"'


def sorted_events(view: View, aggregates: Sequence[Feature[Any]], where: str) -> str:
    """The query for the rows of `events` that aggregates are computed from, key after key."""
    columns = "".join(f", {quoted(name)}" for name in columns_needed(aggregates))
    event = event_of(view.source)
    return f"""
        SELECT {quoted(view.key.name)} AS {KEY}, {event} AS {EVENT},
            greatest({event}, {ARRIVAL}) AS {VISIBLE}, {OFFSET}{columns}
        FROM events WHERE {where} ORDER BY {KEY}, {EVENT}, {OFFSET}"""


def key_array(view: View, keys: Vector) -> pa.Array:
    """Keys as the view's source holds them, so that equal ones are equal in every engine."""
    return to_arrow(keys, kind_of(view.key)).cast(ARROW_TYPES[view.key.type])


def _parts(keys: pa.Array, parts: int, engine: Engine) -> list[Vector]:
    """The requests whose key falls in each part, by the engine's own hash."""
    if parts < 2:
        return [np.arange(len(keys))] * parts
    rows = pa.table({"key": keys, "row": np.arange(len(keys))})
    query = f"SELECT coalesce(hash(key) % {parts}, 0) AS part FROM keys ORDER BY row"
    part = engine.select(query, keys=rows)["part"].to_numpy()
    return [np.flatnonzero(part == number) for number in range(parts)]


def _part(
    view: View, wanted: Sequence[Feature[Any]], events: pa.Table, keys: pa.Array, at: Vector
) -> dict[str, Vector]:
    known, starts = key_runs(view, events)
    ordered = Events(starts, np.asarray(events[EVENT]), np.asarray(events[VISIBLE]))
    number = pc.index_in(keys, value_set=known).fill_null(-1)
    asked = Requests(np.asarray(number, np.int64), at)
    values = measured(wanted, events)
    aggregates = [Aggregate(a.op, values[measure_of(a)], a.settings["window"]) for a in wanted]
    computed = zip(wanted, compute(ordered, asked, aggregates), strict=True)
    return {a.label: _as_times(v) if kind_of(a) == "time" else v for a, v in computed}


def key_runs(view: View, events: pa.Table) -> tuple[pa.Array, Vector]:
    """The keys of sorted events in order, and the row at which each begins; last, their end."""
    column = events[KEY].cast(ARROW_TYPES[view.key.type]).combine_chunks().dictionary_encode()
    codes = np.asarray(column.indices, np.int64)
    return column.dictionary, np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes))


def _as_times(numbers: Vector) -> Vector:
    return cast(Vector, np.nan_to_num(numbers, nan=NEVER).astype(np.int64))
