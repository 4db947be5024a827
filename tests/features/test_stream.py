from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

import mainspring as ms
from mainspring import Column, hours, minutes
from mainspring.clock import Clock, SystemClock, VirtualClock
from mainspring.engines.urls import connect_engine
from mainspring.errors import DiskFull, NotMaterialised, OnlineAhead
from mainspring.features import stream as streams
from mainspring.features.feature_set import resolve
from mainspring.features.online import OnlineFeatures
from mainspring.features.point_in_time import point_in_time
from mainspring.features.stream import Stream, first_arrivals
from mainspring.sources.log import Log
from mainspring.sources.record import Numbered, Record, decode, rows_of
from mainspring.sources.source import Source
from mainspring.sources.table import Table
from mainspring.stores.urls import connect_online, connect_tables
from mainspring.vectors import Vector, from_values
from tests.crash import Mortal


class Payment(ms.Source, url="payments.parquet"):
    payment_id: Column[str] = ms.column(unique=True)
    card: Column[str]
    amount: Column[float | None]
    paid_at: Column[datetime] = ms.event_time()


class Ask(ms.Source, url="asks.parquet"):
    ask_id: Column[str | None] = ms.column(unique=True)
    card: Column[str]
    asked_at: Column[datetime] = ms.event_time()


class Card(ms.FeatureView, key=Payment.card):
    payments = ms.count()
    total = ms.sum(Payment.amount)
    mean_1h = ms.mean(Payment.amount, window=hours(1))
    last_id = ms.last(Payment.payment_id, window=minutes(5))
    greatest = ms.max(Payment.amount, window=minutes(1), hop=None)


FEATURES = resolve([Card], Ask, "the test", "here")
SOURCES: dict[str, type[Source]] = {"Payment": Payment, "Ask": Ask}
START = 1_767_225_600_000_000


@contextmanager
def opened(folder: Path, clock: Clock) -> Generator[Stream]:
    """The stream of a folder, left as a kill would leave it."""
    log, store = Log(folder / "log"), connect_online(f"lmdb://{folder / 'online'}")
    try:
        yield Stream(log, OnlineFeatures.of(store, [Card]), SOURCES, clock)
    finally:
        store.close()
        log.close()


def payment(id: str, card: str, amount: float | None, paid_at: int, arrival: int = 0) -> Record:
    return Record("Payment", arrival, [id, card, amount, paid_at])


def append(stream: Stream, *payments: Record) -> int:
    """Appends payments at the arrival that the stream gives them."""
    return stream.append(lambda at: [Record(p.source, at, p.values) for p in payments])


def request(card: str) -> dict[str, Vector]:
    return {"card": from_values([card], "text")}


def read(stream: Stream, card: str) -> tuple[int, dict[str, Any]]:
    """What a request for a card would get now."""
    online = stream._online
    at, values = online.read(FEATURES, request(card), stream.known_at())
    return at, {name.removeprefix("Card."): vector[0] for name, vector in values.items()}


def logged(folder: Path) -> list[Numbered]:
    with Log(folder / "log") as log:
        return [(offset, decode(data)) for offset, data in log.read(0, 10**9)]


def offline(
    folder: Path, records: Sequence[Numbered], asked: Sequence[tuple[int, str]]
) -> dict[str, Vector]:
    """The features of requests over rows of the log."""
    store = connect_tables(f"file://{folder / 'tables'}")
    Table.of(store, Payment).append(rows_of(Payment, records).to_batches(), ("log", 0))
    cards, at = from_values([c for _, c in asked], "text"), np.array([t for t, _ in asked])
    tables = lambda source: Table.of(store, source)  # noqa: E731
    return point_in_time(FEATURES, {"card": cards}, at, tables, connect_engine())


def check_equal(served: Sequence[dict[str, Any]], expected: dict[str, Vector]) -> None:
    for name, vector in expected.items():
        got = [values[name.removeprefix("Card.")] for values in served]
        if vector.dtype == object:
            assert got == vector.tolist()
        else:
            np.testing.assert_allclose(got, vector, rtol=1e-9, atol=1e-6)  # of a sum of 1e6


def test_reads_hold_their_time_back_to_the_first_row_not_yet_applied(tmp_path: Path) -> None:
    clock = VirtualClock(START)
    with opened(tmp_path, clock) as stream:
        append(stream, payment("p1", "c", 1.0, START))
        clock.move_to(START + 100)
        append(stream, payment("p2", "c", 2.0, START))
        assert (stream.behind, stream.known_at()) == (2, START)
        assert read(stream, "c")[1]["payments"] == 0
        assert stream.apply() == 2
        at, values = read(stream, "c")
        assert (at, values["total"]) == (START + 101, 3.0)


