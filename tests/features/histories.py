"""Generated histories, and a view with every aggregate: what offline and online must agree on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from mainspring.clock import NEVER, parse_time
from mainspring.features.feature_set import FeatureSet, resolve
from mainspring.features.sketch import ACCURACY
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
NUMBERS: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in ("count", "sum", "mean", "min", "max", "std", "first", "last")},
    "last_k": {"k": 3},
    "count_distinct": {},
    "top_k": {"k": 2},
    "quantile": {"q": 0.75},
    "ewma": {"half_life": minutes(20)},
    "time_since_last": {},
}
"""The aggregates of numbers, and how they are called."""

TEXTS = ("count", "first", "last", "last_k", "count_distinct", "top_k", "time_since_last")
TIMES = ("first", "last", "last_k")
EXACT = {*NUMBERS} - {"sum", "mean", "std", "ewma", "quantile"}


@dataclass(frozen=True, slots=True)
class Row:
    """One event, as the table of its source has it; `id` and `op` are those of a change feed."""

    offset: int
    arrival: int
    event: int
    key: str | None
    value: float | None
    text: str | None
    id: int = 0
    op: str = "upsert"
    second: int | None = None


Taken = Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Declared:
    """A feature, and what the oracle needs to know of it."""

    feature: Any
    kind: str
    taken: Taken
    parameter: Any = None


def _positive(taken: Taken) -> Taken:
    return lambda row: taken(row) if row.value is not None and row.value > 0 else None


def declare(source: Any) -> Iterator[tuple[str, Declared]]:
    """Every aggregate of a source like `Event`, over every window."""
    takes: dict[str, tuple[Any, Taken, Iterable[str]]] = {
        "value": (source.value, lambda row: row.value, NUMBERS),
        "text": (source.text, lambda row: row.text, TEXTS),
        "time": (source.at, lambda row: row.event, TIMES),
        "double": (
            source.value * 2,
            lambda row: None if row.value is None else row.value * 2,
            ("sum", "max", "last", "quantile"),
        ),
    }
    for span, (window, hop) in SPANS.items():
        within: dict[str, Any] = {"window": window, "hop": hop}
        for name, (of, taken, kinds) in takes.items():
            for kind in kinds:
                more = NUMBERS[kind]
                made = getattr(ms, kind)(of, **more, **within)
                parameter: Any = next(iter(more.values()), None)
                if kind == "ewma":
                    parameter = microseconds(parameter)
                yield f"{kind}_{name}_{span}", Declared(made, kind, taken, parameter)
        within["where"] = source.value > 0
        text = _positive(lambda row: row.text)
        one = ms.count(**within)
        yield f"count_positive_{span}", Declared(one, "count", _positive(lambda row: 1.0))
        total = ms.sum(source.value, **within)
        yield f"sum_positive_{span}", Declared(total, "sum", _positive(lambda row: row.value))
        yield f"last_positive_{span}", Declared(ms.last(source.text, **within), "last", text)
        since = ms.time_since_last(**within)
        positive = Declared(since, "time_since_last", _positive(lambda row: 1.0))
        yield f"since_positive_{span}", positive
    yield "latest_value", Declared(ms.latest(source.value), "latest", lambda row: row.value)
    yield "latest_text", Declared(ms.latest(source.text), "latest", lambda row: row.text)
    yield "latest_time", Declared(ms.latest(source.at), "latest", lambda row: row.event)


_DECLARED = dict(declare(Event))
_DERIVED = {
    "gap": _DECLARED["mean_value_hour"].feature - _DECLARED["mean_value_day"].feature,
    "busy": _DECLARED["count_value_hour"].feature > 2,
    "known": _DECLARED["last_value_odd"].feature.fill_null(-1.0),
    "newest": _DECLARED["last_k_value_odd"].feature[0],
}


def view_of(name: str, keys: dict[str, Any], features: Mapping[str, Any]) -> Any:
    """A view of features by name."""
    return new_class(name, (ms.FeatureView,), keys, lambda namespace: namespace.update(features))


Everything: Any = view_of(
    "Everything",
    {"key": Event.key},
    {name: declared.feature for name, declared in _DECLARED.items()} | _DERIVED,
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
    want = check_aggregates("Everything", _DECLARED, mine, at, got)
    _check_derived(want, got)


def check_aggregates(
    view: str,
    declared: Mapping[str, Declared],
    mine: Sequence[Row],
    at: int,
    got: Mapping[str, Any],
) -> dict[str, Any]:
    """Every aggregate over the rows of one key is what the oracle says; gives what it says."""
    return {
        name: _check_aggregate(f"{view}.{name}", one, mine, at, got)
        for name, one in declared.items()
    }


def _check_aggregate(
    label: str, one: Declared, mine: Sequence[Row], at: int, got: Mapping[str, Any]
) -> Any:
    window: Window = one.feature.settings["window"]
    rows = [(r.event, r.arrival, r.offset, one.taken(r)) for r in mine]
    want = oracle.aggregate(one.kind, rows, at, window.size, window.hop, one.parameter)
    if isinstance(want, list):
        for number, value in enumerate(want):
            _check_value(f"{label}.{number}", one, value, got[f"{label}.{number}"], at, [])
    else:
        values = oracle.seen(rows, at, window.size, window.hop)
        _check_value(label, one, want, got[label], at, values)
    return want


def _check_value(
    label: str, one: Declared, want: Any, got: Any, at: int, values: Sequence[Any]
) -> None:
    where = f"{label} at {at}: {got!r}, the oracle says {want!r}"
    if want is None or isinstance(want, (str, int)):
        is_time = isinstance(got, (int, np.integer))
        assert (None if got != got or (is_time and got == NEVER) else got) == want, where
    elif one.kind in EXACT:
        assert np.float64(got).tobytes() == np.float64(want).tobytes(), where
    elif one.kind == "quantile":
        assert abs(got - want) <= 1.0001 * ACCURACY * abs(want), where
    else:
        scale = max(map(abs, values)) if one.kind == "ewma" else math.fsum(map(abs, values))
        assert abs(got - want) <= 1e-9 * scale + 1e-150, where  # below it squares underflow


def _check_derived(want: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    hour, day = want["mean_value_hour"], want["mean_value_day"]
    if hour is None or day is None:
        assert math.isnan(got["Everything.gap"])
    else:
        assert abs(got["Everything.gap"] - (hour - day)) <= 1e-9 * 1e13
    assert got["Everything.busy"] == float(want["count_value_hour"] > 2)
    last, newest = want["last_value_odd"], got["Everything.newest"]
    assert got["Everything.known"] == (-1.0 if last is None else last)
    assert (None if newest != newest else newest) == want["last_k_value_odd"][0]


def scalars(values: Mapping[str, Vector], row: int = 0) -> dict[str, Any]:
    """The values of one request."""
    return {name: vector[row] for name, vector in values.items()}
