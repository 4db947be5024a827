from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mainspring as ms
from mainspring.engines.base import Engine
from mainspring.engines.urls import connect_engine
from mainspring.features import backfill as backfills
from mainspring.features.backfill import Backfill, Rows
from mainspring.features.feature_set import FeatureSet
from mainspring.features.point_in_time import point_in_time
from mainspring.sources.table import LIVE, arrow_schema
from tests.crash import Mortal
from tests.features.histories import Ask, Event, Row, Tables, features

MINUTE = 60_000_000


class Key(ms.FeatureView, key=Event.key):
    total = ms.sum(Event.value, window=ms.hours(1))
    latest = ms.last(Event.text)
    busy = ms.count(window=ms.minutes(5)) > 2


FEATURES = features(Key, Ask.base)

Computed = list[tuple[str, ...]]
"""The names of the features of each point-in-time join."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return connect_engine()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    found: Computed = []

    def counted(features: FeatureSet, *arguments: Any) -> Any:
        found.append(features.names)
        return point_in_time(features, *arguments)

    monkeypatch.setattr(backfills, "point_in_time", counted)
    return found


def event(minute: int, offset: int) -> Row:
    return Row(offset, minute * MINUTE, minute * MINUTE, f"k{minute % 3}", 1.0 * minute, "a")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return filled(tmp_path / "tables")


def filled(folder: Path) -> Tables:
    """Events and requests, one of each a minute, for a hundred minutes."""
    tables = Tables(folder)
    tables.add([event(minute, minute) for minute in range(100)])
    add_requests(tables, range(100), 0)
    return tables


def add_requests(tables: Tables, minutes: range, offset: int) -> None:
    schema, at = arrow_schema(Ask.__schema__), [m * MINUTE for m in minutes]
    ids, keys = [f"r{m:03}" for m in minutes], [f"k{m % 4}" for m in minutes]
    offsets = [offset + n for n in range(len(minutes))]
    columns = [ids, keys, [float(m) for m in minutes], at, offsets, at]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    batches = pa.table(arrays, schema=schema).to_batches()
    tables(Ask).append(batches, ("asks", offset + 1))


def opened(tmp_path: Path, tables: Tables, engine: Any, wanted: FeatureSet = FEATURES) -> Backfill:
    return Backfill(tmp_path / "features", wanted, "id", tables, engine)


def check_equal(a: Rows, b: Rows) -> None:
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.at, b.at)
    assert a.columns.keys() == b.columns.keys()
    for name, vector in a.columns.items():
        assert vector.dtype == b.columns[name].dtype
        np.testing.assert_array_equal(vector, b.columns[name])


def test_what_was_read_is_computed_once_and_stays_the_same(
    tmp_path: Path, tables: Tables, engine: Engine, computed: Computed
) -> None:
    first = opened(tmp_path, tables, engine).read(10 * MINUTE, 50 * MINUTE)
    again = opened(tmp_path, tables, engine)
    check_equal(first, again.read(10 * MINUTE, 50 * MINUTE))
    check_equal(first.take(first.at >= 20 * MINUTE), again.read(20 * MINUTE, 50 * MINUTE))
    assert len(computed) == 1


def test_rows_are_requests_in_order_with_their_features(
    tmp_path: Path, tables: Tables, engine: Engine
) -> None:
    rows = opened(tmp_path, tables, engine).read(10 * MINUTE, 14 * MINUTE)
    assert rows.ids.tolist() == ["r010", "r011", "r012", "r013"]
    assert (rows.at // MINUTE).tolist() == [10, 11, 12, 13]
    assert rows.columns["Key.latest"].tolist() == ["a", None, "a", "a"]
    np.testing.assert_array_equal(rows.columns["Key.total"], [15.0, np.nan, 18.0, 22.0])
    assert rows.columns["base"].tolist() == [10.0, 11.0, 12.0, 13.0]


stretches = st.lists(st.tuples(st.integers(-5, 110), st.integers(-5, 110)), min_size=1, max_size=5)
SETS = [FEATURES, features(Key.total), features(Key.busy, Ask.base), features(Ask.base, Key.latest)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=stretches, sets=st.lists(st.sampled_from(SETS), min_size=5, max_size=5))
def test_features_of_stretches_in_any_order_are_those_computed_anew(
    tables: Tables, engine: Engine, asked: list[tuple[int, int]], sets: list[FeatureSet]
) -> None:
    with TemporaryDirectory() as folder:
        for (low, high), wanted in zip(asked, sets, strict=False):
            backfill = opened(Path(folder), tables, engine, wanted)
            rows = backfill.read(low * MINUTE, high * MINUTE)
            assert rows.ids.tolist() == [f"r{m:03}" for m in range(max(low, 0), min(high, 100))]
            check_equal(rows, backfill.compute(rows.ids, rows.at))


def test_a_new_feature_is_computed_alone(
    tmp_path: Path, tables: Tables, engine: Engine, computed: Computed
) -> None:
    opened(tmp_path, tables, engine, features(Key.total, Ask.base)).read(0, 90 * MINUTE)
    rows = opened(tmp_path, tables, engine).read(0, 90 * MINUTE)
    assert computed == [("Key.total", "base"), ("Key.latest", "Key.busy")]
    check_equal(
        rows, Backfill(tmp_path / "anew", FEATURES, "id", tables, engine).read(0, 90 * MINUTE)
    )


def test_feature_sets_share_what_they_have_in_common(
    tmp_path: Path, tables: Tables, engine: Engine, computed: Computed
) -> None:
    opened(tmp_path, tables, engine).read(0, 90 * MINUTE)
    for wanted in (features(Key.latest), features(Ask.base, Key.total)):
        assert len(opened(tmp_path, tables, engine, wanted).read(9, 80 * MINUTE)) == 79
    assert len(computed) == 1


def test_a_feature_of_another_definition_is_another(
    tmp_path: Path, tables: Tables, engine: Engine, computed: Computed
) -> None:
    opened(tmp_path, tables, engine).read(0, 9 * MINUTE)

    class Key(ms.FeatureView, key=Event.key):
        total = ms.sum(Event.value, window=ms.hours(2))
        latest = ms.last(Event.text)
        busy = ms.count(window=ms.minutes(5)) > 3

    opened(tmp_path, tables, engine, features(Key, Ask.base)).read(0, 9 * MINUTE)
    assert computed[1:] == [("Key.total", "Key.busy")]


def test_a_part_of_an_expression_defines_it(
    tmp_path: Path, tables: Tables, engine: Engine, computed: Computed
) -> None:
    for window in (ms.hours(1), ms.hours(2)):

        class Key(ms.FeatureView, key=Event.key):
            total = ms.sum(Event.value, window=window)

        opened(tmp_path, tables, engine, features(Key.total - Ask.base)).read(0, 9 * MINUTE)
    assert computed == [("Key.total - Ask.base",)] * 2


def test_live_rows_leave_what_was_computed_and_more_history_of_its_source_does_not(
    tmp_path: Path, tables: Tables, engine: Engine, computed: Computed
) -> None:
    backfill = opened(tmp_path, tables, engine)
    before = backfill.read(0, 50 * MINUTE)
    tables.add([event(100, LIVE)], 1)
    check_equal(before, backfill.read(0, 50 * MINUTE))
    assert len(computed) == 1
    tables.add([event(3, 100)], 2)
    assert backfill.read(0, 50 * MINUTE).columns["Key.total"][4] == 3.0 * 2
    assert computed[1:] == [("Key.total", "Key.latest", "Key.busy")]


def test_short_stretches_that_miss_the_same_are_computed_together(
    tmp_path: Path, tables: Tables, engine: Engine, computed: Computed
) -> None:
    some = opened(tmp_path, tables, engine, features(Ask.base, Key.total))
    for minute in range(0, 90, 10):
        some.read(minute * MINUTE, (minute + 10) * MINUTE)
    del computed[:]
    opened(tmp_path, tables, engine).read(5 * MINUTE, 75 * MINUTE)
    assert computed == [("Key.latest", "Key.busy")]


def test_a_long_stretch_is_cut_where_it_has_too_many_requests(
    tmp_path: Path, tables: Tables, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = opened(tmp_path, tables, engine).read(0, 99 * MINUTE)
    monkeypatch.setattr(backfills, "STRETCH", 30)
    cut = Backfill(tmp_path / "cut", FEATURES, "id", tables, engine)
    check_equal(whole, cut.read(0, 99 * MINUTE))
    assert len([*(tmp_path / "cut").rglob("*.parquet")]) == 2 * 4


def test_progress_is_told_in_stretches(
    tmp_path: Path, tables: Tables, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfills, "STRETCH", 30)
    told: list[tuple[float, int]] = []
    done = opened(tmp_path, tables, engine).extend(0, 99 * MINUTE, lambda *at: told.append(at))
    assert told == sorted(told) and told[-1] == (4, 4) and len(told) > 4
    assert done == dict.fromkeys(FEATURES.names, 99)
    assert opened(tmp_path, tables, engine).extend(0, 99 * MINUTE) == {}


def test_a_request_that_came_later_leaves_the_others_in_their_places(
    tmp_path: Path, tables: Tables, engine: Engine
) -> None:
    first = opened(tmp_path, tables, engine, features(Ask.base)).read(0, 90 * MINUTE)
    add_requests(tables, range(5, 6), LIVE)
    rows = opened(tmp_path, tables, engine).read(0, 90 * MINUTE)
    assert rows.ids.tolist() == first.ids.tolist()
    check_equal(rows, opened(tmp_path, tables, engine).compute(rows.ids, rows.at))


def test_requests_of_a_table_that_was_made_anew_are_listed_again(
    tmp_path: Path, tables: Tables, engine: Engine
) -> None:
    opened(tmp_path, tables, engine, features(Ask.base)).read(0, 90 * MINUTE)
    shutil.rmtree(tmp_path / "tables" / "Ask")
    add_requests(tables, range(99, -1, -1), 0)
    rows = opened(tmp_path, tables, engine).read(0, 90 * MINUTE)
    assert rows.ids[:2].tolist() == ["r000", "r001"]
    check_equal(rows, opened(tmp_path, tables, engine).compute(rows.ids, rows.at))


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def replace_by_foreign(file: Path) -> None:
    pq.write_table(pq.ParquetFile(file).read().replace_schema_metadata(None), file)


def replace_by_a_sibling(file: Path) -> None:
    shutil.copy(next(f for f in sorted(file.parent.glob("*.parquet")) if f != file), file)


DAMAGES = [cut_short, replace_by_foreign, replace_by_a_sibling]


@pytest.mark.parametrize("pattern", ["*0.parquet", "*.*.parquet"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_damaged_or_foreign_file_is_made_anew(
    tmp_path: Path,
    tables: Tables,
    engine: Engine,
    computed: Computed,
    pattern: str,
    damage: Callable[[Path], None],
) -> None:
    before = opened(tmp_path, tables, engine).read(0, 90 * MINUTE)
    (file,) = (tmp_path / "features").rglob(pattern)
    damage(file)
    check_equal(before, opened(tmp_path, tables, engine).read(0, 90 * MINUTE))
    assert len(computed) == 2
    assert len(list((tmp_path / "features").rglob("*.parquet"))) == 2


def test_whatever_bit_of_a_file_flips_the_rows_are_the_same(
    tmp_path: Path, tables: Tables, engine: Engine
) -> None:
    before, chance = opened(tmp_path, tables, engine).read(0, 90 * MINUTE), random.Random(5)
    for _ in range(60):
        file = chance.choice(sorted((tmp_path / "features").rglob("*.parquet")))
        content = bytearray(file.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
        check_equal(before, opened(tmp_path, tables, engine).read(0, 90 * MINUTE))


def test_a_file_says_what_it_holds(tmp_path: Path, tables: Tables, engine: Engine) -> None:
    opened(tmp_path, tables, engine).read(0, 9 * MINUTE)
    (file,) = (tmp_path / "features").rglob("*.*.parquet")
    schema = pq.read_schema(file)
    about = json.loads(schema.metadata[b"mainspring"])
    assert schema.names == [*FEATURES.names] and {*about["keys"]} == {*FEATURES.names}
    assert (about["rows"], about["from"], about["to"]) == (9, 0, 9 * MINUTE)
    assert about["definitions"]["Key.latest"]["value"]["op"] == "last"
    assert len(about["hash"]) == 64


def test_the_same_rows_have_the_same_hash_in_every_home_and_however_they_were_computed(
    tmp_path: Path, tables: Tables, engine: Engine
) -> None:
    whole = opened(tmp_path, tables, engine)
    there = Backfill(tmp_path / "b", FEATURES, "id", filled(tmp_path / "others"), engine)
    for minute in range(90, 0, -9):
        there.read(minute * MINUTE, (minute + 9) * MINUTE)
    assert whole.content(0, 90 * MINUTE) == there.content(0, 90 * MINUTE)
    assert whole.content(0, 90 * MINUTE)[0] == 90
    assert whole.content(0, 90 * MINUTE)[1] != whole.content(0, 89 * MINUTE)[1]


LIFE = """
tables, engine = test.Tables(folder / "tables"), test.connect_engine()
test.opened(folder, tables, engine).read(0, test.MINUTE)
ready()
for minute in range(0, 90):
    test.opened(folder, tables, engine, test.SETS[minute % 4]).read(0, minute * test.MINUTE)
