"""The feature engine beside others, each measurement in a process of its own.

    python benchmarks/features.py [SECTION …] [--scale 0.01] [--folder FOLDER] [--chart FILE]

    offline      10M events of users, some far busier than others, 1M requests, four windows of
                 count, sum, mean, min, max and last 5: beside a bare sort and the kernel, DuckDB's
                 window frames, and Polars
    feast        the latest of 5M rows as of 1M requests: beside Feast's get_historical_features
    growth       the offline join of 1M to 30M events, as a chart
    online       10 features of 1 and of 100 entities from 3 views: beside bare LMDB, and Feast with
                 SQLite; and batches of 1,000 events applied
    materialise  keys and rows a second
    freshness    from an acknowledged event to a readable feature, at 5,000 events a second

Peers are installed from the package index, each into an environment of its own below the folder.
Where two systems compute the same values, a sample of them is compared, and a difference is an
error. What takes 20 minutes or 14 GB is stopped, and the table says so. × is the multiple of a
table's first row.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.feature_engine.chart import draw
from benchmarks.feature_engine.measuring import Figures, environment, in_child
from benchmarks.feature_engine.table import Table

CHART = Path(__file__).parents[1] / "docs" / "features_growth.svg"
GROWTH = (1_000_000, 3_000_000, 10_000_000, 30_000_000)
SPENT = ("seconds", "CPU s", "peak MB")
BESIDE = ("seconds", "peak MB")
LATENCY = ("p50 µs", "p99 µs")


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how large everything is.

    Attributes:
        folder: where data and the peers' environments are; a later run uses them again.
        scale: what all sizes are multiplied by.
        best_of: of how many runs each join of ours is the fastest.
    """

    folder: Path
    scale: float
    best_of: int
    chart: Path

    def size(self, full: int) -> int:
        """A size at this scale."""
        return max(int(full * self.scale), 1000)

    def data(self, function: str, **sizes: Any) -> str:
        """The folder of a workload, which is written when it is not there."""
        names = [function.partition(":")[0], *(f"{name}{size}" for name, size in sizes.items())]
        folder = str(self.folder / "-".join(names))
        in_child(function, folder=folder, **sizes)
        return folder

    @contextmanager
    def home(self) -> Iterator[str]:
        """An empty folder for stores, on the disk where the data is."""
        with tempfile.TemporaryDirectory(dir=self.folder) as home:
            yield home

    def feast(self) -> Path:
        """Feast's Python."""
        return environment(self.folder, "feast", "feast[duckdb]")

    def polars(self) -> Path:
        """Polars' Python."""
        return environment(self.folder, "polars", "polars", "numpy")


def _clicks(bench: Bench, events: int, requests: int | None = None) -> str:
    tenth = events // 10
    return bench.data("clicks:write", events=events, requests=requests or tenth, users=tenth)


def offline(bench: Bench) -> None:
    events = bench.size(10_000_000)
    folder = _clicks(bench, events)
    title = f"Offline: {events:,} events, {events // 10:,} requests, 4 windows of 6 aggregates"
    table = Table(title, *SPENT, beside=BESIDE)
    best: Figures = {"best_of": bench.best_of, "folder": folder}
    table.add("Mainspring", "offline:ours", **best)
    table.add("bare sort, and the kernel on all rows", "offline:bare", same="bare", **best)
    table.add("window frames of DuckDB", "in_duckdb:frames", same="duckdb", folder=folder)
    python = bench.polars()
    table.add("rolling of Polars", "in_polars:rolling", python, same="polars", folder=folder)


