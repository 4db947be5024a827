"""Generated histories, and a view with every aggregate: what offline and online must agree on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import new_class
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

import mainspring as ms
from mainspring import Column, days, hours, minutes
from mainspring.clock import parse_time
from mainspring.features.feature_set import FeatureSet, resolve
from mainspring.sources.source import Source
from mainspring.sources.table import Table, arrow_schema
from mainspring.stores.urls import connect_tables
from mainspring.vectors import Vector, from_values
from mainspring.windows import Window, microseconds
from tests.features import oracle


class Event(ms.Source, url="events.parquet"):
    key: Column[str | None]
    value: Column[float | None]
    text: Column[str | None]
    at: Column[datetime] = ms.event_time()


class Ask(ms.Source, url="asks.parquet"):
    id: Column[str] = ms.column(unique=True)
    key: Column[str | None]
    base: Column[float | None]
    at: Column[datetime] = ms.event_time()


Span = tuple[timedelta | None, Any]
SPANS: dict[str, Span] = {
    "hour": (hours(1), "default"),
    "day": (days(1), "default"),
    "odd": (minutes(50), minutes(7)),
    "exact": (minutes(30), None),
    "ever": (None, "default"),
}
KINDS = ("count", "sum", "mean", "min", "max", "std", "first", "last")
EXACT = ("count", "min", "max", "first", "last")

# What an aggregate takes from a row, and the same for the oracle.
TAKES: dict[str, tuple[Any, Any, Sequence[str]]] = {
    "value": (Event.value, lambda row: row.value, KINDS),
    "text": (Event.text, lambda row: row.text, ("count", "first", "last")),
    "time": (Event.at, lambda row: row.event, ("first", "last")),
    "double": (Event.value * 2, lambda row: None if row.value is None else row.value * 2, KINDS),
}
POSITIVE = Event.value > 0


@dataclass(frozen=True, slots=True)
class Row:
    """One event, as the table of its source has it."""

    offset: int
    arrival: int
    event: int
    key: str | None
    value: float | None
    text: str | None


def _features() -> Iterator[tuple[str, Any]]:
    for span, (window, hop) in SPANS.items():
        for name, (of, _, kinds) in TAKES.items():
            for kind in kinds:
                yield f"{kind}_{name}_{span}", getattr(ms, kind)(of, window=window, hop=hop)
        within: dict[str, Any] = {"window": window, "hop": hop, "where": POSITIVE}
        yield f"count_positive_{span}", ms.count(**within)
        yield f"sum_positive_{span}", ms.sum(Event.value, **within)
        yield f"last_positive_{span}", ms.last(Event.text, **within)


_DECLARED = dict(_features())
_DERIVED = {
    "gap": _DECLARED["mean_value_hour"] - _DECLARED["mean_value_day"],
    "busy": _DECLARED["count_value_hour"] > 2,
    "known": _DECLARED["last_value_odd"].fill_null(-1.0),
}
Everything: Any = new_class(
    "Everything",
    (ms.FeatureView,),
    {"key": Event.key},
    lambda namespace: namespace.update(_DECLARED | _DERIVED),
)


def features(*listed: Any) -> FeatureSet:
    """A feature set of requests."""
    return resolve(listed, Ask, "the test", "here")


EVERYTHING = features(Everything, Ask.base)

Asked = tuple[int, str | None]
"""The time and the key of a request."""


@dataclass(frozen=True, slots=True)
class History:
    """Rows in the order of arrival, and requests; the rows of a batch arrive together."""

    batches: Sequence[Sequence[Row]]
    asked: Sequence[Asked]

    @property
    def rows(self) -> list[Row]:
        return [row for batch in self.batches for row in batch]


BASES = [parse_time(t) for t in ("1970-01-01", "2013-01-01", "2016-02-29", "2016-03-01T05:00")]
_EDGES = [0, *(microseconds(w) for w, _ in SPANS.values() if w), microseconds(minutes(7))]
_numbers = st.one_of(
    st.sampled_from([None, math.nan, 0.0, -0.0, 1.0, -2.5, 1e12, 1e-3]),
    st.floats(-1e12, 1e12),
    st.integers(-5, 5).map(float),
)
_texts = st.sampled_from([None, "", "a", "b", "ü"])
_keys = st.sampled_from(["k", "k", "k", "other", "0", None])


@st.composite
def _times(draw: st.DrawFn, base: int) -> int:
    """A time near a base; on a grid, so that ties and the edges of windows and hops are common."""
    coarse = draw(st.sampled_from([minutes(1), minutes(5), hours(1)]))
    ticks = draw(st.integers(-26, 26)) * microseconds(coarse)
    return base + ticks + draw(st.sampled_from(_EDGES)) + draw(st.sampled_from([-1, 0, 0, 1]))


@st.composite
def _rows(draw: st.DrawFn, base: int, arrival: int, offset: int) -> Row:
    event = draw(st.one_of(_times(base), st.sampled_from([arrival - 1, arrival, arrival + 1])))
    return Row(offset, arrival, event, draw(_keys), draw(_numbers), draw(_texts))


@st.composite
def histories(draw: st.DrawFn, batches: int = 5, rows: int = 6, asked: int = 6) -> History:
    """Events late, in the future, at the same time; requests at any time, mostly near events."""
    base = draw(st.sampled_from(BASES))
    steps = st.sampled_from([1, 1_000_000, *_EDGES[1:]])
    arrival, offset, found = draw(_times(base)), 0, list[list[Row]]()
    for _ in range(draw(st.integers(0, batches))):
        size = draw(st.integers(1, rows))
        found.append([draw(_rows(base, arrival, offset + n)) for n in range(size)])
        offset, arrival = offset + size, arrival + draw(steps)
    known = [row.event for batch in found for row in batch] or [arrival]
    around = st.tuples(st.sampled_from(known), st.sampled_from(_EDGES), st.integers(-1, 1))
    near = around.map(sum)
    times = st.one_of(_times(base), near, st.just(arrival))
    asks = draw(st.lists(st.tuples(times, _keys), min_size=1, max_size=asked))
    return History(found, asks)


def table_of(rows: Iterable[Row]) -> pa.Table:
    """Rows as the table of `Event` has them."""
    names = ("key", "value", "text", "event", "offset", "arrival")
    columns = [[getattr(row, name) for row in rows] for name in names]
    schema = arrow_schema(Event.__schema__)
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a folder, called as a function from source to table."""

    folder: Path

    def __call__(self, source: type[Source]) -> Table:
        return Table.of(connect_tables(f"file://{self.folder}"), source)

    def add(self, rows: Sequence[Row], number: int = 0) -> None:
        """Appends events; nothing where there are none."""
        if rows:
            self(Event).append(table_of(rows).to_batches(), ("test", number))