"""
IMPORTS = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from tests.features import test_backfill as test
folder = Path(sys.argv[4])
"""


def test_kill_9_leaves_nothing_half_done(
    tmp_path: Path, tables: Tables, engine: Engine, repository: Path
) -> None:
    moments = random.Random(4)
    with Mortal(IMPORTS, LIFE, str(repository), str(tmp_path)) as computing:
        lives = [computing.live(moments.uniform(0.01, 0.3)) for _ in range(8)]
    assert not all(lives) and len([*(tmp_path / "features").glob("*/*_*.parquet")]) > 2
    rows = opened(tmp_path, tables, engine).read(0, 90 * MINUTE)
    check_equal(rows, Backfill(tmp_path / "b", FEATURES, "id", tables, engine).read(0, 90 * MINUTE))
    assert {path.suffix for path in (tmp_path / "features").glob("*/*_*")} == {".parquet"}


def test_a_file_that_a_kill_left_half_written_is_not_read(
    tmp_path: Path, tables: Tables, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(rows: pa.Table, file: Any, **_: Any) -> None:
        file.write(b"PAR1 and no more")
        raise KeyboardInterrupt

    backfill = opened(tmp_path, tables, engine)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pq, "write_table", killed)
        backfill.read(0, 9 * MINUTE)
    assert [path.suffix for path in tmp_path.rglob("features/*/*_*")] == [".partial"]
    assert len(backfill.read(0, 9 * MINUTE)) == 9
    assert [path.suffix for path in tmp_path.rglob("features/*/*_*")] == [".parquet"] * 2


def test_of_several_that_want_the_same_rows_one_computes(
    tmp_path: Path, tables: Tables, engine: Engine, computed: Computed
) -> None:
    read: list[Rows] = []

    def work() -> None:
        read.append(opened(tmp_path, tables, engine).read(0, 90 * MINUTE))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(computed), [len(rows) for rows in read]) == (1, [90] * 4)


def test_without_requests_there_are_no_rows(tmp_path: Path, engine: Engine) -> None:
    rows = opened(tmp_path, Tables(tmp_path / "none"), engine).read(0, 9 * MINUTE)
    kinds = [str(rows.columns[name].dtype) for name in ("Key.total", "Key.latest", "base")]
    assert (len(rows), kinds) == (0, ["float64", "object", "float64"])
