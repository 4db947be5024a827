"""A torrent: events that are drawn by number, so that a writer that was killed can go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

import mainspring as ms
from mainspring import Column, days, hours, minutes
from mainspring.features.feature_set import resolve
from mainspring.sources.record import Numbered, Record
from mainspring.sources.source import Source
from mainspring.vectors import Vector, from_values
from mainspring.windows import microseconds

ITEMS, BLOCK = 20, 1_000


class Click(ms.Source, url="clicks.parquet"):
    click: Column[str] = ms.column(unique=True)
    user: Column[int]
    item: Column[str]
    amount: Column[float]
    at: Column[datetime] = ms.event_time()


class Order(ms.Source, url="orders.parquet"):
    order: Column[int] = ms.column(unique=True)
    op: Column[str] = ms.change()
    user: Column[int]
    amount: Column[float]
    at: Column[datetime] = ms.event_time()


class Ask(ms.Source, url="asks.parquet"):
    ask: Column[str] = ms.column(unique=True)
    user: Column[int]
    item: Column[str]
    at: Column[datetime] = ms.event_time()


class User(ms.FeatureView, key=Click.user):
    clicks = ms.count()
    spent = ms.sum(Click.amount)
    spent_1h = ms.sum(Click.amount, window=hours(1))
    greatest_1d = ms.max(Click.amount, window=days(1))
    mean_exact = ms.mean(Click.amount, window=minutes(30), hop=None)
    items = ms.count_distinct(Click.item)
    latest = ms.last_k(Click.amount, 3)


class Pair(ms.FeatureView, key=Click.user, second_key=Click.item):
    clicks = ms.count()
    spent = ms.sum(Click.amount)
    clicks_6h = ms.count(window=hours(6))


class Buyer(ms.FeatureView, key=Order.user):
    orders = ms.count()
    worth = ms.sum(Order.amount)
    greatest_1h = ms.max(Order.amount, window=hours(1))


VIEWS: list[type[ms.FeatureView]] = [User, Pair, Buyer]
FEATURES = resolve(VIEWS, Ask, "the test", "here")
SOURCES: dict[str, type[Source]] = {"Click": Click, "Order": Order}

_COUNTED = (
    ("User.clicks", "User.spent"),
    ("Pair.clicks", "Pair.spent"),
    ("Buyer.orders", "Buyer.worth"),
)
_LATE = [0, 0, 0, *(microseconds(w) for w in (minutes(1), minutes(40), hours(7))), -60_000_000]


@dataclass(frozen=True, slots=True)
class Torrent:
    """So many events, of about a hundred for each user: clicks, some of them sent twice, and orders
    that are corrected and cancelled."""

    events: int

    @property
    def users(self) -> int:
        """How many there are."""
        return max(self.events // 100, 10)

    def request(self) -> dict[str, Vector]:
        """A request for each user and item."""
        asked = product(range(self.users), (f"i{item}" for item in range(ITEMS)))
        users, items = zip(*asked, strict=True)
        return {"user": from_values(users, "number"), "item": from_values(items, "text")}

    def records(self, first: int, count: int, arrival: int) -> list[Record]:
        """The events from a number on, arriving now; their amounts add up exactly."""
        numbers = range(first, min(first + count, self.events))
        drawn = (_block(n // BLOCK, self.users)[n % BLOCK] for n in numbers)
        return [Record(name, arrival, [*values, arrival - late]) for name, values, late in drawn]


@lru_cache(maxsize=8)
def _block(block: int, users: int) -> Sequence[tuple[str, list[Any], int]]:
    rng, first = np.random.default_rng(block), block * BLOCK
    clicks, orders = _clicks(rng, first, users), _orders(rng, first, users)
    is_click, late = rng.random(BLOCK) < 0.7, rng.choice(_LATE, BLOCK).tolist()
    return [
        ("Click", clicks[n], late[n]) if is_click[n] else ("Order", orders[n], late[n])
        for n in range(BLOCK)
    ]


def _clicks(rng: np.random.Generator, first: int, users: int) -> list[list[Any]]:
    """Clicks of some busy users and of others; one in 25 is sent again, with other values."""
    again = np.where(rng.random(BLOCK) < 0.04, rng.integers(1, 5_000, BLOCK), 0)
    ids = [f"c{number}" for number in np.arange(first, first + BLOCK) - again]
    user = np.minimum(users ** rng.random(BLOCK), users - 1).astype(int).tolist()
    items = [f"i{item}" for item in rng.integers(0, ITEMS, BLOCK)]
    return [list(row) for row in zip(ids, user, items, _amounts(rng), strict=True)]


def _orders(rng: np.random.Generator, first: int, users: int) -> list[list[Any]]:
    """Orders, corrections that may make them another user's, and cancellations."""
    ids = (np.arange(first, first + BLOCK) * 7919 % (10 * users)).tolist()
    ops = np.where(rng.random(BLOCK) < 0.15, "delete", "upsert").tolist()
    user = rng.integers(0, users, BLOCK).tolist()
    return [list(row) for row in zip(ids, ops, user, _amounts(rng), strict=True)]


def _amounts(rng: np.random.Generator) -> list[float]:
    """Quarters add up exactly, in whatever order."""
    amounts: list[float] = (rng.integers(0, 4_000, BLOCK) / 4).tolist()
    return amounts


@dataclass(frozen=True, slots=True)
class Counted:
    """The oracle: by the names of a view's count and sum, what they are for each key."""

    found: dict[tuple[str, str], dict[Any, tuple[int, float]]] = field(
        default_factory=lambda: {view: {} for view in _COUNTED}
    )

    def add(self, view: tuple[str, str], key: Any, amount: float) -> None:
        """Counts a row."""
        rows, total = self.found[view].get(key, (0, 0.0))
        self.found[view][key] = rows + 1, total + amount

    def check(self, request: dict[str, Vector], served: dict[str, Vector]) -> None:
        """Compares what requests got."""
        users = request["user"].astype(int).tolist()
        pairs = list(zip(users, request["item"].tolist(), strict=True))
        for view, keys in zip(_COUNTED, (users, pairs, users), strict=True):
            assert len(self.found[view]) > len(set(users)) // 2
            for name, wanted in zip(view, zip(*self._of(view, keys), strict=True), strict=True):
                np.testing.assert_array_equal(np.nan_to_num(served[name]), wanted, err_msg=name)

    def _of(self, view: tuple[str, str], keys: Iterable[Any]) -> Iterator[tuple[int, float]]:
        return (self.found[view].get(key, (0, 0.0)) for key in keys)


def count(records: Iterable[Numbered], at: int) -> Counted:
    """What counts at a time of records in the order of their arrival."""
    counted, sent, orders = Counted(), set[str](), dict[int, Record]()
    for _, record in records:
        id, about, key, amount, _ = record.values
        if record.source == "Order":
            orders[id] = record
        elif id not in sent:
            sent.add(id)
            if _is_visible(record, at):
                counted.add(_COUNTED[0], about, amount)
                counted.add(_COUNTED[1], (about, key), amount)
    for record in orders.values():
        _, op, user, amount, _ = record.values
        if op != "delete" and _is_visible(record, at):
            counted.add(_COUNTED[2], user, amount)
    return counted


def _is_visible(record: Record, at: int) -> bool:
    return bool(max(record.values[-1], record.arrival) < at)
