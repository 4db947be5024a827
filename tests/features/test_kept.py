from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.features import kept
from mainspring.features.kept import content_hash, find, keep

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("number", pa.float64()),
        ("flag", pa.bool_()),
        ("time", pa.timestamp("us", "UTC")),
        ("whole", pa.int64()),
    ]
)
texts = st.one_of(st.none(), st.text(max_size=3))
wholes = st.one_of(st.none(), st.integers(-(2**40), 2**40))
numbers = st.one_of(st.none(), st.floats(allow_nan=False))
rows = st.lists(st.tuples(texts, numbers, st.sampled_from([None, True, False]), wholes, wholes))
Drawn = Sequence[tuple[object, ...]]


def table(drawn: Drawn) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, r, strict=True)) for r in drawn], SCHEMA)


def hashed(*tables: pa.Table) -> str:
    return content_hash(SCHEMA, (batch for t in tables for batch in t.to_batches()))


@given(drawn=rows, cut=st.integers(0, 9))
def test_the_same_rows_have_the_same_hash_however_they_are_cut(drawn: Drawn, cut: int) -> None:
    whole = table(drawn)
    assert hashed(whole) == hashed(whole.slice(0, cut), whole.slice(cut))


@given(one=rows, other=rows)
def test_other_rows_have_another_hash(one: Drawn, other: Drawn) -> None:
    same = repr(table(one).to_pylist()) == repr(table(other).to_pylist())  # -0.0 is not 0.0
    assert (hashed(table(one)) == hashed(table(other))) == same


def test_text_that_is_not_known_is_not_empty_text() -> None:
    found = {hashed(table([(t, None, None, None, None)])) for t in (None, "", "a")}
    assert len(found) == 3


@pytest.mark.parametrize(("first", "end"), [(0, 25), (3, 4), (0, 10), (9, 11), (24, 25), (7, 7)])
def test_some_rows_of_a_file_are_read_by_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, end: int
) -> None:
    monkeypatch.setattr(kept, "GROUP", 10)
    keep(tmp_path / "a.parquet", pa.table({"n": np.arange(25.0), "m": np.ones(25)}), {})
    file = find(tmp_path / "a.parquet")
    assert file and file.rows == 25
    assert file.columns(["n"], first, end).to_pydict() == {"n": [*range(first, end)]}


def test_a_file_that_another_program_wrote_again_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    keep(path, pa.table({"n": np.arange(25.0)}), {})
    pq.write_table(pq.ParquetFile(path).read(), path, row_group_size=7)
    assert find(path) is None


def test_a_file_of_another_format_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(kept, "FORMAT", 0)
        keep(tmp_path / "a.parquet", pa.table({"n": [1.0]}), {})
    assert find(tmp_path / "a.parquet") is None
    assert find(tmp_path / "none.parquet") is None
