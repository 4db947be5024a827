"""Hand-over: what is built from files and the folded log goes on with the rest of the log."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mainspring.clock import VirtualClock
from mainspring.engines.urls import connect_engine
from mainspring.errors import NotMaterialised
from mainspring.features.materialise import materialise
from mainspring.features.point_in_time import point_in_time
from mainspring.features.stream import Stream, first_arrivals
from mainspring.sources.fold import fold
from mainspring.sources.log import Log
from mainspring.sources.record import Numbered, encode, rows_of
from mainspring.sources.table import LIVE, OFFSET, Table
from mainspring.stores.urls import connect_tables
from tests.crash import Mortal
from tests.features.test_applier_kill import opened
from tests.features.test_materialise import Slicing
from tests.features.torrent import FEATURES, SOURCES, Torrent, count

START = 1_767_225_600_000_000
TORRENT = Torrent(6_000)
FILED, FOLDED = 2_000, 4_000
"""The first events came in files, those up to the second number are folded; the others wait."""


def arrival(number: int) -> int:
    """When an event arrives: many together, three minutes after those before."""
    return START + number // 50 * 180_000_000


def records() -> list[Numbered]:
    """All events; those of the log have its offsets, those of files negative ones."""
    return [
        (number - FILED, TORRENT.records(number, 1, arrival(number))[0])
        for number in range(TORRENT.events)
    ]


def prepare(folder: Path) -> None:
    """Writes the tables, as far as they are folded, and the whole log."""
    store, everything = connect_tables(f"file://{folder / 'tables'}"), records()
    filed = once(everything[:FILED])
    for source in SOURCES.values():
        rows = rows_of(source, filed)
        offsets = pa.array(np.asarray(rows[OFFSET]) - LIVE + FILED)  # from 0 on
        rows = rows.set_column(rows.column_names.index(OFFSET), OFFSET, offsets)
        Table.of(store, source).append(rows.to_batches(), ("files", 0))
    fold_with(store, everything[FILED:FOLDED], once(everything[:FOLDED]))
    with Log(folder / "log") as log:
        for _, together in groupby(everything[FILED:], lambda numbered: numbered[1].arrival):
            log.append([encode(record) for _, record in together], sync=False)


def fold_with(store: Any, moved: Sequence[Numbered], fresh: Sequence[Numbered]) -> None:
    offsets = {offset for offset, _ in fresh}
    fold(moved, SOURCES, store, lambda batch: [n for n in batch if n[0] in offsets])


def once(some: Sequence[Numbered]) -> list[Numbered]:
    """Records without the clicks that were sent before."""
    sent, kept = set[str](), list[Numbered]()
    for offset, record in some:
        key = str(record.values[0]) if record.source == "Click" else f"order {offset}"
        if key not in sent:
            kept.append((offset, record))
        sent.add(key)
    return kept


def build(folder: Path) -> None:
    """Builds the store from the tables, a few rows at a time."""
    tables = partial(Table.of, connect_tables(f"file://{folder / 'tables'}"))
    slicing: Any = Slicing(connect_engine(), 60)
    with opened(folder) as online:
        materialise(online, tables, slicing, arrival(FOLDED), FOLDED - FILED)


def go_on(folder: Path) -> None:
    """Opens the stream, which applies what the store does not have, and compares."""
    everything, request = records(), TORRENT.request()
    clock = VirtualClock(arrival(TORRENT.events) + 1)
    with opened(folder) as online, Log(folder / "log") as log:
        stream = Stream(log, online, SOURCES, clock)
        at, served = online.read(FEATURES, request, stream.known_at())
        store = connect_tables(f"file://{folder / 'tables'}")
        fresh = first_arrivals(everything[FOLDED:], SOURCES, online)
    fold_with(store, everything[FOLDED:], fresh)
    times, tables = np.full(len(request["user"]), at), partial(Table.of, store)
    for name, expected in point_in_time(FEATURES, request, times, tables, connect_engine()).items():
        np.testing.assert_array_equal(served[name], expected, err_msg=name)
    count(everything, at).check(request, served)


IMPORTS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.features.test_handover import build
"""
LIFE = "ready(); build(Path(sys.argv[4]))"


def test_it_has_no_gap_and_no_double_count_however_often_building_was_killed(
    tmp_path: Path, repository: Path
) -> None:
    prepare(tmp_path)
    chance, killed = random.Random(11), 0
    with Mortal(IMPORTS, LIFE, str(repository), str(tmp_path)) as building:
        for _ in range(8):
            if not building.live(chance.uniform(0.01, 0.4)):
                killed += 1
                check_refused_unless_whole(tmp_path)
        assert building.live()
    assert killed
    go_on(tmp_path)


def check_refused_unless_whole(folder: Path) -> None:
    """A store that is half-built has no stream; one that is empty was not begun."""
    with opened(folder) as online, Log(folder / "log") as log:
        begun = online.store.read([b"\0applied"]) != [None]
        if begun and not online.materialised:
            with pytest.raises(NotMaterialised, match="half-built"):
                Stream(log, online, SOURCES, VirtualClock(START))


def test_a_stream_that_is_killed_after_it_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    build(tmp_path)
    monkeypatch.setattr("mainspring.features.stream.BATCH", 170)  # cuts what arrived together
    with opened(tmp_path) as online, Log(tmp_path / "log") as log:
        write = online.store.write
        for batches in (1, 3):
            left = iter(range(batches))

            def until_killed(items: Any, left: Any = left) -> None:
                next(left)
                write(items)

            with monkeypatch.context() as patched:
                patched.setattr(online.store, "write", until_killed)
                with pytest.raises(StopIteration):
                    Stream(log, online, SOURCES, VirtualClock(START))
        assert FOLDED - FILED < online.applied().offset < log.end
    go_on(tmp_path)
