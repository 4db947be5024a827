"""Timing: the microseconds that the features of a view take, offline and online."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.clock import NEVER
from mainspring.engines.base import Engine
from mainspring.expressions import Feature, kind_of, leaves
from mainspring.features.cost import MOST, before, owner_of, part_of, share
from mainspring.features.feature_set import FeatureSet
from mainspring.features.kernel import Aggregate, Events, Requests, compute
from mainspring.features.keys import Keys, key_arrays
from mainspring.features.measure import measure_of, measured, parameter_of
from mainspring.features.online import OnlineFeatures
from mainspring.features.point_in_time import EVENT, VISIBLE, quoted, reach, sorted_events
from mainspring.features.stretch import AT
from mainspring.features.view import View
from mainspring.sources.table import Table
from mainspring.sources.versions import UNTIL
from mainspring.vectors import Vector, evaluate_all, from_arrow

READS = 200
"""Requests that are read online, each alone."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The microseconds that a view's features took offline for one request, on average.

    Attributes:
        requests: how many there were.
        of: by feature: what it takes of the kernel, and its part of what all share.
    """

    requests: int
    of: Mapping[str, float]


def offline(view: View, table: Table, requests: Table, engine: Engine, now: int) -> Taken | None:
    """What the offline join of a view takes, measured on the rows and requests of some keys; None
    if there are none.

    Args:
        table: the table of the view's source.
        requests: the table of the source whose rows are requests.
    """
    if not table.files or not requests.files:
        return None
    known = " AND ".join(f"{quoted(key.name)} IS NOT NULL" for key in view.keys)
    events, mine = part_of(view, table, engine, f"{known} AND {before(view.source, now)}")
    keys = ", ".join(quoted(key.name) for key in view.keys)
    event = f"epoch_us({quoted(requests.schema.event.name)})"
    query = f"""SELECT {keys}, {event} AS {AT} FROM rows WHERE {mine} AND {event} < {now}
        ORDER BY {AT} DESC LIMIT {MOST}"""
    asked = engine.select(query, rows=requests.files)
    return _timed(view, events, asked, engine) if events.num_rows and asked.num_rows else None


def _timed(view: View, rows: pa.Table, asked: pa.Table, engine: Engine) -> Taken:
    at, began = from_arrow(asked[AT], "time"), perf_counter()
    events, requests, values = _joined(view, rows, asked, at, engine)
    shared = perf_counter() - began
    wanted = [
        Aggregate(a.op, values[measure_of(a)], a.settings["window"], parameter_of(a))
        for a in view.aggregates
    ]
    began = perf_counter()
    found = compute(events, requests, wanted)
    together = perf_counter() - began
    alone = [_seconds(partial(compute, events, requests, [a])) for a in wanted]
    seconds = dict.fromkeys(view.features, 0.0)
    share(seconds, [owner_of(a) for a in view.aggregates], shared)
    for aggregate, own in zip(view.aggregates, alone, strict=True):
        seconds[owner_of(aggregate)] += together * own / sum(alone)
    known = {a.label: _as_found(a, v) for a, v in zip(view.aggregates, found, strict=True)}
    for name, feature in view.features.items():
        if "window" not in feature.settings and known.keys() >= {n.label for n in leaves(feature)}:
            seconds[name] += _seconds(partial(evaluate_all, [feature], known, len(at)))
    return Taken(len(at), {name: 1e6 * s / len(at) for name, s in seconds.items()})


def _joined(
    view: View, rows: pa.Table, asked: pa.Table, at: Vector, engine: Engine
) -> tuple[Events, Requests, Mapping[str, Vector]]:
    """What the kernel takes: rows in order, requests with their keys, and the values of rows."""
    where = reach(view, view.aggregates, int(at.min()))
    sort = sorted_events(view, view.aggregates, where)
    events = engine.select(sort, events=rows)
    keys, is_feed = Keys.of(view, events), view.source.__schema__.is_feed
    event, visible = (np.asarray(events[name], np.int64) for name in (EVENT, VISIBLE))
    until = np.asarray(events[UNTIL], np.int64) if is_feed else None
    columns = {k.name: from_arrow(asked[k.name], kind_of(k)) for k in view.keys}
    number = keys.numbers(key_arrays(view, columns))
    values = measured(view.aggregates, events)
    return Events(keys.starts, event, visible, until), Requests(number, at), values


def _seconds(do: Callable[[], Any]) -> float:
    began = perf_counter()
    do()
    return perf_counter() - began


def _as_found(aggregate: Feature[Any], values: Vector) -> Vector:
    """Values as expressions take them."""
    if kind_of(aggregate) != "time":
        return values
    times: Vector = np.nan_to_num(values, nan=NEVER).astype(np.int64)
    return times


def online(
    stored: OnlineFeatures, features: FeatureSet, requests: Mapping[str, Vector], now: int
) -> float | None:
    """The microseconds that one request's read takes, the median of some; None if there is none."""
    rows = len(next(iter(requests.values()))) if requests else 0
    asked = [{name: v[n : n + 1] for name, v in requests.items()} for n in range(min(rows, READS))]
    took = [_seconds(partial(stored.read, features, one, now)) for one in asked]
    return 1e6 * median(took) if took else None
