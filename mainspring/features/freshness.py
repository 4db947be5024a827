"""Freshness: how long events took from their acknowledgement until a read had them."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import accumulate
from time import monotonic

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""The upper bounds of the cells; one more cell has what took longer."""


@dataclass(slots=True)
class Freshness:
    """A histogram of real seconds, whatever the speed of the system's clock.

    Attributes:
        counts: how many events each cell has.
        seconds: of all events together.

    Example:
        >>> freshness = Freshness()
        >>> freshness.took(0.007, events=3)
        >>> freshness.took(60.0, events=1)
        >>> [cells for cells in freshness.upto() if cells[0] in (0.005, 0.01, 30.0)]
        [(0.005, 0), (0.01, 3), (30.0, 3)]
        >>> freshness.events, freshness.seconds
        (4, 60.021)
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    seconds: float = 0.0

    @property
    def events(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def took(self, seconds: float, events: int) -> None:
        """Counts events that took so long."""
        self.counts[bisect_left(SECONDS, seconds)] += events
        self.seconds += seconds * events

    def upto(self) -> list[tuple[float, int]]:
        """For each bound how many events took no longer."""
        return list(zip(SECONDS, accumulate(self.counts), strict=False))

    def copy(self) -> Freshness:
        """The same figures, which nobody changes."""
        return replace(self, counts=list(self.counts))


@dataclass(slots=True)
class Stopwatch:
    """What measures the freshness of records that are appended and then applied in order.

    It keeps one time for each append that waits. It does not lock: the caller does.

    Example:
        >>> watch = Stopwatch()
        >>> watch.appended(0, events=2)
        >>> watch.applied(1)
        >>> watch.freshness.events
        0
        >>> watch.applied(2)
        >>> watch.freshness.events
        2
    """

    freshness: Freshness = field(default_factory=Freshness)
    _running: deque[tuple[int, int, float]] = field(default_factory=deque[tuple[int, int, float]])

    def appended(self, first: int, events: int) -> None:
        """Starts for the records of one append, the first of which has this offset."""
        if events:
            self._running.append((first + events, events, monotonic()))

    def applied(self, offset: int) -> None:
        """Stops for the appends all of whose records are below an offset."""
        now = monotonic()
        while self._running and self._running[0][0] <= offset:
            _, events, began = self._running.popleft()
            self.freshness.took(now - began, events)
