from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path

import pytest

from mainspring.clock import parse_time
from mainspring.errors import (
    ContractViolation,
    DataFileMissing,
    FileChanged,
    MainspringError,
    UnknownColumn,
    UnreadableFile,
    WriteConflict,
    WrongType,
)
from mainspring.sources.ingest import ingest
from mainspring.sources.source import Column, Source, column, event_time
from tests.crash import Mortal
from tests.sources.places import NOON, Click, FrailStore, Killed, Payment, Place, payment


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def test_ingest_takes_good_rows_in_file_order_and_holds_bad_ones(place: Place) -> None:
    rows = [payment("a"), payment("b", -1), payment("c", None), payment("d", 2.5)]
    place.write("payments.parquet", *rows)
    done = place.ingest()
    assert (done.files, done.rows, done.bad, done.repeated) == (1, 4, 2, 0)
    assert done.reasons == {"amount < 0": 1, "amount is missing": 1}
    assert place.rows("id, amount, __offset") == [("a", 1.0, 0), ("d", 2.5, 3)]
    assert place.held() == [(1, ["amount < 0"]), (2, ["amount is missing"])]


def test_a_row_of_history_arrives_late_by_after_its_event(place: Place) -> None:
    place.write("payments.parquet", payment("a"))
    place.ingest()
    assert place.rows("epoch_us(paid_at), __arrival") == [(NOON, parse_time("2024-05-01T12:05"))]


def test_ingest_again_is_a_no_op(place: Place) -> None:
    place.write("payments.parquet", payment("a"), payment("b", -1))
    place.ingest()
    version = place.table().version
    assert place.ingest().rows == 0
    assert (place.table().version, len(place.held())) == (version, 1)


def test_a_new_file_of_a_glob_is_taken_after_the_others(place: Place) -> None:
    place.write("payments-2.parquet", payment("a"), payment("b", -1))
    place.ingest()
    place.write("payments-1.parquet", payment("c"))
    assert (done := place.ingest()).files == 1 == done.rows
    assert place.rows("id, __offset") == [("a", 0), ("c", 2)]


def test_a_changed_file_gives_its_new_rows_and_refuses_changed_ones(place: Place) -> None:
    place.write("payments.parquet", payment("a"), payment("b"))
    place.ingest()
    place.write("payments.parquet", payment("a"), payment("b", 7), payment("c"))
    done = place.ingest()
    assert (done.rows, done.repeated, done.bad) == (3, 1, 1)
    assert place.rows("id, amount, __offset") == [("a", 1, 0), ("b", 1, 1), ("c", 1, 4)]
    assert place.held() == [(3, ["id is not unique"])]


def test_within_a_file_the_first_good_row_owns_a_unique_value(place: Place) -> None:
    bad, first, again, other = payment("a", -1), payment("a"), payment("a"), payment("a", 2)
    place.write("payments.parquet", bad, first, again, other, payment("b"))
    assert (done := place.ingest()).repeated == 1
    assert done.reasons == {"amount < 0": 1, "id is not unique": 1}
    assert place.rows("id, __offset") == [("a", 1), ("b", 4)]
    assert place.held() == [(0, ["amount < 0"]), (3, ["id is not unique"])]


def test_a_changed_file_without_a_unique_column_is_refused(place: Place) -> None:
    path = place.folder / "clicks" / "1.csv"
    path.parent.mkdir()
    path.write_text("ad,clicked_at\nx,2024-05-01\n")
    place.ingest(Click)
    path.write_text("ad,clicked_at\nx,2024-05-01\ny,2024-05-01\n")
    with pytest.raises(FileChanged, match=r"clicks/1\.csv has changed since its rows were taken"):
        place.ingest(Click)
    assert place.rows("ad", Click) == [("x",)]


def test_offsets_go_on_after_a_file_whose_last_rows_were_bad(place: Place) -> None:
    place.write("payments-1.parquet", payment("a"), payment("b", -1))
    place.ingest()
    place.write("payments-2.parquet", payment("c"))
    place.write("payments-3.parquet")
    assert place.ingest().files == 2
    assert place.rows("id, __offset") == [("a", 0), ("c", 2)]


class Strict(Source, url="payments.parquet"):
    id: Column[str]
    amount: Column[float] = column(ge=0, bad_at_most=0.25)
    paid_at: Column[datetime] = event_time()


def test_too_many_bad_rows_are_a_violation_and_nothing_is_taken(place: Place) -> None:
    place.write("payments.parquet", payment("a"), payment("b", -1), payment("c", -2))
    with pytest.raises(
        ContractViolation, match="2 of 3 Strict rows have amount < 0, at most a share"
    ):
        place.ingest(Strict)
    assert (place.table(Strict).files, place.table(Strict).quarantine_files) == ([], [])
    place.write("payments.parquet", payment("a"), payment("b"), payment("c"), payment("d", -2))
    assert place.ingest(Strict).bad == 1


