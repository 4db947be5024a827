from __future__ import annotations

import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mainspring as ms
from mainspring import Column
from mainspring.clock import VirtualClock
from mainspring.engines.base import Engine
from mainspring.engines.urls import connect_engine
from mainspring.features.feature_set import resolve
from mainspring.features.materialise import materialise
from mainspring.features.online import Applied, OnlineFeatures, identity_key
from mainspring.features.stream import Stream
from mainspring.sources.log import Log
from mainspring.sources.record import Record
from mainspring.sources.table import LIVE, arrow_schema
from mainspring.stores.base import OnlineStore
from mainspring.stores.urls import connect_online
from tests.crash import Mortal
from tests.features.histories import (
    EVERYTHING,
    Event,
    Everything,
    History,
    Row,
    Tables,
    check,
    histories,
    one,
    scalars,
    table_of,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Generator[OnlineStore]:
    opened = connect_online(f"lmdb://{tmp_path_factory.mktemp('online')}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return connect_engine()


@dataclass(frozen=True)
class Slicing:
    """An engine that streams a few rows at a time."""

    engine: Engine
    rows: int

    def select(self, query: str, **relations: Any) -> pa.Table:
        return self.engine.select(query, **relations)

    def stream(self, query: str, **relations: Any) -> Iterator[pa.RecordBatch]:
        for batch in self.engine.stream(query, **relations):
            for start in range(0, batch.num_rows, self.rows):
                yield batch.slice(start, self.rows)


def check_read(online: OnlineFeatures, rows: Sequence[Row], known_at: int, key: str | None) -> None:
    at, values = online.read(EVERYTHING, one(key), known_at)
    check(rows, at, key, scalars(values))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), data=st.data())
def test_reads_after_it_equal_the_oracle_and_the_log_goes_on(
    store: OnlineStore, engine: Engine, history: History, data: st.DataObject
) -> None:
    batches, online = history.batches, OnlineFeatures.of(store, [Everything])
    known = data.draw(st.integers(0, len(batches)), "batches in the tables")
    visible = data.draw(st.integers(0, known), "batches that have arrived")
    now = batches[visible - 1][0].arrival + 1 if visible else min(at for at, _ in history.asked)
    slicing: Any = Slicing(engine, data.draw(st.integers(1, 9), "rows of a batch"))
    with TemporaryDirectory() as folder:
        tables = Tables(Path(folder))
        tables.add([row for batch in batches[:known] for row in batch])
        materialise(online, tables, slicing, now, log_offset=7)
    rows = [row for batch in batches[:known] for row in batch]
    for at, key in history.asked:
        check_read(online, rows, max(at, now), key)
    for number, batch in enumerate(batches[known:], 8):
        online.apply([(Event, table_of(batch))], Applied(number, batch[0].arrival))
        for at, key in history.asked:
            check_read(online, [*rows, *batch], max(at, now), key)
        rows += batch


def test_rows_of_the_log_from_its_offset_on_are_left_to_the_stream(
    store: OnlineStore, engine: Engine, tmp_path: Path
) -> None:
    online, tables = OnlineFeatures.of(store, [Everything]), Tables(tmp_path)
    tables.add([Row(offset, 1, 1, "k", 1.0, None) for offset in (0, 1, LIVE, LIVE + 5, LIVE + 6)])
    assert materialise(online, tables, engine, 10, log_offset=6) == 4
    assert online.applied() == Applied(6, 9, online.views, {"Event": 2})
    _, values = online.read(EVERYTHING, one("k"), 10)
    assert values["Everything.count_value_ever"] == 4


def test_a_row_that_is_visible_from_just_after_now_on_waits_and_counts_once(
    store: OnlineStore, engine: Engine, tmp_path: Path
) -> None:
    online, tables = OnlineFeatures.of(store, [Everything]), Tables(tmp_path)
    tables.add([Row(0, 9, 10, "k", 1.0, None), Row(1, 10, 9, "k", 1.0, None)])
    materialise(online, tables, engine, 10, log_offset=0)
    reads = [online.read(EVERYTHING, one("k"), at)[1] for at in (10, 11)]
    assert [values["Everything.count_value_ever"] for values in reads] == [0, 2]


def test_rows_that_no_window_reaches_are_not_read(
    store: OnlineStore, engine: Engine, tmp_path: Path
) -> None:
    class Recent(ms.FeatureView, key=Event.key):
        total = ms.sum(Event.value, window=ms.hours(1))

    tables, hour = Tables(tmp_path), 3_600_000_000
    tables.add([Row(n, n * hour, n * hour, "k", 1.0, None) for n in range(50)])
    assert materialise(OnlineFeatures.of(store, [Recent]), tables, engine, 40 * hour, 0) == 11


