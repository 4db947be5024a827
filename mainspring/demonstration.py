"""The demo: nine months of real flights replayed, then the rest of the year live."""

from __future__ import annotations

import runpy
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from mainspring.clock import Clock, SystemClock
from mainspring.errors import DemoMissing, ServerDidNotStart
from mainspring.graph import Graph
from mainspring.models.model import Model
from mainspring.monitoring.performance import measure
from mainspring.processes import Processes
from mainspring.retraining.loop import Loop
from mainspring.retraining.past import FOLDED
from mainspring.serving.endpoint import Endpoint
from mainspring.sources.home import Home
from mainspring.sources.reader import Reader
from mainspring.sources.source import Source
from mainspring.training.outcomes import outcomes

FOLDER = Path("mainspring-demo")
FILES = ("flights.py", "flights_data.py")
A_WHILE = 3600.0
"""Real seconds for which the fast clock stands still, unless it is started: once all is ready."""


def examples() -> Path:
    """The folder of the examples: in the package, or beside it in a checkout.

    Raises:
        DemoMissing: they are in neither.
    """
    package = Path(__file__).parent
    for folder in (package / "examples", package.parent / "examples"):
        if all((folder / name).exists() for name in FILES):
            return folder
    raise DemoMissing(folder=str(package))


def set_up(folder: Path) -> Path:
    """Copies the example and prepares its data, the whole year of it.

    Returns:
        The system file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(examples() / name, folder / name)
    fresh(folder / ".mainspring")
    whole = folder / "year"
    if not whole.exists():
        runpy.run_path(str(folder / "flights_data.py"))["prepare"](whole)
    return folder / "flights.py"


def part(system: Graph, home: Home, folder: Path, live: int) -> None:
    """Parts each source's file at the time when its rows become visible."""
    for source in system.of_kind(Source):
        schema, name = source.__schema__, Path(source.__schema__.url).name
        event = f'epoch_us("{schema.event.field}") + {schema.late_by}'
        for where, target in (
            (f"{event} < {live}", home.data / schema.url),
            (f"{event} >= {live}", folder / "live" / name),
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            rows = home.engine.select(
                f"SELECT * FROM {home.engine.scan(str(folder / 'year' / name))} WHERE {where}"
            )
            pq.write_table(rows, target)


def fresh(folder: Path) -> None:
    """Removes what an earlier run left in a home."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(processes: Processes, pids: Path) -> Generator[None]:
    """The processes, running beside this one while the block lasts."""
    thread = threading.Thread(target=processes.keep, args=(pids,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        processes.stopping.set()
        thread.join()


def wait_until_ready(address: str, clock: Clock, seconds: float = 60.0) -> None:
    """Waits until a server says that it is ready.

    Raises:
        ServerDidNotStart: it did not in time.
    """
    for _ in range(int(seconds / 0.1)):
        try:
            with urllib.request.urlopen(f"http://{address}/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            clock.wait(0.1)
    raise ServerDidNotStart(address=address, seconds=seconds)


def wait_until_folded(home: Home, seconds: float = 30.0) -> None:
    """Waits until the loop has moved everything of the log into the tables."""
    for _ in range(int(seconds / 0.2)):
        with home.metadata.read() as snapshot:
            folded = snapshot.one("cursor", name=FOLDED)
        with Reader(home.path("log"), folded["value"] if folded else 0) as rest:
            if not rest.read(1):
                return
        SystemClock().wait(0.2)


def wait_for_interrupt() -> None:
    """Waits for Ctrl-C."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def summary(system: Graph, home: Home, start: int, end: int) -> Iterator[str]:
    """What the answers of a stretch came to, all of them together: served against frozen."""
    loop, now = Loop(system, home, home.clock()), home.clock().now()
    for endpoint in system.of_kind(Endpoint):
        model, logged = endpoint.model, loop.answered(endpoint).read(start, end)
        if not isinstance(model, Model):
            continue
        known = outcomes(model.rows.label, start, end, now, home.table, home.engine)
        measured = {(m.metric, m.variant): m for m in measure(model.output, logged, known)}
        for metric in dict.fromkeys(name for name, _ in measured):
            values = (measured.get((metric, variant)) for variant in ("served", "frozen"))
            served, frozen = (f"{m.value:.4f}" if m else "-" for m in values)
            yield f"{endpoint.name} {metric:<20} served {served}   frozen {frozen}"