def test_a_row_that_arrives_at_exactly_the_time_of_a_read_is_not_counted(tmp_path: Path) -> None:
    clock = VirtualClock(START)
    with opened(tmp_path, clock) as stream:
        assert read(stream, "c")[0] == START
        append(stream, payment("p1", "c", 1.0, START - 9))
        at, values = read(stream, "c")
        assert (at, values["payments"]) == (START + 1, 0)
    assert [record.arrival for _, record in logged(tmp_path)] == [START + 1]


def test_the_known_time_never_goes_back_even_if_the_clock_does(tmp_path: Path) -> None:
    clock, known = VirtualClock(START), list[int]()
    with opened(tmp_path, clock) as stream:
        for step in (5, -9, 3, 0, -20, 40):
            clock.at += step
            known.append(stream.known_at())
            append(stream, payment(f"p{clock.at}", "c", 1.0, START))
            known.append(stream.known_at())
            stream.apply()
            known.append(stream.known_at())
    assert known == sorted(known)
    arrivals = [record.arrival for _, record in logged(tmp_path)]
    assert arrivals == sorted(set(arrivals))


@pytest.mark.parametrize("killed_after", [0, 1, 2, 9])
def test_rows_of_one_arrival_count_together_though_their_batch_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    monkeypatch.setattr(streams, "BATCH", 3)
    clock = VirtualClock(START)
    with opened(tmp_path, clock) as stream:
        append(stream, *(payment(f"p{n}", "c", 1.0, START - 9) for n in range(8)))
        for _ in range(killed_after):
            assert read(stream, "c")[1]["payments"] in (0, 8)
            stream.apply()
    with opened(tmp_path, clock) as stream:
        assert read(stream, "c")[1]["payments"] == 8


def test_the_same_key_sent_again_counts_once_across_batches_and_restarts(tmp_path: Path) -> None:
    first, again = payment("p1", "c", 1.0, START), payment("p1", "c", 5.0, START)
    clock = VirtualClock(START)
    for _ in range(2):
        with opened(tmp_path, clock) as stream:
            append(stream, first, again, payment("p2", "c", 2.0, START))
            append(stream, again)
            stream.apply()
            append(stream, again)
            stream.apply()
    with opened(tmp_path, clock) as stream:
        assert read(stream, "c")[1]["total"] == 3.0
        fresh = first_arrivals(logged_records(stream), SOURCES, stream._online)
    assert [offset for offset, _ in fresh] == [0, 2]


def test_rows_without_a_unique_value_and_of_other_sources_are_all_kept(tmp_path: Path) -> None:
    ask = Record("Ask", 0, [None, "c", START])
    with opened(tmp_path, VirtualClock(START)) as stream:
        append(stream, ask, ask, Record("Gone", 0, ["p1"]), payment("p1", "c", 1.0, START))
        assert stream.apply() == 4
        assert len(first_arrivals(logged_records(stream), SOURCES, stream._online)) == 4
        assert read(stream, "c")[1]["payments"] == 1


def logged_records(stream: Stream) -> list[Numbered]:
    return [(offset, decode(data)) for offset, data in stream._log.read(0, 10**9)]


def test_a_store_that_is_ahead_of_its_log_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, VirtualClock(START)) as stream:
        append(stream, payment("p1", "c", 1.0, START))
        stream.apply()
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(OnlineAhead, match=r"taken in 1 records, the log .* has 0"):
        with opened(tmp_path, VirtualClock(START)):
            pass


def test_a_half_built_store_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, VirtualClock(START)) as stream:
        stream._online.clear()
    with pytest.raises(NotMaterialised, match="half-built"):
        with opened(tmp_path, VirtualClock(START)):
            pass


def test_a_full_disk_leaves_what_waits_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(items: object) -> None:
        raise DiskFull(path="here", reason="the test")

    with opened(tmp_path, SystemClock()) as stream:
        with monkeypatch.context() as patched:
            patched.setattr(stream._online.store, "write", full)
            stream.start()
            append(stream, payment("p1", "c", 1.0, START))
            SystemClock().wait(0.05)
            assert (stream.behind, stream.alive) == (1, True)
        stream.close()
        assert read(stream, "c")[1]["payments"] == 1


def test_freshness_is_of_whole_appends_from_the_log_to_the_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BATCH", 2)
    seconds = iter([10.0, 10.25, 11.0, 12.0])
    monkeypatch.setattr("mainspring.features.freshness.monotonic", lambda: next(seconds))
    with opened(tmp_path, VirtualClock(START)) as stream:
        append(stream)
        append(stream, *(payment(f"p{n}", "c", 1.0, START) for n in range(3)))
        append(stream, payment("p3", "c", 1.0, START))
        stream.apply()
        assert (stream.applied, stream.freshness.events) == (2, 0)
        stream.apply()
        found = stream.freshness
        assert (stream.applied, found.events, found.seconds) == (4, 4, 3 * 2.0 + 1.75)
        assert [upto for bound, upto in found.upto() if bound in (1.0, 2.0)] == [0, 4]


