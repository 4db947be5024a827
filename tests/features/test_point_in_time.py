from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import new_class
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

import mainspring as ms
from mainspring import Column
from mainspring.engines.base import Engine
from mainspring.engines.urls import connect_engine
from mainspring.features import point_in_time as join
from mainspring.features.feature_set import resolve
from mainspring.features.point_in_time import point_in_time
from mainspring.sources.table import arrow_schema
from mainspring.vectors import Vector
from tests.features.histories import (
    EVERYTHING,
    Asked,
    Everything,
    History,
    Row,
    Tables,
    check,
    histories,
    requests,
    scalars,
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return connect_engine()


def values_of(rows: Sequence[Row], asked: Sequence[Asked], engine: Engine) -> dict[str, Vector]:
    """Every feature of the requests, over a table with these rows."""
    at = np.array([at for at, _ in asked], np.int64)
    with TemporaryDirectory() as folder:
        tables = Tables(Path(folder))
        tables.add(rows)
        return point_in_time(EVERYTHING, requests(asked), at, tables, engine)


def check_all(rows: Sequence[Row], asked: Sequence[Asked], engine: Engine) -> None:
    values = values_of(rows, asked, engine)
    for number, (at, key) in enumerate(asked):
        check(rows, at, key, scalars(values, number))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(batches=8, rows=10, asked=12))
def test_every_feature_equals_the_oracle(engine: Engine, history: History) -> None:
    check_all(history.rows, history.asked, engine)


def some_rows(keys: int = 7, each: int = 5) -> list[Row]:
    """Rows a minute apart, of one key after the other, each arriving half a minute late."""
    minute = 60_000_000
    return [
        Row(n, (2 * n + 1) * minute // 2, n * minute, f"k{n % keys}", float(n), "abc"[n % 3])
        for n in range(keys * each)
    ]


SOME_ASKED = [(at * 60_000_000, f"k{key}") for at in (5, 20, 40) for key in range(8)]


def test_a_join_in_parts_equals_one_in_a_single_part(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "PART", 5)
    check_all(some_rows(), [*SOME_ASKED, (40, None)], engine)


def test_requests_that_no_row_was_visible_to_have_nothing(engine: Engine) -> None:
    check_all(some_rows(), [(0, "k0"), (-5, "k1"), (9, None)], engine)
    check_all([], SOME_ASKED, engine)
    assert [len(v) for v in values_of(some_rows(), [], engine).values()] == [0] * len(
        EVERYTHING.names
    )


def test_a_row_that_arrives_at_exactly_the_time_is_not_seen(engine: Engine) -> None:
    rows = [Row(0, 50, 10, "k", 1.0, "a"), Row(1, 60, 60, "k", 2.0, "b")]
    values = values_of(rows, [(at, "k") for at in (50, 51, 60, 61)], engine)
    assert values["Everything.count_value_ever"].tolist() == [0, 1, 1, 2]
    assert values["Everything.last_text_hour"].tolist() == [None, "a", "a", "b"]


def test_rows_that_arrive_in_the_future_take_every_feature_away(engine: Engine) -> None:
    asked = [(20 * 60_000_000, f"k{key}") for key in range(7)]
    later = [replace(row, arrival=asked[0][0]) for row in some_rows()]
    seen, leaked = values_of(some_rows(), asked, engine), values_of(later, asked, engine)
    for name, aggregate in Everything.__view__.features.items():
        if f"Everything.{name}" not in leaked:
            continue  # it is wide
        vector = leaked[f"Everything.{name}"]
        if aggregate.op in ("count", "count_distinct"):
            assert not vector.any() and seen[f"Everything.{name}"].any()
        elif aggregate.op in ("sum", "mean", "min", "max", "std"):
            assert np.isnan(vector).all() and not np.isnan(seen[f"Everything.{name}"]).all()


def test_rows_that_arrive_at_the_time_or_later_change_nothing(engine: Engine) -> None:
    at = 20 * 60_000_000
    asked = [(at, f"k{key}") for key in range(8)]
    rows = [row for row in some_rows() if row.arrival < at]
    more = [replace(row, offset=99 + row.offset, arrival=at + row.offset) for row in some_rows()]
    before, after = values_of(rows, asked, engine), values_of(rows + more, asked, engine)
    for name, vector in before.items():
        np.testing.assert_array_equal(vector, after[name], err_msg=name)


def test_times_are_features_with_null(engine: Engine) -> None:
    values = values_of(some_rows(), [(5 * 60_000_000, "k0"), (5, "k6")], engine)
    last = values["Everything.last_time_day"]
    assert (str(last.dtype), last.tolist()) == ("int64", [0, -(2**63)])


@pytest.mark.parametrize(
    ("kind", "keys", "asked"),
    [
        (int, [1, 2, 10, 2**52], [1.0, 10.0, 2.0**52, np.nan]),
        (float, [0.5, 2.0, 1e30, 3.0], [0.5, 1e30, 3.0, np.nan]),
        (bool, [True, True, False, False], [1.0, 0.0, 1.0, np.nan]),
        (datetime, [7, 8, 9, 10], [7, 9, 10, -(2**63)]),
    ],
)
def test_keys_of_every_type_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, keys: list[Any], asked: list[Any]
) -> None:
    body = {"__annotations__": {"key": Column[kind], "at": Column[datetime]}}
    body["at"] = ms.event_time()
    Thing: Any = new_class("Thing", (ms.Source,), {"url": ""}, lambda names: names.update(body))

    class Counted(ms.FeatureView, key=Thing.key):
        rows = ms.count()

    schema, times = arrow_schema(Thing.__schema__), list(range(len(keys)))
    arrays = [pa.array(c, f.type) for c, f in zip([keys, *[times] * 3], schema, strict=True)]
    tables = Tables(tmp_path)
    tables(Thing).append(pa.table(arrays, schema=schema).to_batches(), ("test", 0))
    wanted, at = resolve([Counted], Thing, "the test", "here"), np.full(len(asked), 99)
    for part in (join.PART, 3):
        monkeypatch.setattr(join, "PART", part)
        values = point_in_time(wanted, {"key": np.array(asked)}, at, tables, connect_engine())
        assert values["Counted.rows"].tolist() == [keys.count(key) for key in asked]
