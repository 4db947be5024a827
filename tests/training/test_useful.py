"""Features of no use, and features that cost too much."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mainspring as ms
from mainspring import Column, days
from mainspring.clock import SystemClock, parse_time
from mainspring.features.feature_set import resolve
from mainspring.sources.home import Home
from mainspring.sources.ingest import ingest
from mainspring.training import useful
from mainspring.training.useful import COSTLY, Warned, costly, told, useless
from mainspring.vectors import Vector

SECOND = 1_000_000
BEGIN, ROWS = parse_time("2024-12-30"), 1_200
NOW = BEGIN + ROWS * SECOND


class Click(ms.Source, url="clicks.parquet"):
    user: Column[str]
    item: Column[str]
    clicked_at: Column[datetime] = ms.event_time()


class User(ms.FeatureView, key=Click.user):
    clicks = ms.count(window=days(1))
    items = ms.top_k(Click.item, 3, window=days(1))


class Small(ms.FeatureView, key=Click.user):
    clicks = ms.count()
    kinds = ms.count_distinct(Click.user)


class Halves(ms.FeatureView, key=Click.user):
    one = ms.top_k(Click.item, 3, window=days(1))
    two = ms.count_distinct(Click.item, window=days(1))


@pytest.fixture
def home(tmp_path: Path) -> Generator[Home]:
    rows = {
        "user": [f"u{n % 2}" for n in range(ROWS)],
        "item": [f"i{n % 500}" for n in range(ROWS)],
        "clicked_at": pa.array(range(BEGIN, NOW, SECOND), pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(rows), tmp_path / Click.__schema__.url)
    with closing(Home.open(tmp_path / "home", tmp_path, sync=False)) as opened:
        ingest(Click, opened.data, opened.tables, opened.engine, SystemClock())
        yield opened


def warned(home: Home, view: type[ms.FeatureView], now: int = NOW) -> list[Warned]:
    features = resolve([view], Click, "the test", "here")
    return list(costly(features, home.table, home.engine, now))


def reasons(unused: set[str], **columns: Vector) -> dict[str, str]:
    return {w.feature: w.reason for w in useless(columns, unused)}


def test_constant_and_empty_columns_are_of_no_use() -> None:
    nothing = np.array([None, None], object)
    assert reasons(
        set(),
        empty=np.array([np.nan, np.nan]),
        same=np.array([0.5, 0.5]),
        nobody=nothing,
        word=np.array(["a", "a"], object),
        varied=np.array([0.0, 1.0]),
        words=np.array(["a", "b"], object),
    ) == {
        "empty": "is always NULL",
        "same": "is always 0.5",
        "nobody": "is always NULL",
        "word": "is always a",
    }


def test_a_column_that_is_sometimes_null_tells_something() -> None:
    late = np.zeros(1000)
    late[-1] = 1
    some, text = np.array([np.nan, 1.0]), np.array(["a", None], object)
    assert reasons(set(), some=some, text=text, late=late, none=np.empty(0)) == {}


def test_what_the_model_does_not_use_is_told_once() -> None:
    found = reasons({"a", "b"}, a=np.array([0.0, 1.0]), b=np.zeros(2), c=np.array([0.0, 1.0]))
    assert found == {"a": "is not used by the model", "b": "is always 0"}


def test_a_feature_that_is_most_of_a_large_entity_is_costly(home: Home) -> None:
    (found,) = warned(home, User)
    assert (found.feature, found.problem) == ("User.items", "costly")
    # 250 items of each user, in 32 bytes and 14 of text, and their values and tiles
    assert found.reason == "keeps 11,504 bytes of each user"
    assert warned(home, User) == [found]


def test_rows_that_had_not_arrived_cost_nothing_yet(home: Home) -> None:
    assert warned(home, User, BEGIN + 20 * SECOND) == []


def test_what_is_small_is_not_costly(home: Home) -> None:
    assert warned(home, Small) == []


def test_of_two_large_features_the_one_that_is_most_is_costly(home: Home) -> None:
    assert [w.feature for w in warned(home, Halves)] == ["Halves.one"]  # it keeps the texts too


def test_rows_are_not_looked_at_where_windows_bound_the_cost(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bounded(ms.FeatureView, key=Click.user):
        clicks = ms.count(window=days(30))

    looked: list[object] = []
    monkeypatch.setattr(useful, "kept_by_part", lambda *given: looked.append(given))
    assert COSTLY > 33 * 16
    assert warned(home, Bounded) == []
    assert looked == []


def test_many_warnings_are_counted() -> None:
    many = [Warned(f"f{n}", "no use", "is always 1") for n in range(5)]
    said = told([*many, Warned("g", "costly", "keeps 9,000 bytes of each user")])
    assert said == (
        "costly: g keeps 9,000 bytes of each user; "
        "of no use: f0 is always 1, f1 is always 1, f2 is always 1 and 2 more"
    )
    assert told([]) == ""