def test_what_was_applied_on_opening_has_no_freshness(tmp_path: Path) -> None:
    with opened(tmp_path, VirtualClock(START)) as stream:
        append(stream, payment("p1", "c", 1.0, START))
    with opened(tmp_path, VirtualClock(START)) as stream:
        assert (stream.applied, stream.behind, stream.freshness.events) == (1, 0, 0)


def test_the_rows_of_a_busy_stream_gather(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "GATHER", 0.1)
    batches = list[float]()
    with opened(tmp_path, SystemClock()) as stream:
        apply = stream._online.apply

        def noted(*arguments: Any) -> None:
            batches.append(monotonic())
            apply(*arguments)

        monkeypatch.setattr(OnlineFeatures, "apply", lambda _, *arguments: noted(*arguments))
        stream.start()
        for number in range(100):
            append(stream, payment(f"p{number}", "c", 1.0, START))
            SystemClock().wait(0.003)
        stream.close()
        assert read(stream, "c")[1]["payments"] == 100
    assert len(batches) > 2
    assert np.diff(batches)[:-1].min() > 0.05  # closing waits for nothing


def test_every_concurrent_read_equals_the_offline_value_at_its_time(tmp_path: Path) -> None:
    served: list[tuple[int, str, int, dict[str, Any]]] = []
    with opened(tmp_path, SystemClock()) as stream:
        stopped = threading.Event()

        def write(number: int) -> None:
            chance = random.Random(number)
            for n in range(120):
                append(stream, *some_payments(chance, f"{number}-{n}", SystemClock().now()))
                SystemClock().wait(0.003)

        def serve(number: int) -> None:
            chance, known = random.Random(number), 0
            while not stopped.is_set():
                card = chance.choice("abc")
                before, (at, values) = stream.known_at(), read(stream, card)
                assert known <= before <= at
                known = before
                served.append((at, card, before, values))

        stream.start()
        readers = started(serve, range(3))
        for writer in started(write, range(2)):
            writer.join()
        stopped.set()
        for reader in readers:
            reader.join()
        stream.close()
        assert (stream.behind, stream.alive) == (0, False)
    chosen = served[:: len(served) // 1500 + 1]
    expected = offline(tmp_path, logged(tmp_path), [(at, card) for at, card, _, _ in chosen])
    assert len(set(expected["Card.payments"])) > 20
    check_equal([values for *_, values in chosen], expected)


def started(target: Callable[[int], None], numbers: range) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, args=(n,)) for n in numbers]
    for thread in threads:
        thread.start()
    return threads


def some_payments(chance: random.Random, id: str, now: int) -> list[Record]:
    """Up to four payments, some late, some of the future, some without an amount."""
    shift = (0, 0, -1_000_000, -400_000_000, 20_000)
    return [
        payment(
            f"{id}-{n}",
            chance.choice("abc"),
            chance.choice([None, chance.uniform(-1e6, 1e6)]),
            now + chance.choice(shift),
        )
        for n in range(chance.randint(1, 4))
    ]


IMPORTS = """
import os, sys
sys.path.insert(0, sys.argv[3])
from tests.features.test_stream import *
"""

LIFE = """
folder = Path(sys.argv[4])
acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
chance = random.Random(os.getpid())
with opened(folder, SystemClock()) as stream:
    stream.start()
    ready()
    while True:
        end = stream._log.end
        again = payment(f"p{chance.randrange(end + 1)}", "a", 1.0, START)
        fresh = payment(f"p{end}", chance.choice("abc"), 2.0, SystemClock().now())
        first = append(stream, fresh, again)
        os.write(acknowledged, b"%d\\n" % (first + 1))
"""


def test_kill_9_loses_nothing_acknowledged_and_counts_nothing_twice(
    tmp_path: Path, repository: Path
) -> None:
    moments = random.Random(3)
    with Mortal(IMPORTS, LIFE, str(repository), str(tmp_path)) as writer:
        for _ in range(10):
            writer.live(moments.uniform(0.005, 0.12))
    records = logged(tmp_path)
    acknowledged = [int(n) for n in (tmp_path / "acknowledged").read_text().split()]
    assert len(acknowledged) > 50 and max(acknowledged) < len(records)
    kept = {record.values[0]: (offset, record) for offset, record in reversed(records)}
    fresh = sorted(kept.values(), key=lambda numbered: numbered[0])
    with opened(tmp_path, SystemClock()) as stream:
        assert first_arrivals(records, SOURCES, stream._online) == fresh
        served = [read(stream, card) for card in "abc"]
    asked = [(at, card) for (at, _), card in zip(served, "abc", strict=True)]
    check_equal([values for _, values in served], offline(tmp_path, fresh, asked))
    assert sum(values["payments"] for _, values in served) == len(fresh)
