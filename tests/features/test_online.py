from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mainspring as ms
from mainspring.errors import DiskFull, NotMaterialised
from mainspring.features.entity import key_bytes
from mainspring.features.online import Applied, OnlineFeatures
from mainspring.stores.base import OnlineStore
from mainspring.stores.urls import connect_online
from tests.features.histories import (
    EVERYTHING,
    Event,
    Everything,
    History,
    Row,
    check,
    features,
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


def empty(store: OnlineStore) -> OnlineFeatures:
    store.clear({})
    return OnlineFeatures.of(store, [Everything])


def take(online: OnlineFeatures, batch: Sequence[Row]) -> None:
    upto = Applied(batch[-1].offset + 1, batch[-1].arrival)
    online.apply([(Event, table_of(batch))], upto)


def check_read(online: OnlineFeatures, rows: Sequence[Row], known_at: int, key: str | None) -> int:
    """A read is what the oracle says for the time that it gives."""
    at, values = online.read(EVERYTHING, one(key), known_at)
    check(rows, at, key, scalars(values))
    return at


def check_while_applying(online: OnlineFeatures, history: History) -> None:
    """Each request is read at its time: after the batches that arrived before it, not later."""
    asked = sorted(history.asked, key=lambda request: request[0])
    for batch in history.batches:
        while asked and asked[0][0] <= batch[0].arrival:
            check_read(online, history.rows, *asked.pop(0))
        take(online, batch)
        assert check_read(online, history.rows, batch[0].arrival, "k") == batch[0].arrival + 1
    for at, key in asked:
        assert check_read(online, history.rows, at, key) == at


def value(online: OnlineFeatures, name: str, at: int, key: str | None = "k") -> float:
    _, values = online.read(EVERYTHING, one(key), at)
    return float(values[f"Everything.{name}"][0])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_every_feature_equals_the_oracle(store: OnlineStore, history: History) -> None:
    check_while_applying(empty(store), history)


def test_a_batch_that_is_applied_twice_changes_nothing(store: OnlineStore) -> None:
    online, batch = empty(store), [Row(0, 10, 5, "k", 1.0, "a")]
    take(online, batch)
    take(online, batch)
    assert value(online, "count_value_ever", 11) == 1
    assert online.applied().offset == 1


def test_a_read_holds_from_just_after_the_newest_batch(store: OnlineStore) -> None:
    online = empty(store)
    take(online, [Row(0, 10, 5, "k", 1.0, "a")])
    assert [online.read(EVERYTHING, one("k"), at)[0] for at in (0, 10, 11, 12)] == [11, 11, 11, 12]


def test_a_row_whose_event_is_in_the_future_counts_from_just_after_it(store: OnlineStore) -> None:
    online = empty(store)
    take(online, [Row(0, 10, 50, "k", 1.0, "a"), Row(1, 10, 20, "k", 2.0, "b")])
    counts = [value(online, "count_value_ever", at) for at in (20, 21, 50, 51)]
    assert counts == [0, 1, 1, 2]
    take(online, [Row(2, 60, 55, "k", 4.0, None)])
    assert value(online, "sum_value_ever", 61) == 7.0


def test_a_missing_key_and_an_unknown_one_have_nothing(store: OnlineStore) -> None:
    online = empty(store)
    take(online, [Row(0, 10, 5, None, 1.0, "a"), Row(1, 10, 5, "None", 1.0, "a")])
    for key in (None, "unknown"):
        assert value(online, "count_value_ever", 11, key) == 0
        assert math.isnan(value(online, "sum_value_ever", 11, key))


def test_keys_are_the_same_in_events_and_requests_whatever_their_type() -> None:
    assert key_bytes("V", 12) == key_bytes("V", 12.0) == b"V\x0012"
    assert key_bytes("V", True) == key_bytes("V", 1.0)
    assert key_bytes("V", 0.5) == b"V\x000.5"
    long = [key_bytes("V", "x" * 600 + end) for end in "ab"]
    assert len(set(long)) == 2 and max(map(len, long)) < 512


odd_texts = st.text("\0\1\2a", max_size=4)
pairs = st.tuples(odd_texts, odd_texts)


@given(pairs, pairs)
def test_no_two_pairs_of_keys_have_one_name(a: tuple[str, str], b: tuple[str, str]) -> None:
    assert (key_bytes("V", *a) == key_bytes("V", *b)) == (a == b)


def test_other_definitions_are_not_read_as_these(store: OnlineStore) -> None:
    class Other(ms.FeatureView, key=Event.key):
        total = ms.sum(Event.value)

    take(empty(store), [Row(0, 10, 5, "k", 1.0, "a")])
    other = OnlineFeatures.of(store, [Other])
    assert not other.materialised
    with pytest.raises(NotMaterialised, match="the online store holds other features"):
        other.read(features(Other), one("k"), 11)
    with pytest.raises(NotMaterialised, match="mainspring materialise"):
        other.apply([], Applied(2, 20))


def test_a_half_built_store_is_not_read(store: OnlineStore) -> None:
    online = empty(store)
    online.clear()
    assert not online.materialised
    with pytest.raises(NotMaterialised, match="half-built"):
        online.read(EVERYTHING, one("k"), 11)


def test_a_store_without_room_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.stores.lmdb.MAP_SIZE", 1 << 16)
    small = connect_online(f"lmdb://{tmp_path}")
    small.write({b"a": b"1"})
    with pytest.raises(DiskFull, match="the disk is full"):
        small.write({b"a": b"2", b"b": bytes(1 << 16)})
    assert small.read([b"a", b"b"]) == [b"1", None]
    small.close()
