"""The label join against an oracle, under generated histories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mainspring as ms
from mainspring import Column, hours, minutes
from mainspring.engines.urls import connect_engine
from mainspring.sources.source import Source
from mainspring.sources.table import arrow_schema
from mainspring.training.label import Label
from mainspring.training.outcomes import Outcomes, outcomes

HOUR, MINUTE = 3_600_000_000, 60_000_000
START, END = 100 * HOUR, 106 * HOUR
ENGINE = connect_engine()


class Asked(ms.Source, url="asked.parquet"):
    id: Column[str]
    at: Column[datetime] = ms.event_time()


class Came(ms.Source, url="came.parquet"):
    """Its columns have the names that a query would like to have for itself."""

    id: Column[str]
    known: Column[float | None]
    event: Column[datetime] = ms.event_time(late_by=minutes(30))


def label(value: Any = None, default: Any = None) -> Label[Any]:
    return ms.Label("l", of=Asked.id, when=Came.id, value=value, within=hours(2), default=default)


LABELS = {
    "came": label(),
    "came, else unknown": label(Came.known.is_null() | ~Came.known.is_null()),
    "flag": label(Came.known > 0, default=False),
    "flag, else unknown": label(Came.known > 0),
    "number": label(Came.known * 2, default=-1.0),
    "number, else unknown": label(Came.known),
}
SAYS: dict[str, Callable[[float | None], float | None]] = {
    "came": lambda v: 1.0,
    "came, else unknown": lambda v: 1.0,
    "flag": lambda v: None if v is None else float(v > 0),
    "flag, else unknown": lambda v: None if v is None else float(v > 0),
    "number": lambda v: None if v is None else v * 2,
    "number, else unknown": lambda v: v,
}


@dataclass(frozen=True, slots=True)
class Row:
    """A request or an outcome, as its table has it."""

    id: str
    event: int
    arrival: int
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """A table, as far as the label join looks at one."""

    rows: pa.Table


def table(source: type[Source], rows: Sequence[Row]) -> Rows:
    schema = arrow_schema(source.__schema__)
    listed = [[r.id for r in rows], [r.value for r in rows], [r.event for r in rows]]
    if source is Asked:
        del listed[1]
    listed += [list(range(len(rows))), [r.arrival for r in rows]]
    columns = [pa.array(c, f.type) for c, f in zip(listed, schema, strict=True)]
    return Rows(pa.table(columns, schema=schema))


def joined(of: str, asked: Sequence[Row], came: Sequence[Row], now: int) -> Outcomes:
    tables = {Asked: table(Asked, asked), Came: table(Came, came)}
    given_tables: Any = tables.__getitem__
    return outcomes(LABELS[of], START, END, now, given_tables, ENGINE)


Known = tuple[str, float | None, int]
"""What became of a request: `labelled`, `pending` or `censored`, the label, and known when."""


def oracle(of: str, asked: Row, came: Sequence[Row], now: int) -> Known:
    mine = [
        (max(r.event, r.arrival), offset, r.value)
        for offset, r in enumerate(came)
        if r.id == asked.id and asked.event <= r.event <= asked.event + 2 * HOUR
    ]
    seen = [row for row in mine if row[0] < now]
    settled = asked.event + 2 * HOUR + 30 * MINUTE
    if seen:
        known, _, value = max(seen, key=lambda row: row[:2])
        said = SAYS[of](value)
        return "censored" if said is None else "labelled", said, known
    if settled >= now:
        return "pending", None, settled
    default = LABELS[of].missing
    return "censored" if default is None else "labelled", default, settled


TIMES = st.integers(-8, 26).map(lambda n: START + n * 15 * MINUTE)
VALUES = st.sampled_from([None, -1.0, 0.0, 0.5, 3.0])


@st.composite
def histories(draw: st.DrawFn, most: int) -> list[Row]:
    """Rows of three keys, some late, some that arrive before they happen."""
    lateness = st.sampled_from([0, 0, 15, 30, 90, 300, -15])
    one = st.tuples(st.sampled_from("abc"), TIMES, lateness, VALUES)
    listed = draw(st.lists(one, max_size=most))
    return [Row(key, at, at + late * MINUTE, value) for key, at, late, value in listed]


def visible(asked: Sequence[Row], now: int) -> dict[tuple[str, int], Row]:
    """The requests that are there; two of one key and time are one."""
    known = [r for r in asked if START <= r.event < END and max(r.event, r.arrival) < now]
    return {(r.id, r.event): r for r in known}


def as_known(found: Outcomes) -> dict[tuple[str, int], Known]:
    state = np.where(found.labelled, "labelled", np.where(found.censored, "censored", "pending"))
    values = [None if np.isnan(v) else float(v) for v in found.value]
    columns = (found.ids, found.at.tolist(), state.tolist(), values, found.known_at.tolist())
    return {(i, at): (s, v, k) for i, at, s, v, k in zip(*columns, strict=True)}


@settings(max_examples=80)
@given(st.sampled_from(list(LABELS)), histories(6), histories(8), TIMES)
def test_the_join_says_what_the_oracle_says(
    of: str, asked: list[Row], came: list[Row], now: int
) -> None:
    found, there = joined(of, asked, came, now), visible(asked, now)
    assert as_known(found) == {key: oracle(of, r, came, now) for key, r in there.items()}
    assert sum(found.counts().values()) == len(found) == len(there)
    assert list(zip(found.at.tolist(), found.ids, strict=True)) == sorted(
        (at, key) for key, at in there
    )


@settings(max_examples=40)
@given(st.sampled_from(list(LABELS)), histories(6), histories(8), TIMES, TIMES)
def test_what_arrives_later_is_not_seen_and_time_only_moves_forward(
    of: str, asked: list[Row], came: list[Row], one: int, two: int
) -> None:
    now, later = sorted((one, two))
    before, after = joined(of, asked, came, now), as_known(joined(of, asked, came, later))
    early, came_early = (
        [r for r in rows if max(r.event, r.arrival) < now] for rows in (asked, came)
    )
    assert as_known(joined(of, early, came_early, now)) == as_known(before)
    for key, (state, value, known) in as_known(before).items():
        if state != "pending":
            assert after[key][0] != "pending"
            assert after[key][1:] == (value, known) or after[key][2] >= now


@pytest.mark.parametrize("of", list(LABELS))
def test_without_any_row_there_is_no_outcome(of: str) -> None:
    assert joined(of, [], [], END).counts() == {"labelled": 0, "pending": 0, "censored": 0}
    asked = [Row("a", START, START)]
    assert joined(of, asked, [], START + HOUR).counts()["pending"] == 1


def test_an_outcome_that_is_late_by_its_source_is_waited_for() -> None:
    asked, end = [Row("a", START, START)], START + 2 * HOUR
    came = [Row("a", end, end + 30 * MINUTE)]
    assert joined("came", asked, came, end + 30 * MINUTE).counts()["pending"] == 1
    assert joined("came", asked, [], end + 30 * MINUTE + 1).value.tolist() == [0.0]
    assert joined("came", asked, came, end + 30 * MINUTE + 1).value.tolist() == [1.0]
