"""Feed: files played as live traffic, each row at the time when it becomes visible on the system's
clock.

Rows of a request source are asked at its endpoints, all others are sent as events. A batch that was
not acknowledged is sent again, so a killed server loses nothing.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.clock import Clock
from mainspring.engines.base import Engine
from mainspring.errors import FeedRefused
from mainspring.graph import Graph
from mainspring.serving.endpoint import Endpoint
from mainspring.sources.source import Schema, Source
from mainspring.vectors import Vector

SLICE = 600_000_000
"""How much of the system's time is sent in one go: whatever the delay, no row overtakes more."""

REQUESTS, EVENTS = 64, 1000
"""Rows in one request to predict, and in one post of events."""


@dataclass(slots=True)
class Line:
    """The rows of one source to play: where each is sent, when, and what; how many are sent."""

    path: str
    visible: Vector
    rows: pa.Table
    batch: int
    sent: int = 0


@dataclass(slots=True)
class Fed:
    """What was acknowledged so far."""

    at: int
    requests: int = 0
    events: int = 0
    retries: int = 0


def feed(
    system: Graph,
    folder: Path,
    engine: Engine,
    clock: Clock,
    address: str,
    *,
    since: int,
    until: int,
    told: Callable[[Fed], None] = lambda fed: None,
) -> Fed:
    """Plays the files in `folder` that have the names of the sources' files, from the clock's time
    on.

    Args:
        address: `host:port` of the server.
        since: where to begin; what has passed already is sent at once.
        until: when to stop, on the system's clock.
        told: is told after each round.

    Raises:
        FeedRefused: the server refused rows that it will never take.
    """
    fed = Fed(since)
    lines = list(_lines(system, folder, engine, fed.at, until))
    with closing(_Sender(address, clock)) as sender:
        while fed.at < until:
            upto = min(fed.at + SLICE, until)
            if clock.now() < upto:
                clock.wait(0.005)
                continue
            for line in lines:
                _send_due(line, upto, sender, fed)
            fed.at, fed.retries = upto, sender.retries
            told(fed)
    return fed


def _send_due(line: Line, upto: int, sender: _Sender, fed: Fed) -> None:
    """Sends the rows of a line that are due, in batches, each until it is acknowledged."""
    due = int(np.searchsorted(line.visible, upto))
    for first in range(line.sent, due, line.batch):
        last = min(first + line.batch, due)
        sender.send(line.path, _as_json(line.rows.slice(first, last - first)))
        _count(fed, line, last - first)
    line.sent = due


def _count(fed: Fed, line: Line, rows: int) -> None:
    if line.path.startswith("/predict"):
        fed.requests += rows
    else:
        fed.events += rows


def _lines(system: Graph, folder: Path, engine: Engine, start: int, until: int) -> Iterator[Line]:
    """Events first: in one round they are sent before the requests."""
    endpoints: dict[type[Source], Endpoint] = {
        e.feature_set.request: e for e in system.of_kind(Endpoint)
    }
    for source in sorted(system.of_kind(Source), key=lambda s: s in endpoints):
        schema, file = source.__schema__, folder / Path(source.__schema__.url).name
        if not file.exists():
            continue
        names = ", ".join(f'"{c.field}" AS "{c.name}"' for c in schema.columns.values())
        visible = _visible(schema, asks=source in endpoints)
        query = f"""SELECT * EXCLUDE (__n) FROM (
            SELECT {names}, {visible} AS __visible, row_number() OVER () AS __n
            FROM {engine.scan(str(file))})
            WHERE __visible >= {start} AND __visible < {until} ORDER BY __visible, __n"""
        rows = engine.select(query)
        at = np.asarray(rows["__visible"], np.int64)
        if source in endpoints:
            path, batch, dropped = (
                f"/predict/{endpoints[source].name}",
                REQUESTS,
                ["__visible", schema.event.name],
            )
        else:
            path, batch, dropped = f"/events/{schema.id}", EVENTS, ["__visible"]
        yield Line(path, at, rows.drop_columns(dropped), batch)


def _visible(schema: Schema, asks: bool) -> str:
    """When a row of a file is sent: when it arrived, or at its time if it asks for a prediction."""
    event = f'epoch_us("{schema.event.field}")'
    if asks:
        return event
    late = f"{event} + {schema.late_by}"
    if schema.arrival is None:
        return late
    return f'greatest({event}, coalesce(epoch_us("{schema.arrival.field}"), {late}))'


def _as_json(rows: pa.Table) -> bytes:
    return json.dumps(rows.to_pylist(), default=lambda moment: moment.isoformat()).encode()


class _Sender:
    """One kept-alive connection that sends until it is acknowledged."""

    def __init__(self, address: str, clock: Clock) -> None:
        self._address, self._clock = address, clock
        self._connection: http.client.HTTPConnection | None = None
        self.retries = 0

    def send(self, path: str, body: bytes) -> None:
        while not self._sent(path, body):
            self.retries += 1
            self.close()
            self._clock.wait(0.1)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _sent(self, path: str, body: bytes) -> bool:
        try:
            status, answer = self._post(path, body)
        except (OSError, http.client.HTTPException):
            return False
        if 400 <= status < 500:
            raise FeedRefused(path=path, status=status, answer=_said(answer))
        return status == 200

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address, timeout=30)
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", path, body, headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def _said(answer: bytes) -> str:
    try:
        found: Any = json.loads(answer)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        found = answer[:200].decode(errors="replace")
    return str(found)
