"""The demo's own parts, with both processes killed at random while traffic flows."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring import demonstration, operations
from mainspring.cli import prepare, processes
from mainspring.clock import SystemClock, parse_time
from mainspring.feed import Fed, feed
from mainspring.graph import Graph
from mainspring.processes import Processes
from mainspring.retraining.replay import replay
from mainspring.sources import record
from mainspring.sources.home import Home
from mainspring.sources.reader import Reader
from mainspring.sources.record import Record
from mainspring.system import load

BEGIN, LIVE, END = map(parse_time, ("2013-01-01", "2013-01-21", "2013-01-23"))
SECONDS = 30.0
KILLS = 10


class Survivor:
    """What a demo left behind whose processes were killed again and again."""

    def __init__(self, system: Graph, home: Home, folder: Path) -> None:
        self.system, self.home, self.folder = system, home, folder
        self.fed, self.kills, self.restarts = Fed(0), 0, 0

    def records(self) -> list[Record]:
        with Reader(self.home.path("log")) as log:
            return [record.decode(data) for _, data in log.read(10_000_000)]

    def column(self, source: str, name: str) -> list[str]:
        table = self.home.table(operations.source_named(self.system, source))
        rows = self.home.engine.select(f"SELECT {name} FROM rows", rows=table.files)
        values: list[str] = rows[name].to_pylist()
        return values

    def sent(self, file: str) -> set[str]:
        """The keys of the rows that were to be sent while the demo was live."""
        key = "report_id" if file == "weather" else "flight_id"
        scan = self.home.engine.scan(str(self.folder / "live" / f"{file}.parquet"))
        time = {"flights": "asked_at", "departures": "departed_at", "arrivals": "landed_at"}
        late = {"flights": 0, "departures": 2, "arrivals": 5, "weather": 9}[file] * 60_000_000
        at = f"epoch_us({time.get(file, 'observed_at')}) + {late}"
        found = self.home.engine.select(f"SELECT {key} AS k FROM {scan} WHERE {at} < {END}")
        return set(found["k"].to_pylist())


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survivor]:
    folder = tmp_path_factory.mktemp("demo")
    file = demonstration.set_up(folder)
    file.write_text(file.read_text().replace("at_least=20_000", "at_least=2_000"))
    system = load(file).graph
    home = Home.open(folder / ".mainspring" / system.name, folder)
    survivor = Survivor(system, home, folder)
    demonstration.part(system, home, folder, LIVE)
    operations.ingest_all(system, home, SystemClock())
    replay(system, home, BEGIN, LIVE)
    play(survivor, file)
    yield survivor
    home.close()


def play(survivor: Survivor, file: Path) -> None:
    """The live part, while a thread kills one process after another."""
    system, home = survivor.system, survivor.home
    speed = (END - LIVE) / 1e6 / SECONDS
    clock = home.accelerate(LIVE, speed, after=demonstration.A_WHILE)
    prepare(system, home)
    port, pids = free_port(), home.folder / "pids"
    running = processes(file, home.folder, "127.0.0.1", port)
    with demonstration.running(running, pids):
        demonstration.wait_until_ready(f"127.0.0.1:{port}", clock)
        home.accelerate(LIVE, speed)
        done = threading.Event()
        killer = threading.Thread(target=kill, args=(survivor, running, done))
        killer.start()
        live = survivor.folder / "live"
        address = f"127.0.0.1:{port}"
        survivor.fed = feed(system, live, home.engine, clock, address, since=LIVE, until=END)
        done.set()
        killer.join()
        demonstration.wait_until_folded(home, seconds=60)
    survivor.restarts = sum(process.started - 1 for process in running.processes)


def kill(survivor: Survivor, running: Processes, done: threading.Event) -> None:
    """Kills a random process at random moments, with SIGKILL."""
    chance = random.Random(7)
    while survivor.kills < KILLS and not done.wait(chance.uniform(1.0, 3.5)):
        victim = chance.choice(running.processes).running
        if victim is not None and victim.poll() is None:
            os.kill(victim.pid, signal.SIGKILL)
            survivor.kills += 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_processes_that_are_killed_are_replaced(survivor: Survivor) -> None:
    assert survivor.kills >= 5
    assert survivor.restarts >= survivor.kills - 1


def test_every_answered_request_is_in_the_log(survivor: Survivor) -> None:
    answered = {r.answer["id"] for r in survivor.records() if r.answer}
    assert len(answered) > 1000
    assert answered == survivor.sent("flights")


@pytest.mark.parametrize(
    ("source", "file", "key"),
    [
        ("Flight", "flights", "flight_id"),
        ("Departure", "departures", "flight_id"),
        ("Arrival", "arrivals", "flight_id"),
        ("Weather", "weather", "report_id"),
    ],
)
def test_every_row_that_was_sent_is_in_its_table_once(
    survivor: Survivor, source: str, file: str, key: str
) -> None:
    count = Counter(survivor.column(source, key))
    assert survivor.sent(file) <= count.keys()
    assert max(count.values()) == 1


def test_no_version_is_doubled_or_skipped(survivor: Survivor) -> None:
    with survivor.home.metadata.read() as snapshot:
        numbers = [row["number"] for row in snapshot.select("version")]
        steps = Counter(row["key"] for row in snapshot.select("step"))
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 1
    assert max(steps.values()) == 1


def test_served_features_equal_the_recomputed_ones(survivor: Survivor) -> None:
    found = operations.audit(
        survivor.system, survivor.home, "lateness", start=LIVE, end=END * 2, limit=10_000
    )
    assert found.requests > 1000
    assert [c.name for c in found.features if c.differ] == []
    assert found.missing == 0
