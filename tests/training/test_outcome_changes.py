"""The label join over a change feed: outcomes that are corrected, moved to another, or deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mainspring as ms
from mainspring import Column, hours, minutes
from mainspring.sources.table import arrow_schema
from mainspring.training.label import Label
from mainspring.training.outcomes import Outcomes, outcomes
from tests.training.test_outcomes import (
    END,
    ENGINE,
    HOUR,
    MINUTE,
    START,
    TIMES,
    VALUES,
    Asked,
    Known,
    Row,
    Rows,
    as_known,
    histories,
    table,
    visible,
)


class Refund(ms.Source, url="refunds.parquet"):
    refund: Column[str] = ms.column(unique=True)
    id: Column[str | None]
    amount: Column[float | None]
    op: Column[str] = ms.change()
    event: Column[datetime] = ms.event_time(late_by=minutes(30))


def label(default: float | None = None) -> Label[Any]:
    return ms.Label(
        "l", of=Asked.id, when=Refund.id, value=Refund.amount, within=hours(2), default=default
    )


LABELS = {default: label(default) for default in (None, 0.0, -1.0)}


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a refund, as its table has it."""

    refund: str
    id: str | None
    event: int
    arrival: int
    value: float | None = None
    op: str = "upsert"


def joined(
    asked: Sequence[Row], came: Sequence[Version], now: int, default: float | None = None
) -> Outcomes:
    listed = [[v.refund, v.id, v.value, v.op, v.event, n, v.arrival] for n, v in enumerate(came)]
    schema = arrow_schema(Refund.__schema__)
    columns = [pa.array([row[n] for row in listed], f.type) for n, f in enumerate(schema)]
    tables = {Asked: table(Asked, asked), Refund: Rows(pa.table(columns, schema=schema))}
    given_tables: Any = tables.__getitem__
    return outcomes(LABELS[default], START, END, now, given_tables, ENGINE)


def oracle(asked: Row, came: Sequence[Version], now: int, default: float | None) -> Known:
    standing: dict[str, tuple[Version, int]] = {}
    ended: list[int] = []  # when an outcome of this request was replaced or deleted

    def is_mine(v: Version) -> bool:
        return v.id == asked.id and asked.event <= v.event <= asked.event + 2 * HOUR

    in_order = sorted(enumerate(came), key=lambda v: (v[1].arrival, v[0]))
    for offset, version in [v for v in in_order if v[1].arrival < now]:
        before, _ = standing.pop(version.refund, (None, 0))
        if before and is_mine(before) and max(before.event, before.arrival) < version.arrival:
            ended.append(version.arrival)
        if version.op != "delete":
            standing[version.refund] = version, offset
    mine = [(max(v.event, v.arrival), n, v.value) for v, n in standing.values() if is_mine(v)]
    seen = [row for row in mine if row[0] < now]
    settled = asked.event + 2 * HOUR + 30 * MINUTE
    known, _, value = max(seen, default=(settled, 0, default), key=lambda row: row[:2])
    if not seen and settled >= now:
        return "pending", None, settled
    return "censored" if value is None else "labelled", value, max([known, *ended])


@st.composite
def feeds(draw: st.DrawFn) -> list[Version]:
    """Versions of two refunds that go to three requests, some late, some deletions."""
    lateness = st.sampled_from([0, 0, 15, 30, 90, 300, -15])
    ops = st.sampled_from(["upsert", "upsert", "insert", "delete"])
    keys = st.sampled_from(["a", "b", "c", None])
    one = st.tuples(st.sampled_from("xy"), keys, TIMES, lateness, VALUES, ops)
    return [
        Version(refund, key, at, at + late * MINUTE, value, op)
        for refund, key, at, late, value, op in draw(st.lists(one, max_size=8))
    ]


@settings(max_examples=150)
@given(histories(6), feeds(), TIMES, st.sampled_from([None, -1.0]))
def test_the_join_over_a_change_feed_says_what_the_oracle_says(
    asked: list[Row], came: list[Version], now: int, default: float | None
) -> None:
    found, there = joined(asked, came, now, default), visible(asked, now)
    assert as_known(found) == {key: oracle(r, came, now, default) for key, r in there.items()}
    assert sum(found.counts().values()) == len(found) == len(there)


NOON, LATER = START, START + 5 * HOUR
ASKED = [Row("a", NOON, NOON)]
PAID = Version("x", "a", NOON + HOUR, NOON + HOUR, 3.0)


def test_a_correction_is_the_label_from_its_arrival_on() -> None:
    better = Version("x", "a", NOON + HOUR, NOON + 4 * HOUR, 7.0)
    assert joined(ASKED, [PAID, better], NOON + 4 * HOUR).value.tolist() == [3.0]
    found = joined(ASKED, [PAID, better], NOON + 4 * HOUR + 1)
    assert (found.value.tolist(), found.known_at.tolist()) == ([7.0], [NOON + 4 * HOUR])


@pytest.mark.parametrize(("default", "of"), [(None, "censored"), (0.0, "labelled")])
def test_a_deleted_outcome_makes_its_request_one_without(default: float | None, of: str) -> None:
    gone = Version("x", None, NOON + HOUR, NOON + 90 * MINUTE, op="delete")
    early = joined(ASKED, [PAID, gone], NOON + 2 * HOUR, default)
    assert early.counts() == {"labelled": 0, "pending": 1, "censored": 0}
    assert joined(ASKED, [PAID, gone], LATER, default).counts()[of] == 1


def test_a_label_that_a_deletion_made_is_known_since_the_deletion() -> None:
    gone = Version("x", None, NOON + HOUR, NOON + 4 * HOUR, op="delete")
    found = joined(ASKED, [PAID, gone], LATER, -1.0)
    assert (found.value.tolist(), found.known_at.tolist()) == ([-1.0], [NOON + 4 * HOUR])


def test_an_outcome_that_was_another_requests_leaves_it() -> None:
    asked = [*ASKED, Row("b", NOON, NOON)]
    moved = Version("x", "b", NOON + HOUR, NOON + 4 * HOUR, 3.0)
    found = joined(asked, [PAID, moved], LATER, -1.0)
    assert dict(zip(found.ids, found.value, strict=True)) == {"a": -1.0, "b": 3.0}
    assert found.known_at.tolist() == [NOON + 4 * HOUR] * 2
