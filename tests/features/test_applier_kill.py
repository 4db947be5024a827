"""kill -9 of what applies a stream: afterwards the tiles are those of a stream that was not."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import sleep

import numpy as np

from mainspring.clock import AcceleratedClock, SystemClock
from mainspring.engines.urls import connect_engine
from mainspring.features import stream as streams
from mainspring.features.online import OnlineFeatures
from mainspring.features.point_in_time import point_in_time
from mainspring.features.stream import Stream, first_arrivals
from mainspring.sources.fold import fold
from mainspring.sources.log import Log
from mainspring.sources.reader import Reader
from mainspring.sources.record import Numbered, decode
from mainspring.sources.table import Table
from mainspring.stores.urls import connect_online, connect_tables
from tests.crash import Mortal
from tests.features.torrent import FEATURES, SOURCES, VIEWS, Torrent, count

KILLS = int(os.environ.get("MAINSPRING_KILLS", "10"))
TORRENT = Torrent(int(os.environ.get("MAINSPRING_KILL_EVENTS", "50000")))
START, SPEED = 1_767_225_600_000_000, 1_800
BATCH, BEHIND = 300, 2_000
"""Records of a transaction, at most: with many of them kills hit some. And records that wait."""


@contextmanager
def opened(folder: Path) -> Generator[OnlineFeatures]:
    """The online features of a folder."""
    store = connect_online(f"lmdb://{folder / 'online'}")
    try:
        yield OnlineFeatures.of(store, VIEWS)
    finally:
        store.close()


def clock(began: int) -> AcceleratedClock:
    """A clock on which every second is half an hour, the same in each life."""
    return AcceleratedClock(START, began, SPEED)


def pour(folder: Path, began: int, ready: Callable[[], object]) -> None:
    """One life: it appends the events that the log does not have, and applies them."""
    streams.BATCH, chance = BATCH, random.Random(os.getpid())
    ready()
    with Log(folder / "log") as log, opened(folder) as online:
        stream = Stream(log, online, SOURCES, clock(began))
        stream.start()
        while log.end < TORRENT.events:
            stream.append(partial(TORRENT.records, log.end, chance.randint(1, 300)))
            while stream.behind > BEHIND:
                sleep(0.001)
        stream.close()


IMPORTS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.features.test_applier_kill import pour
"""
LIFE = "pour(Path(sys.argv[4]), int(sys.argv[5]), ready)"


def test_tiles_equal_the_oracle_after_the_applier_was_killed(
    tmp_path: Path, repository: Path
) -> None:
    began, chance = SystemClock().now(), random.Random(7)
    targets = sorted(chance.randrange(TORRENT.events * 9 // 10) for _ in range(KILLS))
    arguments = [str(repository), str(tmp_path), str(began)]
    with Mortal(IMPORTS, LIFE, *arguments) as applier, opened(tmp_path) as online:
        for target in targets:
            after = partial(reached, online, target)
            assert not applier.live(chance.uniform(0, 0.05), after)
        assert applier.live()
    check(tmp_path, clock(began).now())


def reached(online: OnlineFeatures, offset: int) -> None:
    """Waits until so much is applied; if it is already, the kill is one while it recovers."""
    while online.applied().offset < offset:
        sleep(0.001)


def check(folder: Path, known_at: int) -> None:
    """Compares what is read online with the join over the folded log, and with plain counts."""
    request = TORRENT.request()
    with opened(folder) as online:
        assert online.applied().offset == TORRENT.events
        at, served = online.read(FEATURES, request, known_at)
        store = connect_tables(f"file://{folder / 'tables'}")
        for records in chunks(folder):
            fold(records, SOURCES, store, partial(first_arrivals, sources=SOURCES, online=online))
    times = np.full(len(request["user"]), at)
    joined = point_in_time(FEATURES, request, times, partial(Table.of, store), connect_engine())
    for name, expected in joined.items():
        np.testing.assert_array_equal(served[name], expected, err_msg=name)
    counted = count((record for records in chunks(folder) for record in records), at)
    counted.check(request, served)


def chunks(folder: Path) -> Iterator[list[Numbered]]:
    """The records of the log, many at a time."""
    with Reader(folder / "log") as reader:
        while records := [(offset, decode(data)) for offset, data in reader.read(50_000)]:
            yield records
