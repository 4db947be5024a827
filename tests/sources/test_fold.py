from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.sources.fold import fold
from mainspring.sources.record import Numbered, Record
from mainspring.sources.table import LIVE
from tests.crash import Mortal
from tests.sources.places import NOON, Click, FrailStore, Killed, Payment, Place

SOURCES = {"Payment": Payment, "Click": Click}


def logged(count: int) -> list[Numbered]:
    """Records of two sources in turn, and now and then one of a source that is gone."""
    records: list[Numbered] = []
    for n in range(count):
        values = [f"p{n}", 1.0, NOON] if n % 2 else [f"ad{n}", NOON]
        source = "Gone" if n % 7 == 6 else "Payment" if n % 2 else "Click"
        records.append((n, Record(source, NOON + n, values)))
    return records


def everything(records: Sequence[Numbered]) -> Sequence[Numbered]:
    return records


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def test_records_become_rows_with_live_offsets_and_their_arrival(place: Place) -> None:
    assert fold(logged(4), SOURCES, place.store, everything) == 4
    assert place.rows("id, __offset, __arrival") == [
        ("p1", LIVE + 1, NOON + 1),
        ("p3", LIVE + 3, NOON + 3),
    ]
    assert place.rows("ad, epoch_us(clicked_at)", Click) == [("ad0", NOON), ("ad2", NOON)]


def test_a_repeated_or_overlapping_fold_adds_what_is_new(place: Place) -> None:
    assert fold(logged(4), SOURCES, place.store, everything) == 4
    version = place.table().version
    assert fold(logged(4), SOURCES, place.store, everything) == 0
    assert place.table().version == version
    assert fold(logged(20)[2:], SOURCES, place.store, everything) == 14
    assert len(place.rows("id")) + len(place.rows("ad", Click)) == 18


def test_nothing_to_fold_is_no_commit(place: Place) -> None:
    assert fold([], SOURCES, place.store, everything) == 0
    assert fold(logged(1), SOURCES, place.store, everything) == 1
    assert (place.table().version, place.table(Click).version) == (-1, 0)


def test_rows_whose_key_arrived_before_are_left_out(place: Place) -> None:
    records = logged(4)
    fold(records, SOURCES, place.store, lambda some: [(n, r) for n, r in some if n != 1])
    assert place.rows("id") == [("p3",)]


def test_a_kill_between_two_sources_doubles_and_loses_nothing(place: Place) -> None:
    with pytest.raises(Killed):
        fold(logged(4), SOURCES, FrailStore(place.store, 1), everything)
    assert fold(logged(6), SOURCES, place.store, everything) == 4
    assert place.rows("id") == [("p1",), ("p3",), ("p5",)]
    assert place.rows("ad", Click) == [("ad0",), ("ad2",), ("ad4",)]


@settings(max_examples=25)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 2)), max_size=4)
)
def test_however_a_log_is_folded_each_record_is_one_row(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, int, int]]
) -> None:
    place, end = Place.at(tmp_path_factory.mktemp("fold")), 0
    for back, more, writes in cuts:
        start, end = max(0, end - back), min(30, end + more)
        try:
            fold(logged(end)[start:], SOURCES, FrailStore(place.store, writes), everything)
        except Killed:
            end = start  # what was not acknowledged is folded again
    fold(logged(30)[min(end, 30) :], SOURCES, place.store, everything)
    assert place.rows("__offset") == [(LIVE + n,) for n in range(30) if n % 2 and n % 7 != 6]
    assert place.rows("__offset", Click) == [(LIVE + n,) for n in range(0, 30, 2) if n % 7 != 6]


IMPORTS = """
import sys
from pathlib import Path
import deltalake, duckdb, pyarrow.parquet, tests.sources.test_fold as t
"""
LIFE = """
place = t.Place.at(Path(sys.argv[3]))
ready()
for end in range(10, 401, 10):
    t.fold(t.logged(end), t.SOURCES, place.store, t.everything)
"""


def test_a_killed_fold_has_each_record_once_in_the_end(tmp_path: Path) -> None:
    moments, place = random.Random(5), Place.at(tmp_path)
    with Mortal(IMPORTS, LIFE, str(tmp_path)) as mortal:
        for number in range(6):
            mortal.live(moments.uniform(0.1, 0.3 * (number + 1)))
        assert mortal.live()
    assert place.rows("__offset") == [(LIVE + n,) for n in range(400) if n % 2 and n % 7 != 6]
    assert place.rows("__offset", Click) == [(LIVE + n,) for n in range(0, 400, 2) if n % 7 != 6]
