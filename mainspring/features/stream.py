"""The stream: the live path of events, from acknowledged in the log to readable in the online store.

`append` stamps the arrival, writes the log and returns. A thread applies what is new to the tiles, batch by batch. Until it has, reads
hold their time back to the first row not yet applied, so a request never misses a row that arrived before its time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from mainspring.clock import Clock
from mainspring.features.online import Applied, OnlineFeatures, key_bytes
from mainspring.sources import record as records
from mainspring.sources.log import Log
from mainspring.sources.record import Numbered, Record, rows_of
from mainspring.sources.source import Source

BATCH = 5_000
"""Records applied in one transaction, at most."""


class Stream:
    """The one writer of a system's log and of its online features.

    Opening applies what the log has and the tiles have not. Call `start` for the applying thread, or `apply` by hand.

    Args:
        sources: the sources whose events are taken, by name.
    """

    def __init__(
        self, log: Log, online: OnlineFeatures, sources: Mapping[str, type[Source]], clock: Clock
    ) -> None:
        self._log, self._online, self._sources, self._clock = log, online, sources, clock
        self._stamping = threading.Lock()
        self._waiting: deque[Numbered] = deque()
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._last = self._recover()

    def append(self, make: Callable[[int], Sequence[Record]], sync: bool = False) -> int:
        """Writes records to the log and gives the offset of the first; they are durable when it returns.

        Args:
            make: gives the records for their arrival time.
            sync: waits for the disk too: power loss takes nothing then. Without it the disk has it within a tenth of a second.

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
        """The time before which every row that arrived has been applied, and no more will arrive."""
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
        batch = [self._waiting[i] for i in range(min(BATCH, len(self._waiting)))]
        if batch:
            self._apply(batch)
            with self._stamping:
                for _ in batch:
                    self._waiting.popleft()
        return len(batch)

    @property
    def alive(self) -> bool:
        """Whether the applying thread runs; if it died, its error was reported by the thread's own excepthook."""
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
            while self.apply():
                self._log.flush()

    def _apply(self, batch: Sequence[Numbered]) -> None:
        fresh = first_arrivals(batch, self._sources, self._online)
        events = [(source, rows_of(source, fresh)) for source in self._sources.values()]
        upto = Applied(batch[-1][0] + 1, batch[-1][1].arrival)
        self._online.apply(events, upto, _identities(fresh, self._sources))

    def _recover(self) -> int:
        known = self._online.applied()
        last, offset = known.arrival, known.offset
        while found := self._log.read(offset, BATCH):
            batch = [(number, records.decode(data)) for number, data in found]
            self._apply(batch)
            offset, last = batch[-1][0] + 1, batch[-1][1].arrival
        return last


def first_arrivals(
    batch: Sequence[Numbered], sources: Mapping[str, type[Source]], online: OnlineFeatures
) -> list[Numbered]:
    """The records of a batch without those whose unique key arrived before: the same row, sent again."""
    identities = _identities(batch, sources)
    earliest = {key: offset for key, offset in reversed(identities)}
    earliest |= {
        key: known
        for key, known in online.first_offsets(list(earliest)).items()
        if known is not None
    }
    repeated = {offset for key, offset in identities if earliest[key] != offset}
    return [(offset, r) for offset, r in batch if offset not in repeated]


def _identities(
    batch: Sequence[Numbered], sources: Mapping[str, type[Source]]
) -> list[tuple[bytes, int]]:
    found: list[tuple[bytes, int]] = []
    for offset, record in batch:
        schema = sources[record.source].__schema__
        if schema.unique is not None:
            key = record.values[list(schema.columns).index(schema.unique.name)]
            found.append((key_bytes(f"\0{schema.id}", key), offset))
    return found
