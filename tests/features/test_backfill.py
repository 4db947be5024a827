from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mainspring as ms
from mainspring.engines.base import Engine
from mainspring.engines.urls import connect_engine
from mainspring.features.backfill import Backfill, Rows
from mainspring.features.feature_set import FeatureSet
from mainspring.sources.table import LIVE, arrow_schema
from tests.features.histories import Ask, Event, Row, Tables, features

MINUTE = 60_000_000


class Key(ms.FeatureView, key=Event.key):
    total = ms.sum(Event.value, window=ms.hours(1))
    latest = ms.last(Event.text)
    busy = ms.count(window=ms.minutes(5)) > 2


FEATURES = features(Key, Ask.base)


@dataclass
class Counting:
    """An engine that counts the point-in-time joins."""

    engine: Engine
    joins: int = 0
    joining: threading.Lock = field(default_factory=threading.Lock)

    def select(self, query: str, **relations: Any) -> pa.Table:
        with self.joining:
            self.joins += "requests" in relations
        return self.engine.select(query, **relations)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return connect_engine()


@pytest.fixture
def counting(engine: Engine) -> Counting:
    return Counting(engine)


def event(minute: int, offset: int) -> Row:
    return Row(offset, minute * MINUTE, minute * MINUTE, f"k{minute % 3}", 1.0 * minute, "a")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Events and requests, one of each a minute, for a hundred minutes."""
    tables = Tables(tmp_path / "tables")
    tables.add([event(minute, minute) for minute in range(100)])
    add_requests(tables, range(100), 0)
    return tables


def add_requests(tables: Tables, minutes: range, offset: int) -> None:
    schema, at = arrow_schema(Ask.__schema__), [m * MINUTE for m in minutes]
    ids, keys = [f"r{m:03}" for m in minutes], [f"k{m % 4}" for m in minutes]
    offsets = [offset + n for n in range(len(minutes))]
    columns = [ids, keys, [float(m) for m in minutes], at, offsets, at]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    batches = pa.table(arrays, schema=schema).to_batches()
    tables(Ask).append(batches, ("asks", offset + 1))


def opened(tmp_path: Path, tables: Tables, engine: Any, wanted: FeatureSet = FEATURES) -> Backfill:
    return Backfill(tmp_path / "features", wanted, "id", tables, engine)


def check_equal(a: Rows, b: Rows) -> None:
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.at, b.at)
    assert a.columns.keys() == b.columns.keys()
    for name, vector in a.columns.items():
        assert vector.dtype == b.columns[name].dtype
        np.testing.assert_array_equal(vector, b.columns[name])


def test_what_was_read_is_computed_once_and_stays_the_same(
    tmp_path: Path, tables: Tables, counting: Counting
) -> None:
    first = opened(tmp_path, tables, counting).read(10 * MINUTE, 50 * MINUTE)
    again = opened(tmp_path, tables, counting)
    check_equal(first, again.read(10 * MINUTE, 50 * MINUTE))
    check_equal(first.take(first.at >= 20 * MINUTE), again.read(20 * MINUTE, 50 * MINUTE))
    assert counting.joins == 1


def test_rows_are_requests_in_order_with_their_features(
    tmp_path: Path, tables: Tables, engine: Engine
) -> None:
    rows = opened(tmp_path, tables, engine).read(10 * MINUTE, 14 * MINUTE)
    assert rows.ids.tolist() == ["r010", "r011", "r012", "r013"]
    assert (rows.at // MINUTE).tolist() == [10, 11, 12, 13]
    assert rows.columns["Key.latest"].tolist() == ["a", None, "a", "a"]
    np.testing.assert_array_equal(rows.columns["Key.total"], [15.0, np.nan, 18.0, 22.0])
    assert rows.columns["base"].tolist() == [10.0, 11.0, 12.0, 13.0]


stretches = st.lists(st.tuples(st.integers(-5, 110), st.integers(-5, 110)), min_size=1, max_size=5)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=stretches)
def test_stretches_in_any_order_are_computed_where_they_were_not(
    tables: Tables, engine: Engine, asked: list[tuple[int, int]]
) -> None:
    with TemporaryDirectory() as folder:
        backfill = opened(Path(folder), tables, engine)
        for low, high in asked:
            rows = backfill.read(low * MINUTE, high * MINUTE)
            assert rows.ids.tolist() == [f"r{m:03}" for m in range(max(low, 0), min(high, 100))]
        files = [str(path) for path in Path(folder).rglob("*.parquet")]
        computed = sum(pq.read_metadata(file).num_rows for file in files)
    assert computed == len({m for low, high in asked for m in range(low, high)} & {*range(100)})


def test_other_definitions_have_another_folder(
    tmp_path: Path, tables: Tables, counting: Counting
) -> None:
    class Key(ms.FeatureView, key=Event.key):
        total = ms.sum(Event.value, window=ms.hours(2))

    for wanted in (FEATURES, features(Key), features(Key, Ask.base), FEATURES):
        opened(tmp_path, tables, counting, wanted).read(0, 9 * MINUTE)
    assert counting.joins == 3
    assert len(list((tmp_path / "features").iterdir())) == 3


def test_live_rows_leave_what_was_computed_and_more_history_does_not(
    tmp_path: Path, tables: Tables, counting: Counting
) -> None:
    backfill = opened(tmp_path, tables, counting)
    before = backfill.read(0, 50 * MINUTE)
    tables.add([event(100, LIVE)], 1)
    check_equal(before, backfill.read(0, 50 * MINUTE))
    assert counting.joins == 1
    tables.add([event(3, 100)], 2)
    assert backfill.read(0, 50 * MINUTE).columns["Key.total"][4] == 3.0 * 2
    assert counting.joins == 2


def test_a_file_that_a_kill_left_half_written_is_not_read(
    tmp_path: Path, tables: Tables, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(rows: pa.Table, file: Any) -> None:
        file.write(b"PAR1 and no more")
        raise KeyboardInterrupt

    backfill = opened(tmp_path, tables, engine)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pq, "write_table", killed)
        backfill.read(0, 9 * MINUTE)
    assert [path.suffix for path in tmp_path.rglob("features/*/*_*")] == [".partial"]
    assert len(backfill.read(0, 9 * MINUTE)) == 9
    assert [path.suffix for path in tmp_path.rglob("features/*/*_*")] == [".parquet"]


def test_of_several_that_want_the_same_rows_one_computes(
    tmp_path: Path, tables: Tables, counting: Counting
) -> None:
    read: list[Rows] = []

    def work() -> None:
        read.append(opened(tmp_path, tables, counting).read(0, 90 * MINUTE))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counting.joins, [len(rows) for rows in read]) == (1, [90] * 4)


def test_without_requests_there_are_no_rows(tmp_path: Path, engine: Engine) -> None:
    rows = opened(tmp_path, Tables(tmp_path / "none"), engine).read(0, 9 * MINUTE)
    kinds = [str(rows.columns[name].dtype) for name in ("Key.total", "Key.latest", "base")]
    assert (len(rows), kinds) == (0, ["float64", "object", "float64"])
