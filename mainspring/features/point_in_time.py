"""The point-in-time join: the features of any requests, each as they were visible at its own time.

The engine selects and sorts the events of each view by (key, event time, offset); the window kernel turns them into columns. A value depends only
on rows that were visible before the request's time, so it never changes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.engines.base import Engine
from mainspring.expressions import Feature, columns_of, kind_of
from mainspring.features.feature_set import FeatureSet
from mainspring.features.kernel import Aggregate, Events, Requests, compute
from mainspring.features.view import View
from mainspring.sources.source import Column, Source
from mainspring.sources.table import ARRIVAL, OFFSET, Table
from mainspring.vectors import Vector, evaluate, evaluate_all, from_arrow

PART = 4_000_000
"""Events per part: what bounds the memory of a join."""

TableOf = Callable[[type[Source]], Table]


def point_in_time(
    features: FeatureSet, requests: dict[str, Vector], at: Vector, tables: TableOf, engine: Engine
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
    requests: dict[str, Vector],
    at: Vector,
    tables: TableOf,
    engine: Engine,
) -> dict[str, Vector]:
    """The aggregates of one view at the requests, part by part."""
    found = {a.label: _nothing(a, len(at)) for a in wanted}
    table = tables(view.source)
    if not table.files or not len(at):
        return found
    selected = _selection(view, wanted, at)
    (rows,) = engine.select(
        f"SELECT count(*) AS n FROM events WHERE {selected}", events=table.files
    )["n"].to_pylist()
    parts = -(-rows // PART)
    keys = requests[view.key.name]
    belongs = _part_of(keys, parts, engine)
    for part in range(parts):
        events = engine.select(
            _sorted_part(view, wanted, selected, part, parts), events=table.files
        )
        mine = np.flatnonzero(belongs == part)
        for label, values in _part(view, wanted, events, keys[mine], at[mine]).items():
            found[label][mine] = values
    return found


def _nothing(aggregate: Feature[Any], rows: int) -> Vector:
    """What an aggregate is for a key without rows."""
    if kind_of(aggregate) == "text":
        return np.full(rows, None, object)
    return np.full(rows, 0.0 if aggregate.op == "count" else np.nan)


def _selection(view: View, wanted: Sequence[Feature[Any]], at: Vector) -> str:
    """The rows that any window of any request may see."""
    windows = [a.settings["window"] for a in wanted]
    last, event = int(at.max()), f"epoch_us({_quoted(view.source.__schema__.event.name)})"
    visible = f"{_quoted(view.key.name)} IS NOT NULL AND {event} < {last} AND {ARRIVAL} < {last}"
    if any(w.size is None for w in windows):
        return visible
    return f"{visible} AND {event} >= {min(w.start(int(at.min())) for w in windows)}"


def _part_of(keys: Vector, parts: int, engine: Engine) -> Vector:
    """The part that each request's key falls in, by the engine's own hash."""
    if parts == 1:
        return np.zeros(len(keys), np.int64)
    rows = pa.table({"key": pa.array(keys), "row": np.arange(len(keys))})
    part = engine.select(f"SELECT hash(key) % {parts} AS part FROM keys ORDER BY row", keys=rows)
    return part["part"].to_numpy().astype(np.int64)


def _sorted_part(
    view: View, wanted: Sequence[Feature[Any]], selected: str, part: int, parts: int
) -> str:
    key, event = _quoted(view.key.name), f"epoch_us({_quoted(view.source.__schema__.event.name)})"
    needed = {c.name for a in wanted for c in columns_of(a) if isinstance(c, Column)}
    columns = "".join(f", {_quoted(name)}" for name in sorted(needed))
    where = f"{selected} AND hash({key}) % {parts} = {part}" if parts > 1 else selected
    return f"""
        SELECT {key} AS __key, {event} AS __event, greatest({event}, {ARRIVAL}) AS __visible{columns}
        FROM events WHERE {where} ORDER BY {key}, __event, {OFFSET}"""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _part(
    view: View, wanted: Sequence[Feature[Any]], events: pa.Table, keys: Vector, at: Vector
) -> dict[str, Vector]:
    segments = events["__key"].combine_chunks().dictionary_encode()
    codes = np.asarray(segments.indices, np.int64)
    starts = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes))
    ordered = Events(starts, np.asarray(events["__event"]), np.asarray(events["__visible"]))
    asked = Requests(_segment(keys, segments.dictionary), at)
    values = event_values(view, wanted, events)
    aggregates = [Aggregate(a.op, values[a.label], a.settings["window"]) for a in wanted]
    return dict(zip([a.label for a in wanted], compute(ordered, asked, aggregates), strict=True))


def _segment(keys: Vector, known: pa.Array) -> Vector:
    """The segment of each request's key, -1 for a key without events. Segments are numbered in order of appearance."""
    position = {key: number for number, key in enumerate(known.to_pylist())}
    return np.fromiter((position.get(key, -1) for key in keys.tolist()), np.int64, len(keys))


def event_values(view: View, wanted: Sequence[Feature[Any]], events: pa.Table) -> dict[str, Vector]:
    """What each aggregate takes from each event: its argument's value, NULL where its condition does not hold.

    Aggregates of the same argument and condition share one vector.
    """
    columns = view.source.__schema__.columns
    values = {
        name: from_arrow(events[name], kind_of(columns[name]))
        for name in events.column_names
        if name in columns
    }
    shared: dict[tuple[str, str], Vector] = {}
    taken: dict[str, Vector] = {}
    for aggregate in wanted:
        (of,), where = aggregate.args or (None,), aggregate.settings["where"]
        identity = (repr(of), repr(where))
        if identity not in shared:
            shared[identity] = _taken(of, where, values, events.num_rows)
        taken[aggregate.label] = shared[identity]
    return taken


def _taken(of: Any, where: Any, values: dict[str, Vector], rows: int) -> Vector:
    value = np.ones(rows) if of is None else evaluate(of, values, rows)
    if where is None:
        return value
    holds = evaluate(where, values, rows) == 1
    return np.where(holds, value, None if value.dtype == object else np.nan)
