from __future__ import annotations

from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainspring.engines.base import Engine
from mainspring.engines.urls import connect_engine
from mainspring.errors import UnknownScheme, UnreadableFile


@pytest.fixture(scope="module")
def engine() -> Engine:
    return connect_engine("duckdb://")


def test_a_query_names_arrow_tables_and_lists_of_files(engine: Engine, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"it's [{n}].parquet") for n in range(2)]
    for n, path in enumerate(paths):
        pq.write_table(pa.table({"n": [n, n]}), path)
    query = "SELECT sum(files.n * few.times) AS total FROM files, few"
    found = engine.select(query, files=paths, few=pa.table({"times": [2, 3]}))
    assert found["total"].to_pylist() == [10]


def test_files_are_read_by_the_names_of_their_columns(engine: Engine, tmp_path: Path) -> None:
    old, new = str(tmp_path / "1.parquet"), str(tmp_path / "0.parquet")
    pq.write_table(pa.table({"a": [1], "b": [2]}), old)
    pq.write_table(pa.table({"c": [5], "b": [4], "a": [3]}), new)
    for paths in ([old, new], [new, old]):
        found = engine.select("SELECT a, b, c FROM rows ORDER BY a", rows=paths)
        assert found.to_pylist() == [{"a": 1, "b": 2, "c": None}, {"a": 3, "b": 4, "c": 5}]


def test_a_folder_with_an_equals_sign_adds_no_column(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "day=1" / "rows.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"a": [1]}), path)
    assert engine.describe(str(path)).names == ["a"]
    assert engine.select("SELECT * FROM rows", rows=[str(path)] * 2).column_names == ["a"]


def test_a_stream_keeps_the_order_of_the_file(engine: Engine, tmp_path: Path) -> None:
    path = str(tmp_path / "rows.parquet")
    pq.write_table(pa.table({"n": range(300_000)}), path, row_group_size=5_000)
    batches = list(engine.stream(f"SELECT n FROM {engine.scan(path)}", reads=path))
    assert len(batches) > 1
    assert pa.Table.from_batches(batches)["n"].to_pylist() == list(range(300_000))


def test_csv_is_text_and_nothing_is_guessed_but_the_delimiter(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\xef\xbb\xbfa;"b, c";\r\n007; x ;\r\n"1;""2""";;#\r\n')
    assert engine.describe(str(path)) == pa.schema(
        [(n, pa.string()) for n in ("a", "b, c", "column0")]
    )
    rows = engine.select(f"SELECT * FROM {engine.scan(str(path))}")
    assert [list(row.values()) for row in rows.to_pylist()] == [
        ["007", " x ", None],
        ['1;"2"', None, "#"],
    ]


def test_a_late_quote_in_a_long_csv_file_is_a_quote(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n" + "1,2\n" * 50_000 + '"x, y",3\n')
    query = f"SELECT a FROM {engine.scan(str(path))} WHERE b = '3'"
    assert engine.select(query)["a"].to_pylist() == ["x, y"]


def test_damage_in_the_middle_of_a_file_is_told_with_its_line(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n" + "1,2\n" * 500_000 + "1,2,3\n")
    with pytest.raises(
        UnreadableFile, match=r"rows\.csv cannot be read: CSV Error on Line: 500002"
    ):
        list(engine.stream(f"SELECT * FROM {engine.scan(str(path))}", reads=str(path)))


def test_a_time_without_a_zone_is_utc(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    query = "SELECT epoch_us('1970-01-01 00:00:01'::TIMESTAMPTZ) AS at"
    assert connect_engine().select(query)["at"].to_pylist() == [1_000_000]


def test_threads_share_an_engine_with_relations_of_the_same_name(engine: Engine) -> None:
    found = dict[int, int]()

    def count(n: int) -> None:
        for _ in range(10):
            table = engine.select("SELECT count(*) AS n FROM rows", rows=pa.table({"x": range(n)}))
            found[n] = table["n"][0].as_py()

    threads = [Thread(target=count, args=(n,)) for n in (1, 10, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {1: 1, 10: 10, 1000: 1000}


def test_an_engine_nobody_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        UnknownScheme, match=r"(?s)nothing here speaks spork://.*use one of: duckdb"
    ):
        connect_engine("spork://here")
