"""The stream: the live path of events, from acknowledged in the log to readable online.

`append` stamps the arrival, writes the log and returns. A thread applies what is new to the tiles,
batch by batch. Until it has, reads hold their time back to the first row not yet applied, so a
request never misses a row that arrived before its time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from time import monotonic

from mainspring.clock import Clock
from mainspring.errors import DiskFull, OnlineAhead
from mainspring.features.freshness import Freshness, Stopwatch
from mainspring.features.online import Applied, OnlineFeatures, identity_key
from mainspring.sources import record as records
from mainspring.sources.log import Log
from mainspring.sources.record import Numbered, Record, rows_of
from mainspring.sources.source import Source
from mainspring.sources.table import LIVE

BATCH = 5_000
"""Records applied in one transaction, at most."""

GATHER = 0.005
"""Seconds from the beginning of a batch to that of the next, at least, unless that one is full.

The rows of a busy stream gather meanwhile: fewer batches leave more of the process to requests.
"""

Sources = Mapping[str, type[Source]]
"""Sources by name."""


class Stream:
    """The one writer of a system's log and of its online features.

    Opening applies what the log has and the tiles have not. Call `start` for the applying thread,
    or `apply` by hand.

    Args:
        sources: the sources whose events are taken; records of others stay in the log.

    Raises:
        NotMaterialised: the store holds other views, or half of them.
        OnlineAhead: the store has taken in records that the log does not have.
    """

    def __init__(self, log: Log, online: OnlineFeatures, sources: Sources, clock: Clock) -> None:
        self._log, self._online, self._sources, self._clock = log, online, sources, clock
        self._stamping = threading.Lock()
        self._waiting: deque[Numbered] = deque()
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._watch = Stopwatch()
        self._last = self._recover()
        self._applied = log.end

    def append(self, make: Callable[[int], Sequence[Record]], sync: bool = False) -> int:
        """Writes records to the log and gives the offset of the first; then no kill loses them.

        Args:
            make: gives the records for their arrival time.
            sync: waits for the disk too: power loss takes nothing then.

        Raises:
            DiskFull: there was no room; nothing was written.
        """
        with self._stamping:
            arrival = max(self._clock.now(), self._last + 1)
            made = make(arrival)
            first = self._log.append([records.encode(r) for r in made], sync=False)
            self._last = arrival
            self._waiting.extend(enumerate(made, first))
            self._watch.appended(first, len(made))
        self._wake.set()
        if sync:
            self._log.flush()
        return first

    def known_at(self) -> int:
        """The time before which every row that arrived is applied, and no more will arrive."""
        with self._stamping:
            if self._waiting:
                return self._waiting[0][1].arrival
            self._last = max(self._clock.now(), self._last)
            return self._last

    @property
    def behind(self) -> int:
        """How many records wait to be applied."""
        return len(self._waiting)

    @property
    def applied(self) -> int:
        """The log's offset below which all is applied."""
        return self._applied

    @property
    def freshness(self) -> Freshness:
        """How long events took until they were readable, since the stream was opened."""
        with self._stamping:
            return self._watch.freshness.copy()

    def apply(self) -> int:
        """Applies what waits to the tiles, one batch, and gives how many records that were."""
        with self._stamping:
            waiting = list(islice(self._waiting, BATCH + 1))
        applied = self._apply(waiting)
        with self._stamping:
            for _ in range(applied):
                self._waiting.popleft()
            self._applied += applied
            self._watch.applied(self._applied)
        return applied

    @property
    def alive(self) -> bool:
        """Whether the applying thread runs; if it died, threading's excepthook reported why."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Applies in the background from now on."""
        for source in self._online.sources:
            rows_of(source, [])  # the first time loads libraries: no event should wait for that
        self._thread = threading.Thread(target=self._run, name="applier", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Applies what waits and stops."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        while self.apply():
            pass

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(0.1)
            self._wake.clear()
            with suppress(DiskFull):  # what waits is in the log: tried again until there is room
                began = monotonic()
                while self.apply():
                    if self.behind < BATCH:
                        self._stopped.wait(began + GATHER - monotonic())
                    began = monotonic()

    def _apply(self, waiting: Sequence[Numbered]) -> int:
        """Applies the first batch of what waits."""
        batch, following = waiting[:BATCH], waiting[BATCH:]
        if not batch:
            return 0
        self._log.flush()  # power loss must not leave the tiles ahead of the log
        fresh, identities = _first_arrivals(batch, self._sources, self._online)
        arrived = {record.source for _, record in fresh}
        taken = [s for s in self._online.sources if s.__schema__.id in arrived]
        events = [(source, rows_of(source, fresh)) for source in taken]
        offset, arrival = batch[-1][0] + 1, batch[-1][1].arrival
        if following and following[0][1].arrival == arrival:
            arrival -= 1  # not all that arrived then is in the batch: it waits beside the tiles
        self._online.apply(events, Applied(offset, arrival), identities)
        return len(batch)

    def _recover(self) -> int:
        """Applies what the log has and the tiles have not; gives the last arrival."""
        known = self._online.applied()
        last, offset = known.arrival, known.offset
        if offset > self._log.end:
            folder = str(self._log.folder)
            raise OnlineAhead(folder=folder, applied=offset, end=self._log.end)
        waiting: list[Numbered] = []
        while True:
            found = self._log.read(offset, BATCH + 1 - len(waiting))
            waiting += [(number, records.decode(data)) for number, data in found]
            if not waiting:
                return last
            offset, last = offset + len(found), waiting[-1][1].arrival
            del waiting[: self._apply(waiting)]


def first_arrivals(
    batch: Sequence[Numbered], sources: Sources, online: OnlineFeatures
) -> list[Numbered]:
    """The records of a batch without those whose unique key arrived before: the row, sent again."""
    return _first_arrivals(batch, sources, online)[0]


def _first_arrivals(
    batch: Sequence[Numbered], sources: Sources, online: OnlineFeatures
) -> tuple[list[Numbered], dict[bytes, int]]:
    """The fresh records, and the unique keys that the store does not know, each with the offset in
    its source's table that it has first."""
    keys, earliest = _identities(batch, sources), dict[bytes, int]()
    for key, (offset, _) in zip(keys, batch, strict=True):
        earliest.setdefault(key, LIVE + offset)
    earliest.pop(b"", None)
    known = online.first_offsets(list(earliest))
    fresh = [
        numbered
        for key, numbered in zip(keys, batch, strict=True)
        if not key or known.get(key, earliest[key]) == LIVE + numbered[0]
    ]
    return fresh, {key: offset for key, offset in earliest.items() if key not in known}


def _identities(batch: Sequence[Numbered], sources: Sources) -> list[bytes]:
    """What the store remembers each record's unique key by; empty where it has none."""
    places = {name: _unique_place(source) for name, source in sources.items()}
    found: list[bytes] = []
    for _, record in batch:
        place = places.get(record.source)
        key = None if place is None else record.values[place]
        found.append(b"" if key is None else identity_key(sources[record.source], key))
    return found


def _unique_place(source: type[Source]) -> int | None:
    """Which value of a record is the unique key; None if all its rows count."""
    schema = source.__schema__
    if schema.unique is None or schema.is_feed:
        return None  # each row of a change feed is a version of its own
    return list(schema.columns).index(schema.unique.name)
