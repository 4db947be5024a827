"""Change feeds and arrival times: declared, judged, taken in, and mended."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mainspring as ms
from mainspring import Column, minutes
from mainspring.clock import as_datetime
from mainspring.engines.urls import connect_engine
from mainspring.errors import FileChanged, InvalidDeclaration, UnknownColumn
from mainspring.sources.contract import judge
from mainspring.sources.judged import reasons
from mainspring.sources.mask import FAULTS, select
from mainspring.sources.quarantine import replay, show
from mainspring.training.label import Label
from mainspring.training.training_set import TrainingSet
from tests.sources.places import NOON, Place

MINUTE = 60_000_000
ENGINE = connect_engine()


class Order(ms.Source, url="orders*.parquet"):
    id: Column[str] = ms.column(unique=True)
    amount: Column[float] = ms.column(ge=0)
    op: Column[str] = ms.change()
    at: Column[datetime] = ms.event_time(late_by=minutes(5))


class Dated(ms.Source, url="orders*.parquet"):
    """Orders whose history says when each version arrived."""

    id: Column[str] = ms.column(unique=True)
    amount: Column[float] = ms.column(ge=0)
    op: Column[str] = ms.change()
    at: Column[datetime] = ms.event_time(late_by=minutes(5))
    known_at: Column[datetime] = ms.arrival_time()


class Fact(ms.Source, url="orders*.parquet"):
    """The same columns, where no row changes another."""

    id: Column[str] = ms.column(unique=True)
    amount: Column[float] = ms.column(ge=0)
    at: Column[datetime] = ms.event_time(late_by=minutes(5))
    known_at: Column[datetime] = ms.arrival_time()


SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("amount", pa.float64()),
        ("op", pa.string()),
        ("at", pa.timestamp("us")),
        ("known_at", pa.timestamp("us")),
    ]
)


def order(
    id: str | None,
    amount: float | None = 1.0,
    op: str | None = "upsert",
    *,
    at: int | None = NOON,
    known_at: int | None = None,
) -> dict[str, Any]:
    """A row of an orders file."""
    return {"id": id, "amount": amount, "op": op, "at": at, "known_at": known_at}


def write(place: Place, *rows: dict[str, Any], name: str = "orders.parquet") -> None:
    pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), place.folder / name)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def declared(**columns: tuple[Any, Any]) -> Any:
    """A source with an event time and these columns: each an annotation and a default."""
    body = {name: default for name, (_, default) in columns.items() if default is not None}
    types = {name: annotation for name, (annotation, _) in columns.items()}
    names = {"__annotations__": types | {"at": Column[datetime]}, "at": ms.event_time()}
    return type("Made", (ms.Source,), names | body, url="made.parquet")


KEY = (Column[str], ms.column(unique=True))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"op": (Column[str], ms.change())}, "op changes rows that nothing names"),
        (
            {"id": KEY, "op": (Column[str], ms.change()), "did": (Column[str], ms.change())},
            "it has several change columns: op, did",
        ),
        ({"id": KEY, "op": (Column[int], ms.change())}, "op is a int"),
        ({"known": (Column[str], ms.arrival_time())}, "known is a str"),
        (
            {
                "known": (Column[datetime], ms.arrival_time()),
                "seen": (Column[datetime], ms.arrival_time()),
            },
            "it has several arrival columns: known, seen",
        ),
        (
            {
                "id": (Column[str | None], ms.column(unique=True)),
                "op": (Column[str], ms.change()),
            },
            "op changes the row of id, which may be NULL",
        ),
        (
            {
                "id": KEY,
                "no": (Column[int], ms.column(unique=True)),
                "op": (Column[str], ms.change()),
            },
            "op changes the row of id or no: which one is not said",
        ),
        (
            {"known": (Column[datetime], ms.arrival_time(field="at"))},
            "known and at are one column of the file",
        ),
    ],
)
def test_a_feed_that_means_nothing_is_refused(
    columns: dict[str, tuple[Any, Any]], message: str
) -> None:
    with pytest.raises(InvalidDeclaration, match=f"Made: {message}"):
        declared(**columns)


def test_a_schema_knows_its_roles_and_so_does_the_plan() -> None:
    schema, plain = Dated.__schema__, Fact.__schema__
    assert (repr(schema.change), repr(schema.arrival)) == ("Dated.op", "Dated.known_at")
    assert (schema.is_feed, plain.is_feed, plain.change) == (True, False, None)
    columns = schema.definition()["columns"]
    assert columns["known_at"] == {"type": "datetime", "null": True, "role": "arrival"}
    assert columns["op"]["role"] == "change"
    assert columns["op"]["one_of"] == ["insert", "upsert", "delete"]


def test_a_typed_row_may_leave_out_when_it_arrived() -> None:
    made: Any = Fact
    assert made(id="a", amount=1.0, at=as_datetime(NOON)).known_at is None


def test_requests_that_may_change_are_refused_at_load() -> None:
    class Refund(ms.Source, url="refunds.parquet"):
        id: Column[str]
        made_at: Column[datetime] = ms.event_time()

    refunded = Label("l", of=Order.id, when=Refund.id, within=minutes(9))
    with pytest.raises(InvalidDeclaration, match=r"'rows': its requests are rows of Order, which"):
        TrainingSet("rows", refunded, [Order.amount], lookback=minutes(99))
    with pytest.raises(InvalidDeclaration, match="endpoint 'e': its requests are rows of Order"):
        ms.Endpoint("e", ms.Rule("r", Order.amount > 1), request=Order)


def test_a_column_that_is_called_otherwise_is_hinted_with_its_role(place: Place) -> None:
    class Wrong(ms.Source, url="orders.parquet"):
        id: Column[str] = ms.column(unique=True)
        opp: Column[str] = ms.change()
        at: Column[datetime] = ms.event_time()

    write(place, order("a"))
    with pytest.raises(UnknownColumn, match=r'opp: Column\[str\] = ms\.change\(field="op"\)'):
        place.ingest(Wrong)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (order("a", None, "delete"), []),
        (order("a", None), ["amount is missing"]),
        (order("a", None, "insert"), ["amount is missing"]),
        (order("a", -1, "delete"), ["amount < 0"]),
        (order(None, None, "delete"), ["id is missing"]),
        (order("a", None, "delete", at=None), ["at is missing"]),
        (order("a", None, None), ["amount is missing", "op is missing"]),
        (order("a", 1, "drop"), ["op is not one of insert, upsert, delete"]),
        (order("a", None, "DELETE"), ["amount is missing", "op is not one of"]),
    ],
)
def test_a_deletion_needs_its_key_and_its_time_alone(row: dict[str, Any], why: list[str]) -> None:
    rows = pa.Table.from_pylist([row], SCHEMA)
    (found,) = ENGINE.select(select(Order.__schema__, "rows", rows.schema), rows=rows).to_pylist()
    at = None if row["at"] is None else as_datetime(row["at"]).isoformat()
    said = judge(Order.__schema__, {**row, "at": at})[1]
    assert reasons(Order.__schema__, found[FAULTS]) == said
    assert len(said) == len(why) and all(s.startswith(w) for s, w in zip(said, why, strict=True))


def test_a_live_deletion_may_lack_what_it_does_not_need() -> None:
    row = {"id": "a", "op": "delete", "at": "2024-05-01T12:00"}
    values, why = judge(Order.__schema__, row)
    assert (values, why) == ({"id": "a", "amount": None, "op": "delete", "at": NOON}, [])


def test_history_arrives_when_it_says_else_late_by_after_its_event(place: Place) -> None:
    write(place, order("a", known_at=NOON + 90 * MINUTE), order("b"), order("c", known_at=NOON - 1))
    place.ingest(Fact)
    found = place.rows("id, __arrival", Fact)
    assert found == [("a", NOON + 90 * MINUTE), ("b", NOON + 5 * MINUTE), ("c", NOON - 1)]


def test_every_version_of_a_file_is_a_row_also_one_that_repeats_another(place: Place) -> None:
    gone, back = order("a", None, "delete"), order("a")
    write(place, order("a"), gone, back, order("b", -1), order("a", None))
    for source in (Order, Dated):
        done = place.ingest(source)
        assert (done.rows, done.bad, done.repeated) == (5, 2, 0)
        assert place.rows("id, amount, op", source) == [
            ("a", 1.0, "upsert"),
            ("a", None, "delete"),
            ("a", 1.0, "upsert"),
        ]


def test_a_changed_file_of_a_feed_that_says_arrivals_gives_its_new_versions(place: Place) -> None:
    first = [order("a", known_at=NOON), order("a", 2, known_at=NOON + 1), order("b")]
    write(place, *first)
    place.ingest(Dated)
    again = order("a", known_at=NOON + 2)  # as at first, but it arrived once more
    write(place, *first, again, order("b", None, "delete"))
    done = place.ingest(Dated)
    assert (done.rows, done.repeated, done.bad) == (5, 3, 0)
    assert place.rows("id, amount, op, __offset", Dated)[3:] == [
        ("a", 1.0, "upsert", 6),
        ("b", None, "delete", 7),
    ]


def test_an_overlapping_file_of_such_a_feed_gives_its_new_versions(place: Place) -> None:
    write(place, order("a", known_at=NOON), order("b", known_at=NOON))
    write(
        place, order("b", known_at=NOON), order("b", 2, known_at=NOON + 1), name="orders-2.parquet"
    )
    assert place.ingest(Dated).repeated == 1
    assert place.rows("id, amount", Dated) == [("b", 1), ("b", 2), ("a", 1)]


def test_a_changed_file_of_a_feed_without_arrivals_is_refused(place: Place) -> None:
    write(place, order("a"))
    place.ingest(Order)
    write(place, order("a"), order("a", 2))
    with pytest.raises(FileChanged, match=r"(?s)Order cannot tell new from old.*arrival_time\(\)"):
        place.ingest(Order)
    assert place.rows("amount", Order) == [(1.0,)]


def test_a_fact_is_the_same_row_whenever_it_is_said_to_have_arrived(place: Place) -> None:
    write(place, order("a"), order("b", known_at=NOON))
    place.ingest(Fact)
    write(place, order("a", known_at=NOON), order("b", 2, known_at=NOON))
    done = place.ingest(Fact)
    assert (done.repeated, done.bad) == (1, 1)
    assert place.rows("id, amount, __arrival", Fact) == [
        ("a", 1.0, NOON + 5 * MINUTE),
        ("b", 1.0, NOON),
    ]


def test_a_mended_version_arrives_when_it_is_put_back(place: Place) -> None:
    write(place, order("a"), order("a", -2, at=NOON + 1), order("b", None, "gone"))
    place.ingest(Order)
    place.clock.move_to(NOON + 60 * MINUTE)
    done = replay(place.table(Order), place.engine, place.clock, {"amount": 2, "op": "upsert"})
    assert (done.mended, done.still_bad) == (2, [])
    assert place.rows("id, amount, __arrival", Order) == [
        ("a", 1.0, NOON + 5 * MINUTE),
        ("a", 2.0, NOON + 60 * MINUTE),
        ("b", 2.0, NOON + 60 * MINUTE),
    ]


def test_a_mended_version_does_not_undo_what_came_after_it(place: Place) -> None:
    late = order("a", 3, known_at=NOON + 2)
    write(place, order("a", -1, known_at=NOON), order("a", -2, known_at=NOON + 1), late)
    place.ingest(Dated)
    done = replay(place.table(Dated), place.engine, place.clock, {"amount": 2})
    assert (done.mended, [h.reasons for h in done.still_bad]) == (
        0,
        [["id has a later version"]] * 2,
    )
    assert place.rows("amount", Dated) == [(3.0,)]


def test_of_two_mended_versions_the_later_one_is_put_back(place: Place) -> None:
    table = place.table(Order)
    for amount in (-1, -2):
        row = {**order("a", amount), "at": "2024-05-01T12:00"}
        del row["known_at"]
        table.hold_live([(row, ["amount < 0"])], at=NOON)

    def mend(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "amount": -row["amount"]}

    done = replay(table, place.engine, place.clock, mend)
    assert (done.mended, len(done.still_bad), place.rows("amount", Order)) == (1, 1, [(2.0,)])
    assert [held.row["amount"] for held in show(table, place.engine)] == [-1]