def requests(asked: Sequence[Asked]) -> dict[str, Vector]:
    """Requests as columns."""
    keys = from_values([key for _, key in asked], "text")
    return {"key": keys, "base": np.arange(len(asked), dtype=np.float64)}


def one(key: str | None, base: float = 0.0) -> dict[str, Vector]:
    """One request as columns."""
    return {"key": from_values([key], "text"), "base": np.array([base])}


def check(rows: Iterable[Row], at: int, key: str | None, got: Mapping[str, Any]) -> None:
    """Every feature of one request is what the oracle says; `got` has a scalar per feature."""
    mine = [row for row in rows if key is not None and row.key == key]
    want: dict[str, Any] = {}
    for feature in Everything.__view__.features.values():
        if feature.name in _DECLARED:
            want[feature.name] = _check_aggregate(feature, mine, at, got[feature.label])
    _check_derived(want, got)


def _check_aggregate(feature: Any, mine: Sequence[Row], at: int, got: Any) -> Any:
    kind, name, _ = feature.name.split("_")
    window: Window = feature.settings["window"]
    rows = [(r.event, r.arrival, r.offset, _taken(kind, name, r)) for r in mine]
    want = oracle.aggregate(kind, rows, at, window.size, window.hop)
    where = f"{feature.name} at {at}: {got!r}, the oracle says {want!r}"
    if want is None or isinstance(want, (str, int)):
        null = -(2**63) if name == "time" else None
        assert (None if got != got or got == null else got) == want, where
    elif kind in EXACT:
        assert np.float64(got).tobytes() == np.float64(want).tobytes(), where
    else:
        scale = math.fsum(map(abs, oracle.seen(rows, at, window.size, window.hop)))
        assert abs(got - want) <= 1e-9 * scale + 1e-150, where  # below it squares underflow
    return want


def _taken(kind: str, name: str, row: Row) -> Any:
    if name != "positive":
        return TAKES[name][1](row)
    value = row.text if kind == "last" else row.value
    return value if row.value is not None and row.value > 0 else None


def _check_derived(want: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    hour, day = want["mean_value_hour"], want["mean_value_day"]
    if hour is None or day is None:
        assert math.isnan(got["Everything.gap"])
    else:
        assert abs(got["Everything.gap"] - (hour - day)) <= 1e-9 * 1e13
    assert got["Everything.busy"] == float(want["count_value_hour"] > 2)
    last = want["last_value_odd"]
    assert got["Everything.known"] == (-1.0 if last is None else last)


def scalars(values: Mapping[str, Vector], row: int = 0) -> dict[str, Any]:
    """The values of one request."""
    return {name: vector[row] for name, vector in values.items()}
