from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainspring.errors import WriteConflict
from mainspring.stores.base import TableStore
from mainspring.stores.urls import connect_tables

SCHEMA = pa.schema([("n", pa.int64())])


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return connect_tables(f"file://{tmp_path}/my tables, ü")


def numbers(*values: int) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pydict({"n": list(values)}, SCHEMA)]


def read(store: TableStore, name: str = "t") -> list[int]:
    return sorted(n for file in store.files(name) for n in pq.read_table(file)["n"].to_pylist())


def test_a_table_nobody_wrote_is_empty(store: TableStore) -> None:
    assert (store.version("t"), store.files("t"), store.committed("t", "log")) == (-1, [], -1)
    assert store.delete("t", "n", pa.array([1])) == 0
    store.compact("t")
    assert store.version("t") == -1


def test_a_commit_without_rows_is_remembered(store: TableStore) -> None:
    assert store.append("t", SCHEMA, [], once=("log", 5))
    assert (store.version("t"), store.files("t"), store.committed("t", "log")) == (0, [], 5)
    assert not store.append("t", SCHEMA, numbers(1), once=("log", 5))


def test_numbers_stay_known_through_checkpoints_and_compaction(store: TableStore) -> None:
    store.append("t", SCHEMA, numbers(-1), once=("first", 7))
    for n in range(45):
        assert store.append("t", SCHEMA, numbers(n), once=("log", n))
    store.compact("t")
    assert (store.committed("t", "first"), store.committed("t", "log")) == (7, 44)
    assert not store.append("t", SCHEMA, numbers(0), once=("first", 7))
    assert (len(store.files("t")), read(store)) == (1, list(range(-1, 45)))


def test_many_small_files_are_put_together_as_they_are_written(store: TableStore) -> None:
    for n in range(150):
        store.append("t", SCHEMA, numbers(n), once=("log", n))
    assert len(store.files("t")) < 70
    assert (read(store), store.committed("t", "log")) == (list(range(150)), 149)


def test_a_failing_stream_of_rows_commits_nothing(store: TableStore) -> None:
    def rows() -> Iterator[pa.RecordBatch]:
        yield from numbers(1)
        raise RuntimeError("the source broke")

    with pytest.raises(Exception, match="the source broke"):
        store.append("t", SCHEMA, rows(), once=("log", 1))
    assert (read(store), store.committed("t", "log")) == ([], -1)


def test_moved_numbers_must_be_where_they_are_said_to_be(store: TableStore) -> None:
    store.append("t", SCHEMA, numbers(1), once=("a", 1), moves={"next": (-1, 5)})
    with pytest.raises(WriteConflict, match="wrote to table t at the same time"):
        store.append("t", SCHEMA, numbers(2), once=("b", 1), moves={"next": (-1, 3)})
    assert store.append("t", SCHEMA, numbers(3), once=("b", 1), moves={"next": (5, 6)})
    assert (read(store), store.committed("t", "next")) == ([1, 3], 6)


def test_rows_are_deleted_by_value_in_one_commit(store: TableStore) -> None:
    for part in range(3):
        rows = range(part * 100_000, (part + 1) * 100_000)
        store.append("t", SCHEMA, numbers(*rows), once=("log", part))
    assert store.delete("t", "n", pa.array(range(0, 250_000, 2))) == 125_000
    assert (store.version("t"), len(read(store))) == (3, 175_000)
    assert store.delete("t", "n", pa.array([0, -7])) == 0
    assert store.version("t") == 3


def test_of_many_who_append_the_same_one_does(store: TableStore) -> None:
    def append(n: int) -> bool:
        return store.append("t", SCHEMA, numbers(n), once=("log", 1))

    store.append("t", SCHEMA, [], once=("log", 0))
    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(append, range(8))) == {True: 1, False: 7}
    assert len(read(store)) == 1


def test_of_many_who_create_a_table_all_get_their_rows_in(store: TableStore) -> None:
    def append(n: int) -> bool:
        return store.append("t", SCHEMA, numbers(n), once=(f"file:{n}", 1))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(append, range(4)))
    assert read(store) == [0, 1, 2, 3]


def test_rows_can_be_deleted_while_others_append(store: TableStore) -> None:
    def append_more() -> None:
        for n in range(100, 130):
            store.append("t", SCHEMA, numbers(n), once=("log", n))

    store.append("t", SCHEMA, numbers(*range(100)), once=("log", 0))
    writer = Thread(target=append_more)
    writer.start()
    assert sum(store.delete("t", "n", pa.array([n])) for n in range(20)) == 20
    writer.join()
    assert read(store) == list(range(20, 130))


def test_readers_see_whole_versions_while_it_is_appended_to_and_compacted(
    store: TableStore,
) -> None:
    done, seen = Event(), set[int]()

    def look() -> None:
        while not done.is_set():
            seen.add(len(read(store)))

    reader = Thread(target=look)
    reader.start()
    for n in range(30):
        store.append("t", SCHEMA, numbers(*range(n * 10, n * 10 + 10)), once=("log", n))
        if n % 7 == 6:
            store.compact("t")
    done.set()
    reader.join()
    assert len(seen) > 2
    assert all(count % 10 == 0 for count in seen)
    assert read(store) == list(range(300))


def test_files_without_a_row_in_the_range_are_left_out(tmp_path: Path) -> None:
    tables, schema = connect_tables(f"file://{tmp_path}"), pa.schema([("at", pa.int64())])
    for number in range(3):
        rows = pa.record_batch([pa.array([number * 10, number * 10 + 5])], schema=schema)
        tables.append("t", schema, [rows], once=("log", number))
    assert len(tables.files("t")) == 3
    assert len(tables.files("t", ("at", 5, 10))) == 1
    assert len(tables.files("t", ("at", 5, 11))) == 2
    assert tables.files("t", ("at", 6, 10)) == []
    assert len(tables.files("t", ("unknown", 6, 10))) == 3


def test_another_stores_commit_is_seen(tmp_path: Path) -> None:
    schema = pa.schema([("at", pa.int64())])
    rows = pa.record_batch([pa.array([1])], schema=schema)
    mine, theirs = connect_tables(f"file://{tmp_path}"), connect_tables(f"file://{tmp_path}")
    mine.append("t", schema, [rows], once=("log", 1))
    assert theirs.version("t") == mine.version("t") == 0
    theirs.append("t", schema, [rows], once=("log", 2))
    assert (mine.version("t"), len(mine.files("t"))) == (1, 2)
