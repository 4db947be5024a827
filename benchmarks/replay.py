"""The replay of nine months of flights with weekly retraining on 120 days: seconds and memory."""

from __future__ import annotations

import os
import resource
import tempfile
import threading
import time
from pathlib import Path

from mainspring import demonstration, operations
from mainspring.clock import SystemClock, parse_time
from mainspring.retraining.replay import replay
from mainspring.sources.home import Home
from mainspring.system import load


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        file = demonstration.set_up(Path(name))
        system = load(file).graph
        home = Home.open(Path(name) / ".mainspring", Path(name), sync=False)
        end = parse_time("2013-10-01")
        demonstration.part(system, home, Path(name), end)
        fitting = Fitting()
        fitting.start()
        started = time.perf_counter()
        operations.ingest_all(system, home, SystemClock())
        ingested = time.perf_counter()
        done = replay(system, home, parse_time("2013-01-01"), end)
        ended = time.perf_counter()
        home.close()
    trainings = sum(h.kind == "trained" for h in done.timeline)
    print(f"history taken in  {ingested - started:6.1f} s")
    print(f"replay            {ended - ingested:6.1f} s")
    print(f"                  {trainings} trainings, {done.answers:,} answers")
    print(f"peak memory       {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:6.0f} MB")
    print(f"                  and {fitting.peak / 1024:.0f} MB in the processes that fit")


class Fitting(threading.Thread):
    """Watches the processes below this one: the largest sum of their resident memory, in kB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, sum(map(resident, below(os.getpid()))))
            time.sleep(0.05)


def below(process: int) -> list[int]:
    """The processes that a process started, and theirs."""
    try:
        found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [p for child in map(int, found) for p in (child, *below(child))]


def resident(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line), 0)


if __name__ == "__main__":
    main()
