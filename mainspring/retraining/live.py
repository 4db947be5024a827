"""The loop, live: it moves the log into the tables, and does what is due as far as is known."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from mainspring.clock import Clock, VirtualClock
from mainspring.features.online import OnlineFeatures
from mainspring.features.stream import first_arrivals
from mainspring.features.view import FeatureView
from mainspring.graph import Graph
from mainspring.retraining.auditing import EVERY as EVERY_AUDIT
from mainspring.retraining.auditing import Audits
from mainspring.retraining.loop import Happened, Loop
from mainspring.retraining.past import FOLDED, Past
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import PredictionLog
from mainspring.sources import record as records
from mainspring.sources.fold import fold
from mainspring.sources.home import Home
from mainspring.sources.reader import Reader
from mainspring.sources.record import Numbered
from mainspring.sources.source import Source
from mainspring.windows import microseconds, seconds

BATCH = 20_000
ROOM = 1.5
"""Real seconds that a request may take beyond its timeout until its record is in the log."""

EVERY = 1.0
"""Real seconds between two rounds: each is a commit per table that has new rows."""

AUDIT_SECONDS = 20.0
"""Real seconds between two audits at least, however fast the system's clock is."""


class Live:
    """The live loop of one system, beside the process that serves it.

    Args:
        told: is told what happened.
    """

    def __init__(
        self, system: Graph, home: Home, clock: Clock, told: Callable[[Sequence[Happened]], None]
    ) -> None:
        self._home, self._clock, self._told = home, clock, told
        self._known = VirtualClock(0)
        self._sources: dict[str, type[Source]] = {
            s.__schema__.id: s for s in system.of_kind(Source)
        }
        self._endpoints: list[Endpoint] = system.of_kind(Endpoint)
        self._online = OnlineFeatures.of(home.online(), system.of_kind(FeatureView))
        every = max(EVERY_AUDIT, seconds(AUDIT_SECONDS * clock.speed))
        audits = Audits(Past(home), self._online, every)
        self._loop = Loop(system, home, self._known, audits=audits)
        self._reader = Reader(home.path("log"), self._folded())

    def close(self) -> None:
        """Lets go of the online store and of the log."""
        self._reader.close()
        self._online.store.close()

    @property
    def known_at(self) -> int:
        """How far the loop has looked: before that, everything that arrived is in the tables."""
        return self._known.now()

    def run(self, stopped: threading.Event, every: float = EVERY) -> None:
        """Folds and ticks until stopped."""
        while not stopped.is_set():
            self.step()
            stopped.wait(every)

    def step(self) -> None:
        """One round: what is applied is folded, then the loop does what is due up to there."""
        settled = self._settled_at()
        self.fold()
        if settled <= 0:
            return  # nothing is known yet
        self._known.move_to(settled)
        happened = self._loop.tick()
        if happened:
            self._told(happened)

    def fold(self) -> int:
        """Moves the records that are applied to the tiles into the tables; gives how many."""
        moved, applied = 0, self._online.applied().offset
        while self._reader.offset < applied:
            limit = min(BATCH, applied - self._reader.offset)
            batch = [(offset, records.decode(data)) for offset, data in self._reader.read(limit)]
            if not batch:
                break
            self._fold(batch)
            moved += len(batch)
        return moved

    def _fold(self, batch: Sequence[Numbered]) -> None:
        fold(
            batch,
            self._sources,
            self._home.tables,
            lambda b: first_arrivals(b, self._sources, self._online),
        )
        end = batch[-1][0] + 1
        for endpoint in self._endpoints:
            PredictionLog(endpoint, self._home.tables, self._home.engine).append_records(batch, end)
        with self._home.metadata.begin() as transaction:
            transaction.upsert("cursor", {"name": FOLDED}, value=end)

    def _settled_at(self) -> int:
        """The time before which every request is in the log, and its record is applied."""
        applied, waiting = self._online.applied(), self._waits()
        now = applied.arrival if waiting else self._clock.now()
        longest = max((microseconds(e.timeout) for e in self._endpoints), default=0)
        return now - int((longest + ROOM * 1e6) * self._clock.speed)

    def _waits(self) -> bool:
        """Whether the log has records that are not applied yet."""
        with Reader(self._home.path("log"), self._online.applied().offset) as ahead:
            return bool(ahead.read(1))

    def _folded(self) -> int:
        with self._home.metadata.read() as snapshot:
            row = snapshot.one("cursor", name=FOLDED)
        return 0 if row is None else row["value"]
