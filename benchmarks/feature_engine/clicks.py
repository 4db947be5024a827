"""The workload: clicks of users on items, some users far busier than others, and requests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from types import new_class
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import mainspring as ms
from benchmarks.feature_engine.measuring import Figures
from mainspring.clock import parse_time
from mainspring.features.feature_set import resolve
from mainspring.features.point_in_time import TableOf
from mainspring.sources.table import Table, arrow_schema
from mainspring.stores.urls import connect_tables
from mainspring.vectors import Vector, from_arrow
from mainspring.windows import days, hours, microseconds

START, DAYS = parse_time("2026-01-01"), 90
END = START + microseconds(days(DAYS))
CHUNK = 500_000


class Click(ms.Source, url="clicks.parquet"):
    user: ms.Column[str]
    item: ms.Column[str]
    amount: ms.Column[float]
    at: ms.Column[datetime] = ms.event_time()


class Ask(ms.Source, url="asks.parquet"):
    user: ms.Column[str]
    item: ms.Column[str]
    at: ms.Column[datetime] = ms.event_time()


WINDOWS = {"1h": hours(1), "1d": days(1), "7d": days(7), "30d": days(30)}
KINDS = ("sum", "mean", "min", "max")
LAST = 5


def _offline() -> Iterator[tuple[str, Any]]:
    for name, window in WINDOWS.items():
        # Exact windows: those with a hop cost us the same, and peers cannot say them.
        within: dict[str, Any] = {"window": window, "hop": None}
        yield f"count_{name}", ms.count(**within)
        for kind in KINDS:
            yield f"{kind}_{name}", getattr(ms, kind)(Click.amount, **within)
        yield f"last_{name}", ms.last_k(Click.amount, LAST, **within)


Activity: Any = new_class(
    "Activity", (ms.FeatureView,), {"key": Click.user}, lambda body: body.update(_offline())
)


class User(ms.FeatureView, key=Click.user):
    clicks_1h = ms.count(window=hours(1))
    spent_1d = ms.sum(Click.amount, window=days(1))
    mean_7d = ms.mean(Click.amount, window=days(7))
    last_amount = ms.last(Click.amount)


class Item(ms.FeatureView, key=Click.item):
    clicks_1h = ms.count(window=hours(1))
    greatest_1d = ms.max(Click.amount, window=days(1))
    mean_7d = ms.mean(Click.amount, window=days(7))


class Pair(ms.FeatureView, key=Click.user, second_key=Click.item):
    clicks_30d = ms.count(window=days(30))
    spent_30d = ms.sum(Click.amount, window=days(30))
    last_amount = ms.last(Click.amount)


OFFLINE = resolve([Activity], Ask, "the benchmark", "here")
ONLINE_VIEWS: list[type[ms.FeatureView]] = [User, Item, Pair]
ONLINE = resolve(ONLINE_VIEWS, Ask, "the benchmark", "here")


def tables_of(folder: str) -> TableOf:
    """The tables that `write` made in a folder."""
    return partial(Table.of, connect_tables(f"file://{folder}/tables"))


def write(
    folder: str, *, events: int, requests: int, users: int, items: int = 1000, once: bool = False
) -> Figures:
    """Writes a workload to a folder, which keeps it: a table of clicks and a file of requests.

    Args:
        once: every user clicks once, instead of some far more than others.
    """
    if (Path(folder) / "requests.parquet").exists():
        return {}
    shutil.rmtree(folder, ignore_errors=True)
    drawn = _clicks(np.random.default_rng(0), events, users, items, once)
    tables_of(folder)(Click).append(drawn, ("benchmark", 0))
    rng = np.random.default_rng(1)
    asked = pa.table(
        {
            "user": names_of("u", skewed(rng, users, requests)),
            "item": names_of("i", skewed(rng, items, requests)),
            "at": START + rng.integers(0, END - START, requests) // 2 * 2 + 1,
        }
    )
    pq.write_table(asked, Path(folder) / "requests.parquet")
    return {}


def clicks(
    rng: np.random.Generator, first: int, at: Vector, users: Vector, items: Vector
) -> pa.RecordBatch:
    """Rows as the table of `Click` has them, known as soon as they happened."""
    # Quarters add up exactly, in whatever order a system adds them.
    amount = np.round(rng.lognormal(2, 1, len(at)) * 4) / 4
    named, offset = [names_of("u", users), names_of("i", items)], np.arange(first, first + len(at))
    times = pa.array(at, pa.timestamp("us", "UTC"))
    schema = arrow_schema(Click.__schema__)
    return pa.record_batch([*named, amount, times, offset, at], schema=schema)


def _clicks(
    rng: np.random.Generator, events: int, users: int, items: int, once: bool
) -> Iterator[pa.RecordBatch]:
    """Clicks in the order of their times, which are even: requests come at odd ones, so that what
    a system says of equal times makes no difference."""
    for first in range(0, events, CHUNK):
        n = min(CHUNK, events - first)
        since, until = (START + (END - START) * row // events for row in (first, first + n))
        at = np.sort(rng.integers(since, until, n)) // 2 * 2
        who = np.arange(first, first + n) % users if once else skewed(rng, users, n)
        yield clicks(rng, first, at, who, skewed(rng, items, n))


def skewed(rng: np.random.Generator, keys: int, n: int) -> Vector:
    """Numbers below `keys` by Zipf's law: key k is drawn about 1 / (k + 1) as often as the first.

    Of a million, the first has 5 % of all rows and the last one in 14 million.
    """
    found: Vector = np.exp(rng.random(n) * np.log(keys + 1)).astype(np.int64)
    return np.minimum(found, keys) - 1


def names_of(letter: str, numbers: Vector) -> pa.Array:
    return pc.binary_join_element_wise(letter, pc.cast(pa.array(numbers), pa.string()), "")


def requests_of(folder: str) -> tuple[dict[str, Vector], Vector]:
    """The users of a folder's requests as vectors, and their times."""
    rows = pq.read_table(Path(folder) / "requests.parquet", columns=["user", "at"])
    return {"user": from_arrow(rows["user"], "text")}, rows["at"].to_numpy()