CSV = b"id,amount,paid_at\na,1,2024-05-01\n"
UNREADABLE: dict[str, list[tuple[bytes, type[MainspringError], str]]] = {
    "payments.csv": [
        (b"", UnreadableFile, "it is empty"),
        (b"\n", UnreadableFile, "its first line is empty"),
        (
            b"a,1,2024-05-01\nb,1,2024-05-01\n",
            UnknownColumn,
            "no column 'id' that Payment declares",
        ),
        (CSV.replace(b"amount", b"amont"), UnknownColumn, r"did you mean 'amont'\? write: amount"),
        (CSV.replace(b"paid_at", b"ID"), UnreadableFile, "two columns are called 'id'"),
        (CSV + b"b,2\n", UnreadableFile, "Expected Number of Columns: 3 Found: 2"),
        (CSV + b'b,"2,2024-05-01\n', UnreadableFile, "unterminated quote"),
        (CSV + "é,1,2024-05-01\n".encode("latin-1"), UnreadableFile, "it is no CSV in UTF-8"),
        (CSV + CSV[18:] * 9999 + b"\xe9,1,2024-05-01\n", UnreadableFile, "is not utf-8 encoded"),
        (CSV.decode().encode("utf-16"), UnreadableFile, "it is no CSV in UTF-8"),
    ],
    "payments.json": [(b"{}", UnreadableFile, r"neither \.parquet nor \.csv")],
    "payments.parquet": [(b"PAR1, it says, but it is not", UnreadableFile, "cannot be read")],
}


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [(name, *case) for name, cases in UNREADABLE.items() for case in cases],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_file_that_cannot_be_read_is_refused_whole(
    place: Place, name: str, content: bytes, error: type[MainspringError], message: str
) -> None:
    (place.folder / name).write_bytes(content)
    with pytest.raises(error, match=message):
        place.ingest()
    assert (place.table().version, place.held()) == (-1, [])


def test_a_truncated_or_damaged_parquet_file_is_refused_whole(place: Place) -> None:
    path = place.write("payments.parquet", *(payment(f"p{i}") for i in range(5000)))
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[: len(whole) // 2], whole[:200] + bytes(400) + whole[600:]):
        path.write_bytes(damaged)
        with pytest.raises(UnreadableFile, match=r"payments\.parquet cannot be read"):
            place.ingest()
    assert place.table().version == -1
    path.write_bytes(whole)
    assert place.ingest().rows == 5000


def test_a_file_that_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(DataFileMissing, match=r"there is no data file .*/payments\*\.\*"):
        place.ingest()


def test_a_column_of_another_type_is_refused(place: Place) -> None:
    class Other(Source, url="payments.parquet"):
        id: Column[str]
        amount: Column[bool]
        paid_at: Column[datetime] = event_time()

    place.write("payments.parquet", payment("a"))
    with pytest.raises(WrongType, match=r"(?s)has 'amount' as double.*`amount: Column\[float\]`"):
        place.ingest(Other)


def test_two_ingests_at_once_cannot_take_the_same_offsets(place: Place) -> None:
    place.write("payments.parquet", payment("a"))
    late = place.table().append([], ("file:other", 1), {"next": (-1, 5)})
    assert late
    with pytest.raises(WriteConflict, match="another process wrote to table Payment"):
        place.table().append([], ("file:payments", 1), {"next": (-1, 1)})


IMPORTS = """
import sys
from pathlib import Path
import deltalake, duckdb, pyarrow.parquet, tests.sources.places
"""
LIFE = "place = tests.sources.places.Place.at(Path(sys.argv[3])); ready(); place.ingest()"


def test_a_killed_ingest_leaves_a_file_taken_or_not_taken(place: Place) -> None:
    moments = random.Random(7)
    with Mortal(IMPORTS, LIFE, str(place.folder)) as mortal:
        for number in range(24):
            rows = [payment(f"{number}-{i}", i % 10 - 1) for i in range(2_000)]
            place.write(f"payments-{number:02}.parquet", *rows)
            if number % 3 == 2:
                mortal.live(moments.uniform(0.02, 0.5))
                assert len(place.rows("id")) % 1_800 == 0
        assert mortal.live()
    good = [(f"{n}-{i}",) for n in range(24) for i in range(2_000) if i % 10]
    assert sorted(place.rows("id")) == sorted(good)
    assert len(place.held()) == 24 * 200 == len({offset for offset, _ in place.held()})
    assert not {n for (n,) in place.rows("__offset")} & {n for n, _ in place.held()}


def test_what_a_kill_between_the_two_commits_left_is_undone(place: Place) -> None:
    place.write("payments-2.parquet", payment("b", -1), payment("a"))
    with pytest.raises(Killed):
        ingest(Payment, place.folder, FrailStore(place.store, 1), place.engine, place.clock)
    assert (place.rows("id"), len(place.held())) == ([], 1)
    place.write("payments-1.parquet", payment("a", 5))
    assert place.ingest().files == 2
    assert place.rows("id, amount, __offset") == [("a", 5, 2)]
    assert place.held() == [(3, ["amount < 0"]), (4, ["id is not unique"])]
