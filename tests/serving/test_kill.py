"""kill -9 of the serving process: what was acknowledged is there, and once."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import sleep
from typing import Any

from mainspring.features.online import OnlineFeatures
from mainspring.features.view import FeatureView
from mainspring.graph import Graph
from mainspring.serving.server import listen
from mainspring.serving.service import Service
from mainspring.sources.home import Home
from tests.crash import Mortal
from tests.serving.conftest import SHOP, event, logged, payment, until

IMPORTS = """
import sys
from pathlib import Path
import lightgbm, skops.io, sklearn.linear_model, sklearn.pipeline, threadpoolctl
import mainspring.engines.duckdb, mainspring.stores.sqlalchemy, mainspring.stores.deltalake
import mainspring.stores.lmdb
from mainspring.serving.server import serve
from mainspring.serving.service import Service
from mainspring.sources.home import Home
from mainspring.system import load
"""
PROGRAM = """
shop, folder, data, port = sys.argv[-4:]
home = Home.open(Path(folder), Path(data))
service = Service(load(Path(shop)).graph, home, home.clock())
ready()
serve(service, port=int(port))
"""


def free_port() -> int:
    with listen("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_five_kills_under_load_lose_and_double_nothing(home: Home, shop: Graph) -> None:
    port, stop = free_port(), threading.Event()
    start = len(logged(home.folder))
    arguments = [str(SHOP), str(home.folder), str(home.data), str(port)]
    with Mortal(IMPORTS, PROGRAM, *arguments) as server, ThreadPoolExecutor(4) as crowd:
        clients = [crowd.submit(press, port, stop, f"c{n}", home.clock().now()) for n in range(4)]
        for seconds in (0.5, 0.6, 0.4, 0.7, 0.5):
            assert not server.live(seconds)
        stop.set()
        acknowledged = [c.result() for c in clients]
    records = [r for _, r in logged(home.folder)[start:]]
    answers = [r.answer["request_id"] for r in records if r.answer]
    events = {r.values[0] for r in records if not r.answer}
    predicted = {answer for some, _ in acknowledged for answer in some}
    taken = {name for _, some in acknowledged for name in some}
    assert len(predicted) > 30 and len(taken) > 30
    assert predicted <= set(answers) and len(set(answers)) == len(answers)
    assert taken <= events
    assert payments_of(shop, home, "killed") == len(events)


def press(port: int, stop: threading.Event, name: str, now: int) -> tuple[set[str], set[str]]:
    """What was acknowledged to a client that asks and tells, and tells again after an error."""
    answers: set[str] = set()
    events: set[str] = set()
    number = 0
    while not stop.is_set():
        told = {**event(f"{name}-{number}", now), "user": "killed"}
        if said := post(port, "/predict/payment", payment(f"{name}-{number}-asked")):
            answers.add(said["request_id"])
        if post(port, "/events/Payment", told):
            events.add(told["payment_id"])
            number += 1
    return answers, events


def post(port: int, path: str, sent: Any) -> Any:
    """The answer, or None if the server is not there."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("POST", path, json.dumps(sent))
            response = connection.getresponse()
            found = response.read()
    except (OSError, http.client.HTTPException):
        sleep(0.02)
        return None
    assert response.status == 200, found
    return json.loads(found)


def payments_of(shop: Graph, home: Home, user: str) -> float:
    """How many payments of a user the features have after a last start."""
    service = Service(shop, home, home.clock())
    try:
        (asked,) = service.accept("payment", {**payment("last"), "user": user})
        found: float = service.score([asked]).features["User.payments_7d"][0]
        return found
    finally:
        service.close()


def test_sigterm_applies_what_was_taken_and_ends(home: Home, shop: Graph, tmp_path: Path) -> None:
    port = free_port()
    program = f"{IMPORTS}\nready = lambda: None\n{PROGRAM}"
    arguments = [str(SHOP), str(home.folder), str(home.data), str(port)]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments])
    now = home.clock().now()
    until(lambda: post(port, "/events/Payment", event("first", now)) is not None, 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM
    with closing(home.online()) as store:
        applied = OnlineFeatures.of(store, shop.of_kind(FeatureView)).applied()
    assert applied.offset == len(logged(home.folder)) >= 1
