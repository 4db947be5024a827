"""Kernel = oracle = online tiles, for every aggregate, over thousands of generated histories."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import mainspring as ms
from mainspring.engines.base import Engine
from mainspring.engines.urls import connect_engine
from mainspring.features.materialise import materialise
from mainspring.features.online import Applied, OnlineFeatures
from mainspring.features.parity import compare
from mainspring.features.point_in_time import point_in_time
from mainspring.sources.table import Table
from mainspring.stores.base import OnlineStore
from mainspring.stores.urls import connect_online, connect_tables
from mainspring.vectors import Vector
from tests.features import oracle
from tests.features.histories import Row, check_aggregates, scalars
from tests.features.worlds import (
    CHANGES,
    FACTS,
    FEATURES,
    PAIRS,
    VIEWS,
    Change,
    Fact,
    World,
    asked,
    questions,
    table_of,
    world,
)

HISTORIES, WORLDS = 100, 20
"""Each world has so many histories of facts, of changes and of pairs; in all 2,000 of each."""

many_worlds = settings(
    max_examples=WORLDS,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Generator[OnlineStore]:
    opened = connect_online(f"lmdb://{tmp_path_factory.mktemp('online')}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return connect_engine()


class Tables:
    """The tables of the first batches of a world."""

    def __init__(self, folder: str, world: World, batches: int) -> None:
        self._store = connect_tables(f"file://{folder}")
        for source, rows in zip((Fact, Change), world.rows(batches), strict=True):
            if rows:
                self(source).append(table_of(source, rows).to_batches(), ("test", 0))

    def __call__(self, source: type[ms.Source]) -> Table:
        return Table.of(self._store, source)


def check(world: World, batches: int, request: Mapping[str, Vector], at: Any, got: Any) -> None:
    """Every aggregate of every view at every request is what the oracle says."""
    facts, changes = world.rows(batches)
    for number, (key, second) in enumerate(zip(request["key"], request["second"], strict=True)):
        time = int(at[number])
        of_key = [row for row in facts if row.key == key]
        standing = [r for r in oracle.standing(changes, time) if r.key == key]
        of_pair = [row for row in of_key if row.second == second]
        values = scalars(got, number)
        check_aggregates("OfFacts", FACTS, of_key, time, values)
        check_aggregates("OfChanges", CHANGES, standing, time, values)
        check_aggregates("OfPairs", PAIRS, of_pair, time, values)


def assert_equal(served: Mapping[str, Vector], offline: Mapping[str, Vector]) -> None:
    """What serving reads is what the point-in-time join gives, within what parity allows."""
    differ = [c for c in compare(FEATURES, served, offline) if c.differ]
    assert not differ, differ[:3]


@many_worlds
@given(seed=seeds)
def test_the_kernel_equals_the_oracle(engine: Engine, seed: int) -> None:
    made = world(seed, HISTORIES)
    request, at = asked(made, seed)
    with TemporaryDirectory() as folder:
        tables = Tables(folder, made, len(made.arrivals))
        values = point_in_time(FEATURES, request, at, tables, engine)
    check(made, len(made.arrivals), request, at, values)


def apply(online: OnlineFeatures, made: World, batch: int) -> None:
    facts, changes = made.facts[batch], made.changes[batch]
    events = [(Fact, table_of(Fact, facts)), (Change, table_of(Change, changes))]
    online.apply(events, Applied(batch + 1, made.arrivals[batch]))


@many_worlds
@given(seed=seeds, data=st.data())
def test_the_tiles_equal_the_oracle_and_the_kernel(
    store: OnlineStore, engine: Engine, seed: int, data: st.DataObject
) -> None:
    made, rng = world(seed, HISTORIES), np.random.default_rng(seed)
    store.clear({})
    online = OnlineFeatures.of(store, VIEWS)
    keys = [f"k{number}" for number in range(made.keys)]
    request = questions(keys, (np.arange(made.keys) % 2).tolist())
    checked = data.draw(st.integers(0, len(made.arrivals) - 1), "the batch checked by the oracle")
    for batch, arrival in enumerate(made.arrivals):
        apply(online, made, batch)
        following = [*made.arrivals, arrival + 10**11][batch + 1]
        at, values = online.read(FEATURES, request, int(rng.integers(arrival, following + 1)))
        with TemporaryDirectory() as folder:
            tables, times = Tables(folder, made, batch + 1), np.full(made.keys, at)
            assert_equal(values, point_in_time(FEATURES, request, times, tables, engine))
        if batch == checked:
            check(made, batch + 1, request, times, values)


@many_worlds
@given(seed=seeds, data=st.data())
def test_tiles_built_from_history_go_on_like_those_that_were_streamed(
    store: OnlineStore, engine: Engine, seed: int, data: st.DataObject
) -> None:
    made = world(seed, HISTORIES)
    built = data.draw(st.integers(1, len(made.arrivals)), "batches in the tables")
    store.clear({})
    online = OnlineFeatures.of(store, VIEWS)
    with TemporaryDirectory() as folder:
        materialise(
            online, Tables(folder, made, built), engine, made.arrivals[built - 1] + 1, built
        )
    for batch in range(built, len(made.arrivals)):
        apply(online, made, batch)
    request = questions([f"k{n}" for n in range(made.keys)], (np.arange(made.keys) % 2).tolist())
    at, values = online.read(FEATURES, request, made.arrivals[-1] + 1)
    with TemporaryDirectory() as folder:
        tables, times = Tables(folder, made, len(made.arrivals)), np.full(made.keys, at)
        assert_equal(values, point_in_time(FEATURES, request, times, tables, engine))


def test_a_version_stands_at_the_time_when_the_next_arrives_and_not_after(
    store: OnlineStore,
) -> None:
    """A batch may end amid the rows of one arrival: they wait, and so does what they end."""
    store.clear({})
    online = OnlineFeatures.of(store, VIEWS)
    for n, value in enumerate((1.0, 2.0)):
        row = Row(n, 10 * n, 0, "a", value, "a", id=7, second=0)
        online.apply([(Change, table_of(Change, [row]))], Applied(n + 1, 10 * n - n))
    reads = [online.read(FEATURES, questions(["a"], [0]), at) for at in (10, 11)]
    assert [at for at, _ in reads] == [10, 11]
    assert [values["OfChanges.sum_value_ever"].tolist() for _, values in reads] == [[1.0], [2.0]]


def test_a_version_that_moves_to_another_key_leaves_the_first(
    store: OnlineStore, tmp_path: Path
) -> None:
    def row(offset: int, key: str, op: str = "upsert") -> Row:
        return Row(offset, offset, 0, key, 1.0, "a", id=7, op=op, second=0)

    store.clear({})
    online = OnlineFeatures.of(store, VIEWS)
    counts = []
    for n, version in enumerate((row(1, "a"), row(2, "b"), row(3, "b", "delete"))):
        online.apply([(Change, table_of(Change, [version]))], Applied(n + 1, version.arrival))
        _, values = online.read(FEATURES, questions(["a", "b"], [0, 0]), 0)
        counts.append(values["OfChanges.count_value_ever"].tolist())
    assert counts == [[1, 0], [0, 1], [0, 0]]
