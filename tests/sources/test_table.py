from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL, OFFSET, arrow_schema
from tests.sources.places import NOON, Click, Payment, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def clicks(first: int, count: int) -> Iterator[pa.RecordBatch]:
    """Rows of the table of clicks."""
    schema = arrow_schema(Click.__schema__)
    at = pa.array(np.full(count, NOON))
    columns = [
        pa.array(["x"] * count),
        at.cast(schema.field(1).type),
        np.arange(first, first + count),
        at,
    ]
    yield pa.RecordBatch.from_arrays([pa.array(c) for c in columns], schema=schema)


def test_a_table_has_the_declared_columns_the_offset_and_the_arrival() -> None:
    schema = arrow_schema(Payment.__schema__)
    assert schema.names == ["id", "amount", "paid_at", OFFSET, ARRIVAL]
    assert schema.field("paid_at").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize("source", [Payment, Click])
def test_a_table_without_rows_is_empty_and_can_be_queried(
    place: Place, source: type[Source]
) -> None:
    table = place.table(source)
    assert (table.version, table.files, table.quarantine_files) == (-1, [], [])
    assert place.rows("*", source) == []
    assert table.append([], ("log", 1))
    assert (table.version, table.files, place.rows("*", source)) == (0, [], [])


def test_appending_the_same_again_is_a_no_op(place: Place) -> None:
    table = place.table(Click)
    assert table.append(clicks(0, 3), ("log", 3))
    assert not table.append(clicks(0, 3), ("log", 3))
    assert not table.append(clicks(0, 2), ("log", 2))
    assert table.append(clicks(3, 1), ("log", 4))
    assert place.rows(OFFSET, Click) == [(0,), (1,), (2,), (3,)]


def test_rows_that_were_appended_before_a_column_was_declared_have_null_in_it(place: Place) -> None:
    schema = pa.schema([*arrow_schema(Click.__schema__), ("place", pa.string())])
    place.table(Click).append(clicks(0, 1), ("log", 1))
    row = {"ad": "y", "clicked_at": NOON, OFFSET: 1, ARRIVAL: NOON, "place": "top"}
    batch = pa.RecordBatch.from_pylist([row], schema)
    place.store.append("Click", schema, [batch], once=("log", 2))
    for _ in range(4):  # in whatever order the files are read
        assert place.rows("ad, place", Click) == [("x", None), ("y", "top")]


def test_the_live_path_holds_nothing_where_nothing_was_refused(place: Place) -> None:
    place.table().hold_live([], NOON)
    assert place.table().quarantine_files == []