def feast(bench: Bench) -> None:
    rows = bench.size(5_000_000)
    _feast(bench, "10 rows a user", rows, rows // 10)
    _feast(bench, "100 rows a user", rows, rows // 100)
    _feast(bench, "some users far busier than others", rows // 10, rows // 100, skew=True)


def _feast(bench: Bench, told: str, rows: int, users: int, skew: bool = False) -> None:
    sizes = {"rows": rows, "requests": rows // 5, "users": users, "skew": skew}
    folder, python = bench.data("profiles:write", **sizes), bench.feast()
    title = f"The latest of {rows:,} rows as of {rows // 5:,} requests, {told}"
    table = Table(title, *SPENT, beside=BESIDE)
    table.add("Mainspring", "profiles:ours", best_of=bench.best_of, folder=folder)
    for store in ("duckdb", "dask"):
        joined: Figures = {"same": store, "folder": folder, "offline": store}
        table.add(f"Feast's {store} store", "in_feast:historical", python, **joined)


def growth(bench: Bench) -> None:
    requests, points = bench.size(500_000), list[Figures]()
    table = Table(f"Growth, {requests:,} requests", *SPENT, "answers MB")
    for events in map(bench.size, GROWTH):
        folder = _clicks(bench, events, requests)
        found = table.add(f"{events:,} events", "offline:ours", folder=folder)
        points += [{"events": events, **found}] if found else []
    draw(points, bench.chart)
    print(f"drawn in {bench.chart}")


def online(bench: Bench) -> None:
    events, users, items = map(bench.size, (1_000_000, 50_000, 10_000))
    folder = bench.data("clicks:write", events=events, requests=10, users=users, items=items)
    sizes: Figures = {"folder": folder, "users": users, "items": items}
    with bench.home() as home:
        in_child("online:prepare", home=home, **sizes)
        table = Table("Ready values written, keys of 3 views", "seconds", "CPU s", "keys", "keys/s")
        table.add("bare LMDB", "in_lmdb:write", home=home)
        table.add("Feast's SQLite store", "in_feast:online_write", bench.feast(), home=home)
        _reads(bench, home, entities=1, reads=2000)
        _reads(bench, home, entities=100, reads=800)
    table = Table("Events applied, 1,000 a batch", "seconds", "CPU s", "rows", "rows/CPU s")
    for views in (1, 3):
        with bench.home() as home:
            batches = bench.size(300_000) // 1000
            sizes |= {"home": home, "views": views, "batches": batches}
            table.add(f"Mainspring, views: {views}", "online:apply", **sizes)


def _reads(bench: Bench, home: str, **reads: int) -> None:
    title = f"Online: 10 features from 3 views, entities: {reads['entities']}"
    table, mine = Table(title, *LATENCY, "reads", beside=LATENCY), Figures(home=home, **reads)
    table.add("Mainspring, just updated", "online:read", idle=False, **mine)
    table.add("Mainspring, an hour later", "online:read", idle=True, **mine)
    table.add("bare LMDB", "in_lmdb:read", named=True, same="bare", **mine)
    table.add("bare LMDB, names of keys ready", "in_lmdb:read", named=False, same="bare", **mine)
    fewer: Figures = {**mine, "reads": reads["reads"] // 8}
    table.add("Feast's SQLite store", "in_feast:online_read", bench.feast(), same="feast", **fewer)


def materialise(bench: Bench) -> None:
    columns = (*SPENT, "rows", "rows/s", "keys", "keys/s")
    table, users = Table("Materialised, 4 features of a view", *columns), bench.size(1_000_000)
    once = {"events": users, "requests": 10, "users": users, "once": True}
    folders = {
        "one row a key": bench.data("clicks:write", **once),
        "some keys far busier than others": _clicks(bench, bench.size(10_000_000)),
    }
    for name, folder in folders.items():
        with bench.home() as home:
            table.add(name, "online:materialised", folder=folder, home=home)


def freshness(bench: Bench) -> None:
    columns = ("known p50", "known p99", "read p50", "read p99", "events/s", "CPU s")
    table = Table("Freshness in ms, from an append's return", *columns)
    rate: Figures = {"seconds": max(20 * bench.scale, 2), "per_second": 5000}
    for at_once in (50, 1):
        with bench.home() as home:
            name = f"5,000 events a second, {at_once} an append"
            table.add(name, "freshness:freshness", home=home, at_once=at_once, **rate)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "offline": offline,
    "feast": feast,
    "growth": growth,
    "online": online,
    "materialise": materialise,
    "freshness": freshness,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", default="all", choices=["all", *SECTIONS])
    parser.add_argument("--scale", type=float, default=1.0, help="what sizes are multiplied by")
    parser.add_argument("--folder", type=Path, help="keeps data and the peers' environments here")
    parser.add_argument("--best-of", type=int, default=3, help="runs of each join of ours")
    parser.add_argument("--chart", type=Path, default=CHART, help="an SVG or PNG file")
    given = parser.parse_args()
    sections = [s for s in SECTIONS if s in given.sections or "all" in given.sections]
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as empty:
        folder = (given.folder or Path(empty)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for section in sections:
            SECTIONS[section](Bench(folder, given.scale, given.best_of, given.chart))


if __name__ == "__main__":
    main()
