"""From an acknowledged event to a readable feature: a log and its stream, with their thread.

One thread appends, another one reads all the time, as workers do. It looks whether `known_at` has
passed what arrived, and whether the feature of an event's own key has the event.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

import mainspring as ms
from benchmarks.feature_engine.clicks import skewed
from benchmarks.feature_engine.measuring import Figures, measured
from mainspring.clock import SystemClock
from mainspring.features.feature_set import resolve
from mainspring.features.online import OnlineFeatures
from mainspring.features.stream import Stream
from mainspring.sources.log import Log
from mainspring.sources.record import Record
from mainspring.sources.source import Source
from mainspring.stores.urls import connect_online
from mainspring.vectors import from_values
from mainspring.windows import hours

SAMPLED = 25
"""The key of every 25th event is read until it has the event."""


class Event(ms.Source, url="events.parquet"):
    user: ms.Column[str]
    number: ms.Column[float]
    at: ms.Column[datetime] = ms.event_time()


class Seen(ms.FeatureView, key=Event.user):
    events_1h = ms.count(window=hours(1))
    greatest = ms.max(Event.number)


FEATURES = resolve([Seen], Event, "the benchmark", "here")
SOURCES: dict[str, type[Source]] = {"Event": Event}


@dataclass(slots=True)
class Run:
    """What both threads share.

    Attributes:
        known: of each append that `known_at` has not passed, its arrival and when it returned.
        unread: of each sampled event that was not read yet, its user, number and when that was.
    """

    stream: Stream
    online: OnlineFeatures
    users: list[str]
    known: deque[tuple[int, float]] = field(default_factory=deque[tuple[int, float]])
    unread: deque[tuple[str, int, float]] = field(default_factory=deque[tuple[str, int, float]])
    known_after: list[float] = field(default_factory=list[float])
    read_after: list[float] = field(default_factory=list[float])
    ended: bool = False

    def append(self, per_second: int, at_once: int) -> None:
        """Appends the events at their rate, so many in one call."""
        started = time.perf_counter()
        for first in range(0, len(self.users), at_once):
            wait = started + first / per_second - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            arrived = range(first, min(first + at_once, len(self.users)))
            arrival = self._append(arrived)
            acknowledged = time.perf_counter()
            self.known.append((arrival, acknowledged))
            for number in range(-first % SAMPLED + first, arrived.stop, SAMPLED):
                self.unread.append((self.users[number], number, acknowledged))
        self.ended = True

    def _append(self, numbers: range) -> int:
        arrivals = list[int]()

        def make(at: int) -> list[Record]:
            arrivals.append(at)
            return [Record("Event", at, [self.users[n], float(n), at]) for n in numbers]

        self.stream.append(make)
        return arrivals[0]

    def poll(self) -> None:
        """Notes when each append and each sampled event became visible."""
        waiting = list[tuple[str, int, float]]()
        while not self.ended or self.known or self.unread or waiting:
            at = self.stream.known_at()
            while self.known and self.known[0][0] < at:
                self.known_after.append(time.perf_counter() - self.known.popleft()[1])
            while self.unread:
                waiting.append(self.unread.popleft())
            waiting = [event for event in waiting if not self._is_read(*event)]
            time.sleep(0.0005)

    def _is_read(self, user: str, number: int, acknowledged: float) -> bool:
        request = {"user": from_values([user], "text")}
        _, values = self.online.read(FEATURES, request, self.stream.known_at())
        found = bool(values["Seen.greatest"][0] >= number)
        if found:
            self.read_after.append(time.perf_counter() - acknowledged)
        return found


def freshness(
    home: str, seconds: float, per_second: int, at_once: int, users: int = 10_000
) -> Figures:
    """How long after its append returned an event was known and read, in milliseconds.

    A second more goes before, to warm up.
    """
    figures = Figures()
    names = [
        f"u{n}" for n in skewed(np.random.default_rng(7), users, int((seconds + 1) * per_second))
    ]
    online = OnlineFeatures.of(connect_online(f"lmdb://{home}/online"), [Seen])
    with Log(Path(home) / "log") as log:
        run = Run(Stream(log, online, SOURCES, SystemClock()), online, names)
        run.stream.start()
        with ThreadPoolExecutor(1) as pool:
            polled = pool.submit(run.poll)
            with measured(figures):
                run.append(per_second, at_once)
            polled.result()
        run.stream.close()
    figures["events"] = len(names)
    for name, taken in (("known", run.known_after), ("read", run.read_after)):
        counted = taken[int(len(taken) / (seconds + 1)) :]
        for quantile in (50, 99):
            figures[f"{name} p{quantile}"] = float(np.percentile(counted, quantile)) * 1000
    return figures
