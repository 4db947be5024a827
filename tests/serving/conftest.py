"""The shop of `shop.py`: two months of history, a champion, and a server of it."""

from __future__ import annotations

import json
import random
import shutil
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainspring.clock import SystemClock
from mainspring.features.materialise import materialise
from mainspring.features.online import OnlineFeatures
from mainspring.features.view import FeatureView
from mainspring.graph import Graph
from mainspring.retraining.replay import replay
from mainspring.serving.server import listen, server
from mainspring.serving.service import Service
from mainspring.sources.home import Home
from mainspring.sources.ingest import ingest
from mainspring.sources.reader import Reader
from mainspring.sources.record import Numbered, decode
from mainspring.sources.source import Source
from mainspring.system import load

SHOP = Path(__file__).parent / "shop.py"
BEGIN, DAYS = datetime(2024, 1, 1, tzinfo=UTC), 31


@pytest.fixture(scope="session")
def shop() -> Graph:
    """The system of `shop.py`."""
    return load(SHOP).graph


@pytest.fixture
def gate(shop: Graph) -> Iterator[threading.Event]:
    """Opens and closes the shop's function that waits."""
    event: threading.Event = sys.modules["mainspring_system_shop"].OPEN
    yield event
    event.set()


@pytest.fixture(scope="session")
def trained(shop: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the history, a champion and the features as of its end."""
    folder = tmp_path_factory.mktemp("shop")
    write_history(folder)
    with closing(Home.open(folder / "home", folder, sync=False)) as home:
        sources = shop.of_kind(Source)
        for source in sources:
            ingest(source, home.data, home.tables, home.engine, SystemClock())
        end = BEGIN + timedelta(days=DAYS)
        replay(shop, home, _us(BEGIN), _us(end))
        clock = home.accelerate(_us(end), 1.0)
        with closing(home.online()) as store:
            online = OnlineFeatures.of(store, shop.of_kind(FeatureView))
            materialise(online, home.table, home.engine, clock.now(), 0, sources)
    return folder / "home"


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Iterator[Home]:
    """A home of one's own."""
    with a_home(trained, tmp_path) as found:
        yield found


@contextmanager
def a_home(trained: Path, folder: Path) -> Generator[Home]:
    """A copy of the trained home."""
    shutil.copytree(trained, folder / "home")
    with closing(Home.open(folder / "home", trained.parent)) as found:
        yield found


def write_history(folder: Path) -> None:
    """Payments every hour; the dear ones are charged back more often."""
    chance = random.Random(5)
    payments, chargebacks = [], []
    for hour in range(24 * DAYS):
        paid = dict(payment(f"h{hour}", chance), paid_at=BEGIN + timedelta(hours=hour))
        payments.append(paid)
        if chance.random() < paid["amount"] / 1200:
            made = paid["paid_at"] + timedelta(hours=chance.uniform(1, 40))
            fee = chance.uniform(1, 9)
            chargebacks.append({"payment_id": paid["payment_id"], "fee": fee, "made_at": made})
    for name, rows in (("payments", payments), ("chargebacks", chargebacks)):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")


def payment(name: str, chance: random.Random | None = None) -> dict[str, Any]:
    """A payment without its time: a good request to each endpoint of the shop."""
    chance = chance or random.Random(name)
    return {
        "payment_id": name,
        "user": f"u{chance.randrange(20)}",
        "amount": round(chance.uniform(1, 999), 2),
        "items": chance.choice([None, 1, 2, 3]),
        "country": chance.choice(["NO", "SE"]),
        "express": chance.choice([None, True, False]),
        "note": None,
    }


def event(name: str, at: int) -> dict[str, Any]:
    """A payment that happened at a time in microseconds."""
    return {**payment(name), "paid_at": (EPOCH + timedelta(microseconds=at)).isoformat()}


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@dataclass
class Served:
    """A server that runs, and a client of it."""

    service: Service
    port: int
    client: httpx.Client

    def post(self, path: str, sent: Any) -> httpx.Response:
        return self.client.post(path, json=sent)

    def refused(self, path: str, sent: Any) -> tuple[int, str, str | None]:
        """The status, code and path of an error."""
        response = self.post(path, sent)
        error = response.json()["error"]
        assert error.keys() == {"code", "message", "path", "fix"} and error["message"]
        return response.status_code, error["code"], error["path"]


@contextmanager
def serving(system: Graph, home: Home) -> Generator[Served]:
    """The shop on a free port, in a thread."""
    service = Service(system, home, home.clock())
    with listen("127.0.0.1", 0) as listener:
        running, port = server(service), listener.getsockname()[1]
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: running.started)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield Served(service, port, client)
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def served(
    shop: Graph, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The shop, served to the tests of one file."""
    with a_home(trained, tmp_path_factory.mktemp("served")) as home, serving(shop, home) as found:
        yield found


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Waits until something holds."""
    for _ in range(int(seconds * 200)):
        if holds():
            return
        sleep(0.005)
    raise TimeoutError


def logged(home: Path) -> list[Numbered]:
    """Every record of a home's log."""
    with Reader(home / "log") as reader:
        return [(offset, decode(data)) for offset, data in reader.read(1_000_000)]


def lines(rows: list[Any]) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
