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

from mainspring.clock import Clock
from mainspring.errors import DiskFull, OnlineAhead
from mainspring.features.online import Applied, OnlineFeatures, identity_key
from mainspring.sources import record as records
from mainspring.sources.log import Log
from mainspring.sources.record import Numbered, Record, rows_of
from mainspring.sources.source import Source
from mainspring.sources.table import LIVE

BATCH = 5_000
"""Records applied in one transaction, at most."""

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
        self._last = self._recover()

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

    def apply(self) -> int:
        """Applies what waits to the tiles, one batch, and gives how many records that were."""
        with self._stamping:
            waiting = list(islice(self._waiting, BATCH + 1))
        applied = self._apply(waiting)
        with self._stamping:
            for _ in range(applied):
                self._waiting.popleft()
        return applied

    @property
    def alive(self) -> bool:
        """Whether the applying thread runs; if it died, threading's excepthook reported why."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Applies in the background from now on."""
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
                while self.apply():
                    pass

    def _apply(self, waiting: Sequence[Numbered]) -> int:
        """Applies the first batch of what waits."""
        batch, following = waiting[:BATCH], waiting[BATCH:]
        if not batch:
            return 0
        self._log.flush()  # power loss must not leave the tiles ahead of the log
        fresh = first_arrivals(batch, self._sources, self._online)
        taken = {r.source: self._sources[r.source] for _, r in fresh if r.source in self._sources}
        events = [(source, rows_of(source, fresh)) for source in taken.values()]
        offset, arrival = batch[-1][0] + 1, batch[-1][1].arrival
        if following and following[0][1].arrival == arrival:
            arrival -= 1  # not all that arrived then is in the batch: it waits beside the tiles
        self._online.apply(events, Applied(offset, arrival), _identities(fresh, self._sources))
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
    earliest = _identities(batch, sources)
    earliest |= online.first_offsets(list(earliest))
    return [
        (offset, record)
        for offset, record in batch
        if earliest.get(_identity(record, sources), LIVE + offset) == LIVE + offset
    ]


def _identities(batch: Sequence[Numbered], sources: Sources) -> dict[bytes, int]:
    """The unique keys of a batch, each with the offset in its source's table that it has first."""
    keys = ((_identity(record, sources), offset) for offset, record in reversed(batch))
    return {key: LIVE + offset for key, offset in keys if key}


def _identity(record: Record, sources: Sources) -> bytes:
    """What the store remembers a record's unique key by; empty where it has none."""
    if record.source not in sources:
        return b""
    source = sources[record.source]
    unique, names = source.__schema__.unique, list(source.__schema__.columns)
    if unique is None or source.__schema__.is_feed:
        return b""  # each row of a change feed is a version of its own
    key = record.values[names.index(unique.name)]
    return b"" if key is None else identity_key(source, key)
