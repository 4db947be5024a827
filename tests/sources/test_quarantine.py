from __future__ import annotations

import random
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mainspring.errors import UnknownName, WriteConflict
from mainspring.sources import quarantine
from mainspring.sources.quarantine import Held, drop, replay, show
from mainspring.sources.table import Table
from tests.crash import Mortal
from tests.sources.places import NOON, Click, FrailStore, Killed, Place, payment

Row = dict[str, Any]
LATER = NOON + 3_600_000_000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Payments of which b, at offset 1, and d, at offset 3, are held."""
    place = Place.at(tmp_path)
    rows = [payment("a"), payment("b", -1), payment("c"), payment("d", None)]
    place.write("payments.parquet", *rows)
    place.ingest()
    place.clock.move_to(LATER)
    return place


def test_quarantine_shows_rows_with_offset_reasons_file_and_raw_row(place: Place) -> None:
    first, second = show(place.table(), place.engine)
    row = {"id": "b", "amount": -1.0, "paid_at": "2024-05-01 12:00:00"}
    assert first == Held(1, NOON, "payments.parquet", ["amount < 0"], row)
    assert second.reasons == ["amount is missing"]
    assert show(place.table(), place.engine, limit=1) == [first]
    assert quarantine.count(place.table(), place.engine) == 2


def test_a_mended_row_keeps_its_offset_and_arrives_when_it_is_put_back(place: Place) -> None:
    done = replay(place.table(), place.engine, place.clock, {"amount": 3}, offsets=[1])
    assert (done.mended, done.still_bad) == (1, [])
    found = place.rows("id, amount, __offset, __arrival")
    assert found[1] == ("b", 3.0, 1, LATER)
    assert [offset for offset, _ in place.held()] == [3]


def test_rows_are_mended_by_a_function_of_the_raw_row(place: Place) -> None:
    def mend(row: Row) -> Row:
        return {**row, "amount": abs(row["amount"] or 0)}

    assert replay(place.table(), place.engine, place.clock, mend).mended == 2
    assert place.rows("id, amount") == [("a", 1), ("b", 1), ("c", 1), ("d", 0)]
    assert place.held() == []


def test_rows_that_are_still_bad_stay_and_are_reported(place: Place) -> None:
    done = replay(place.table(), place.engine, place.clock, {"id": "a", "amount": 3})
    assert done.mended == 0
    assert [(h.offset, h.reasons) for h in done.still_bad] == [
        (1, ["id is not unique"]),
        (3, ["id is not unique"]),
    ]
    assert place.held() == [(1, ["amount < 0"]), (3, ["amount is missing"])]


def test_two_rows_mended_into_one_key_are_one_row_and_one_still_bad(place: Place) -> None:
    def mend(row: Row) -> Row:
        return {**row, "id": "x", "amount": 1 if row["id"] == "b" else 2}

    done = replay(place.table(), place.engine, place.clock, mend)
    assert (done.mended, [h.offset for h in done.still_bad]) == (1, [3])


def test_a_row_mended_into_one_that_is_there_is_left_out(place: Place) -> None:
    done = replay(
        place.table(), place.engine, place.clock, payment("a") | {"paid_at": "2024-05-01T12:00"}
    )
    assert (done.mended, done.still_bad, place.held()) == (0, [], [])
    assert place.rows("id") == [("a",), ("c",)]


def test_rows_are_dropped_for_good(place: Place) -> None:
    assert drop(place.table(), [1, 99]) == 1
    assert [offset for offset, _ in place.held()] == [3]


def test_an_edit_of_an_unknown_column_is_refused(place: Place) -> None:
    with pytest.raises(UnknownName, match=r"(?s)amont.*did you mean 'amount'\?"):
        replay(place.table(), place.engine, place.clock, {"amont": 3})


def test_text_of_a_csv_file_is_replayed_as_it_was_read(place: Place) -> None:
    path = place.folder / "payments.csv"
    path.write_text("id,amount,paid_at\ne,-7,2024-05-01T12:00+02:00\n")
    place.ingest()
    (held,) = [h for h in show(place.table(), place.engine) if h.file == "payments.csv"]
    assert held.row == {"id": "e", "amount": "-7", "paid_at": "2024-05-01T12:00+02:00"}

    def mend(row: Row) -> Row:
        return {**row, "amount": row["amount"].lstrip("-")}

    assert replay(place.table(), place.engine, place.clock, mend, [held.offset]).mended == 1
    assert place.rows("id, amount")[-1] == ("e", 7.0)


def test_refused_rows_of_many_threads_are_all_held_and_can_be_replayed(place: Place) -> None:
    table = place.table()
    refused = [
        ({"id": f"x{i}", "amount": "1", "paid_at": "2024-05-01"}, ["amount is no float"])
        for i in range(9)
    ]
    threads = [Thread(target=table.hold_live, args=(refused[i::3], LATER)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live = [held for held in show(table, place.engine) if held.offset < 0]
    assert len({held.offset for held in live}) == 9
    assert sorted(held.row["id"] for held in live) == [f"x{i}" for i in range(9)]
    assert replay(table, place.engine, place.clock, offsets=[h.offset for h in live]).mended == 9


def test_a_kill_between_the_two_commits_of_a_replay_doubles_and_loses_nothing(place: Place) -> None:
    table = Table(FrailStore(place.store, 1), place.table().schema)
    with pytest.raises(Killed):
        replay(table, place.engine, place.clock, {"amount": 3}, [1])
    assert len(place.rows("id")) == 3
    assert replay(place.table(), place.engine, place.clock, {"amount": 4}).mended == 1
    assert place.rows("id, amount") == [("a", 1), ("b", 3), ("c", 1), ("d", 4)]
    assert place.held() == []


def test_two_replays_at_once_do_not_double_a_row(place: Place) -> None:
    (place.folder / "clicks").mkdir()
    (place.folder / "clicks" / "1.csv").write_text("ad,clicked_at\n,2024-05-01\n")
    place.ingest(Click)
    table = place.table(Click)

    def mend_and_be_overtaken(row: Row) -> Row:
        replay(table, place.engine, place.clock, {"ad": "x"})
        return {**row, "ad": "y"}

    with pytest.raises(WriteConflict, match="another replay was faster"):
        replay(table, place.engine, place.clock, mend_and_be_overtaken)
    assert place.rows("ad", Click) == [("x",)]


IMPORTS = """
import sys
from pathlib import Path
import deltalake, duckdb, pyarrow.parquet, tests.sources.places
from mainspring.sources.quarantine import replay
"""
LIFE = """
place = tests.sources.places.Place.at(Path(sys.argv[3]))
ready()
for offset in range(1, 80, 2):
    replay(place.table(), place.engine, place.clock, {"amount": 3}, [offset])
"""


def test_a_killed_replay_has_each_row_once_in_the_end(tmp_path: Path) -> None:
    place, moments = Place.at(tmp_path), random.Random(3)
    place.write("payments.parquet", *(payment(f"p{i}", -(i % 2)) for i in range(80)))
    place.ingest()
    with Mortal(IMPORTS, LIFE, str(tmp_path)) as mortal:
        for number in range(6):
            mortal.live(moments.uniform(0.1, 0.3 * (number + 1)))
            assert len(place.rows("id")) + len(place.held()) in (80, 81)
    replay(place.table(), place.engine, place.clock, {"amount": 3})
    assert place.rows("id, __offset") == [(f"p{i}", i) for i in range(80)]
    assert place.held() == []
