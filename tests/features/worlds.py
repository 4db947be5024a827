"""Worlds: many histories on one clock, of plain events and of a change feed, and their requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

import mainspring as ms
from mainspring import Column, hours, minutes
from mainspring.clock import parse_time
from mainspring.features.feature_set import resolve
from mainspring.sources.table import arrow_schema
from mainspring.vectors import Vector, from_values
from mainspring.windows import microseconds
from tests.features.histories import SPANS, Declared, Row, declare, view_of

BASES = ("1970-01-01", "2015-12-31T23:30", "2016-02-29", "2016-03-01", "2023-12-31T12:00")
"""The epoch, ends of years, a leap day: where times that are cut badly would show."""


class Fact(ms.Source, url="facts.parquet"):
    key: Column[str | None]
    second: Column[int | None]
    value: Column[float | None]
    text: Column[str | None]
    at: Column[datetime] = ms.event_time()


class Change(ms.Source, url="changes.parquet"):
    id: Column[int] = ms.column(unique=True)
    op: Column[str] = ms.change()
    key: Column[str | None]
    second: Column[int | None]
    value: Column[float | None]
    text: Column[str | None]
    at: Column[datetime] = ms.event_time()


class Question(ms.Source, url="questions.parquet"):
    question: Column[str] = ms.column(unique=True)
    key: Column[str | None]
    second: Column[int | None]
    at: Column[datetime] = ms.event_time()


FACTS, CHANGES, PAIRS = dict(declare(Fact)), dict(declare(Change)), dict(declare(Fact))


def _view(name: str, keys: dict[str, Any], declared: dict[str, Declared]) -> Any:
    return view_of(name, keys, {n: d.feature for n, d in declared.items()})


OfFacts = _view("OfFacts", {"key": Fact.key}, FACTS)
OfChanges = _view("OfChanges", {"key": Change.key}, CHANGES)
OfPairs = _view("OfPairs", {"key": Fact.key, "second_key": Fact.second}, PAIRS)
VIEWS = [OfFacts, OfChanges, OfPairs]
FEATURES = resolve(VIEWS, Question, "the test", "here")

_VALUES = [None, float("nan"), 0.0, -0.0, 1.0, -2.5, 1e12, 1e-3, 3.0, -7.25]
_TEXTS = [None, "", "a", "b", "ü", "long" * 9]
_STEPS = [1, 1_000_000, microseconds(minutes(1)), microseconds(minutes(7)), microseconds(hours(5))]
_EDGES = [0, microseconds(minutes(7)), *(microseconds(w) for w, _ in SPANS.values() if w)]


@dataclass(frozen=True, slots=True)
class World:
    """Rows in the order of arrival, batch by batch.

    Attributes:
        arrivals: when each batch arrives.
        facts, changes: the rows of each batch.
    """

    keys: int
    arrivals: Sequence[int]
    facts: Sequence[Sequence[Row]]
    changes: Sequence[Sequence[Row]]

    def rows(self, batches: int) -> tuple[list[Row], list[Row]]:
        """The facts and the changes of the first batches."""
        first = [row for batch in self.facts[:batches] for row in batch]
        return first, [row for batch in self.changes[:batches] for row in batch]


def world(seed: int, keys: int = 100, batches: int = 12, each: float = 9.0) -> World:
    """A world with so many histories; each has a few rows, some late, some in the future.

    Times are on a grid, so that ties and the edges of windows and hops are common.
    """
    rng = np.random.default_rng(seed)
    base = parse_time(str(rng.choice(BASES)))
    arrivals = (base + np.cumsum(rng.choice(_STEPS, batches))).tolist()
    made: tuple[list[list[Row]], list[list[Row]]] = ([], [])
    offset = 0
    for arrival in arrivals:
        for kind in made:
            rows = [
                _row(rng, offset + n, arrival, base, keys)
                for n in range(rng.poisson(keys * each / batches))
            ]
            offset += len(rows)
            kind.append(rows)
    return World(keys, arrivals, *made)


def _row(rng: np.random.Generator, offset: int, arrival: int, base: int, keys: int) -> Row:
    ticks = int(rng.integers(-26, 27)) * microseconds(minutes(int(rng.choice([1, 5, 60]))))
    near = base + ticks + int(rng.choice(_EDGES)) + int(rng.choice([-1, 0, 0, 1]))
    event = near if rng.random() < 0.7 else arrival + int(rng.integers(-1, 2))
    number = int(rng.integers(keys))
    return Row(
        offset,
        arrival,
        event,
        None if rng.random() < 0.03 else f"k{number}",
        _VALUES[rng.integers(len(_VALUES))] if rng.random() < 0.7 else float(rng.normal()),
        _TEXTS[rng.integers(len(_TEXTS))],
        id=int(rng.integers(3 * keys)),
        op="delete" if rng.random() < 0.2 else "upsert",
        second=None if rng.random() < 0.1 else int(rng.integers(2)),
    )


def asked(world: World, seed: int, each: int = 2) -> tuple[dict[str, Vector], Vector]:
    """Requests of every key at times near its events and near arrivals."""
    rng = np.random.default_rng(seed)
    facts, changes = world.rows(len(world.arrivals))
    events = np.array([row.event for row in (*facts, *changes)] or world.arrivals)
    n = world.keys * each
    times = np.where(rng.random(n) < 0.7, rng.choice(events, n), rng.choice(world.arrivals, n))
    times = times + rng.choice(_EDGES, n) + rng.integers(-1, 2, n)
    keys = [f"k{number % world.keys}" for number in range(n)]
    return questions(keys, [number // world.keys % 2 for number in range(n)]), times


def questions(keys: Sequence[str], seconds: Sequence[int]) -> dict[str, Vector]:
    """Requests as columns."""
    return {"key": from_values(keys, "text"), "second": from_values(seconds, "number")}


def table_of(source: type[ms.Source], rows: Sequence[Row]) -> pa.Table:
    """Rows as the table of a source has them."""
    names = {"at": "event", "__offset": "offset", "__arrival": "arrival"}
    schema = arrow_schema(source.__schema__)
    columns = [
        pa.array([getattr(row, names.get(str(f.name), str(f.name))) for row in rows], f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)