def test_tables_without_rows_leave_an_empty_store_that_is_whole(
    store: OnlineStore, engine: Engine, tmp_path: Path
) -> None:
    online = OnlineFeatures.of(store, [Everything])
    online.clear()
    assert materialise(online, Tables(tmp_path), engine, 10, 0) == 0
    assert online.materialised
    assert online.read(EVERYTHING, one("k"), 10)[1]["Everything.count_value_ever"] == 0


class Payment(ms.Source, url="payments.parquet"):
    payment_id: Column[str] = ms.column(unique=True)
    card: Column[int]
    amount: Column[float]
    paid_at: Column[datetime] = ms.event_time()


class Card(ms.FeatureView, key=Payment.card):
    payments = ms.count()
    greatest = ms.max(Payment.amount, window=ms.minutes(1), hop=None)


class Ask(ms.Source, url="asks.parquet"):
    ask_id: Column[str] = ms.column(unique=True)
    card: Column[int]
    asked_at: Column[datetime] = ms.event_time()


FEATURES = resolve([Card], Ask, "the test", "here")
CARDS, PAYMENTS = 400, 4000


def test_a_row_that_was_refused_and_mended_is_known_by_its_key(
    store: OnlineStore, engine: Engine, tmp_path: Path
) -> None:
    """What the live path refused has an offset below 0."""
    tables, online = Tables(tmp_path), OnlineFeatures.of(store, [Card])
    columns = [["p1"], [7], [1.0], [5], [-3], [9]]
    schema = arrow_schema(Payment.__schema__)
    row = pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )
    tables(Payment).append(row.to_batches(), ("test", 0))
    materialise(online, tables, engine, 10, 0)
    key = identity_key(Payment, "p1")
    assert online.first_offsets([key]) == {key: -3}


def payments(folder: Path) -> Tables:
    """A table of payments: payment n at n microseconds, of card n % CARDS."""
    tables, numbers = Tables(folder), range(PAYMENTS)
    ids, cards = [f"p{n}" for n in numbers], [n % CARDS for n in numbers]
    columns = [ids, cards, [float(n) for n in numbers], list(numbers), list(numbers)]
    schema = arrow_schema(Payment.__schema__)
    arrays = [pa.array(c, f.type) for c, f in zip([*columns, numbers], schema, strict=True)]
    tables(Payment).append(pa.table(arrays, schema=schema).to_batches(), ("test", 0))
    return tables


def is_whole(online: OnlineFeatures) -> bool:
    """Whether every card has all its payments."""
    for card in range(CARDS):
        _, values = online.read(FEATURES, {"card": np.array([float(card)])}, PAYMENTS)
        if values["Card.payments"] != PAYMENTS // CARDS:
            return False
        assert values["Card.greatest"] == PAYMENTS - CARDS + card
    return True


def test_a_row_that_history_has_is_not_taken_again_from_the_log(
    engine: Engine, tmp_path: Path
) -> None:
    tables, clock = payments(tmp_path / "tables"), VirtualClock(PAYMENTS)
    online = OnlineFeatures.of(connect_online(f"lmdb://{tmp_path / 'online'}"), [Card])
    materialise(online, tables, engine, PAYMENTS, log_offset=0)
    with Log(tmp_path / "log") as log:
        stream = Stream(log, online, {"Payment": Payment}, clock)
        rows = [[id, 3, 1e9, PAYMENTS] for id in ("p3", "new", "p3")]
        stream.append(lambda at: [Record("Payment", at, row) for row in rows])
        assert stream.apply() == 3
        _, values = online.read(FEATURES, {"card": np.array([3.0])}, stream.known_at())
    assert values["Card.payments"] == PAYMENTS // CARDS + 1
    online.store.close()


IMPORTS = """
import sys
sys.path.insert(0, sys.argv[3])
from tests.features.test_materialise import *
"""

LIFE = """
folder = Path(sys.argv[4])
online = OnlineFeatures.of(connect_online(f"lmdb://{folder / 'online'}"), [Card])
tables, engine = Tables(folder / "tables"), Slicing(connect_engine(), 40)
ready()
materialise(online, tables, engine, PAYMENTS, log_offset=0)
"""


def test_kill_9_leaves_a_store_that_is_whole_or_says_that_it_is_not(
    tmp_path: Path, repository: Path
) -> None:
    payments(tmp_path / "tables")
    moments, found = random.Random(5), list[bool]()
    with Mortal(IMPORTS, LIFE, str(repository), str(tmp_path)) as building:
        for _ in range(10):
            building.live(moments.uniform(0.005, 0.08))
            found.append(whole_or_not_materialised(tmp_path))
        assert building.live()
    assert False in found
    assert whole_or_not_materialised(tmp_path)


def whole_or_not_materialised(folder: Path) -> bool:
    store = connect_online(f"lmdb://{folder / 'online'}")
    try:
        online = OnlineFeatures.of(store, [Card])
        assert not online.materialised or is_whole(online)
        return online.materialised
    finally:
        store.close()
