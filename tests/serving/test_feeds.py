"""Live rows of a change feed, and of a source whose history says when it arrived."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mainspring as ms
from mainspring import Column
from mainspring.clock import as_datetime
from mainspring.features.feature_set import resolve
from mainspring.features.stream import first_arrivals
from mainspring.serving.openapi import event_schema
from mainspring.sources.fold import fold
from mainspring.sources.home import Home
from mainspring.sources.quarantine import replay, show
from mainspring.sources.table import LIVE
from mainspring.vectors import from_values, to_value
from tests.serving.conftest import Served, logged, serving, until


class Ask(ms.Source, url="asks.parquet"):
    ask: Column[str] = ms.column(unique=True)
    shop: Column[str]
    asked_at: Column[datetime] = ms.event_time()


class Order(ms.Source, url="orders.parquet"):
    order: Column[str] = ms.column(unique=True)
    shop: Column[str | None]
    amount: Column[float] = ms.column(ge=0)
    op: Column[str] = ms.change()
    placed_at: Column[datetime] = ms.event_time()
    known_at: Column[datetime] = ms.arrival_time()


class Visit(ms.Source, url="visits.parquet"):
    shop: Column[str]
    visited_at: Column[datetime] = ms.event_time()
    known_at: Column[datetime] = ms.arrival_time()


class Shop(ms.FeatureView, key=Order.shop):
    orders = ms.count()
    turnover = ms.sum(Order.amount)


class Visits(ms.FeatureView, key=Visit.shop):
    visits = ms.count()


busy = ms.Rule("busy", (Shop.turnover > 0) | (Visits.visits > 0))
system = ms.System("shops", endpoints=[ms.Endpoint("busy", busy, request=Ask)])
FEATURES = resolve([Shop, Visits], Ask, "the test", "here")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with closing(Home.open(tmp_path / "home", tmp_path)) as home, serving(system.graph, home) as s:
        yield s


def order(served: Served, name: str, op: str, **values: Any) -> dict[str, Any]:
    """A version of an order that happened a second ago."""
    at = as_datetime(served.service.clock.now() - 1_000_000).isoformat()
    return {"order": name, "op": op, "placed_at": at, **values}


def sent(served: Served, source: str, *rows: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = served.post(f"/events/{source}", list(rows)).json()
    until(lambda: served.service.stream.behind == 0)
    return found


def turnover(served: Served, shop: str = "north") -> float | None:
    """What the next request of a shop reads of its orders."""
    return read(served, shop)["Shop.turnover"]


def read(served: Served, shop: str) -> dict[str, float | None]:
    stream, key = served.service.stream, from_values([shop], "text")
    found = stream._online.read(FEATURES, {"shop": key}, stream.known_at())[1]
    return {name: to_value(values[0], "number") for name, values in found.items()}


def folded(served: Served, source: type[ms.Source], columns: str) -> list[tuple[Any, ...]]:
    """The rows of a source once the log is folded, by offset."""
    service = served.service
    online, records = service.stream._online, logged(service.home.folder)
    fresh = partial(first_arrivals, sources=service.sources, online=online)
    fold(records, service.sources, service.home.tables, fresh)
    query = f"SELECT {columns} FROM rows ORDER BY __offset"
    found = service.home.engine.select(query, rows=service.home.table(source).rows)
    return [tuple(row.values()) for row in found.to_pylist()]


def test_versions_that_are_sent_change_what_is_answered_and_all_are_folded(served: Served) -> None:
    placed = order(served, "o1", "insert", shop="north", amount=5)
    assert sent(served, "Order", placed) == {"taken": 1, "held": 0, "reasons": []}
    assert turnover(served) == 5
    sent(served, "Order", order(served, "o1", "upsert", shop="north", amount=3))
    assert turnover(served) == 3
    sent(served, "Order", order(served, "o1", "upsert", shop="south", amount=3))
    assert (turnover(served), turnover(served, "south")) == (None, 3)
    sent(served, "Order", order(served, "o1", "delete"), order(served, "o2", "delete"))
    assert turnover(served, "south") is None
    sent(served, "Order", placed)
    assert turnover(served) == 5
    assert folded(served, Order, '"order", op, amount') == [
        ("o1", "insert", 5.0),
        ("o1", "upsert", 3.0),
        ("o1", "upsert", 3.0),
        ("o1", "delete", None),
        ("o2", "delete", None),
        ("o1", "insert", 5.0),
    ]


def test_a_live_row_arrives_when_it_is_taken_in_whatever_it_says(served: Served) -> None:
    now = served.service.clock.now()
    visit = {"shop": "north", "visited_at": as_datetime(now - 60_000_000).isoformat()}
    old = {**visit, "known_at": as_datetime(now - 50_000_000).isoformat()}
    assert sent(served, "Visit", visit, old)["taken"] == 2
    assert read(served, "north")["Visits.visits"] == 2
    stamped = [record.arrival for _, record in logged(served.service.home.folder)][:2]
    assert folded(served, Visit, "__arrival, __offset >= " + str(LIVE)) == [
        (arrival, True) for arrival in stamped
    ]
    assert min(stamped) >= now


def test_a_refused_version_is_held_and_put_back_while_it_is_the_newest(served: Served) -> None:
    bad, gone = (
        order(served, "o1", "upsert", shop="north", amount=-5),
        order(served, "o2", "upsert"),
    )
    reasons = ["amount < 0", "amount is missing"]
    assert sent(served, "Order", bad, gone) == {"taken": 0, "held": 2, "reasons": reasons}
    sent(served, "Order", order(served, "o2", "delete"))
    home = served.service.home
    assert folded(served, Order, "op") == [("delete",)]
    done = replay(home.table(Order), home.engine, served.service.clock, {"amount": 5})
    assert (done.mended, [held.row["order"] for held in done.still_bad]) == (1, ["o2"])
    assert sorted(folded(served, Order, '"order", amount')) == [("o1", 5.0), ("o2", None)]
    assert len(show(home.table(Order), home.engine)) == 1


def test_the_page_asks_of_a_version_what_a_deletion_needs() -> None:
    assert event_schema(Order)["required"] == ["order", "op", "placed_at"]
    assert event_schema(Visit)["required"] == ["shop", "visited_at"]
