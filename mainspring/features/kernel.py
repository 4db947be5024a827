"""The window kernel: features of many requests over one sorted part of the events, in numpy.

Every engine only partitions and sorts, and calls this, so results are equal by construction. A
request at t sees the rows of its window that had arrived before t. Two binary searches bound them:
the rows before `settled` have all arrived, those from `end` on have not, and only the rows
between, which late arrivals put out of order, are looked at one by one. Mostly there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mainspring.errors import UnknownName
from mainspring.features.statistic import FORMULAS, STATISTICS, Ints, State, Statistic, Values
from mainspring.windows import Window, days, hours, microseconds, minutes

_GATHERED = 2**22  # unsettled rows held at once
_LATENESS = np.array([microseconds(cut) for cut in (minutes(1), hours(1), days(1))])
_NULL = np.array(None)


@dataclass(frozen=True, slots=True)
class Events:
    """One part of the events: rows sorted by key, then event time, then offset.

    Args:
        starts: int64, one more than keys; key i is the rows starts[i] to starts[i + 1].
        event: int64 microseconds, one per row.
        visible: int64 microseconds, the later of event and arrival time, one per row.

    Example:
        >>> part = Events(np.array([0, 2]), event=np.array([10, 20]), visible=np.array([10, 25]))
        >>> len(part.starts) - 1
        1
    """

    starts: Ints
    event: Ints
    visible: Ints


@dataclass(frozen=True, slots=True)
class Requests:
    """The keys and times to compute features for, in any order.

    Args:
        key: int64, the number of the key in `Events.starts`; -1 for a key without events.
        at: int64 microseconds.

    Example:
        >>> Requests(key=np.array([0, -1]), at=np.array([30, 30])).key
        array([ 0, -1])
    """

    key: Ints
    at: Ints


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One feature to compute: a kind, a value per event row, and a window.

    Args:
        kind: count, sum, mean, min, max, std, first or last.
        values: float64 where NaN is NULL; for count, first and last also objects where None is.

    Example:
        >>> Aggregate("sum", np.array([1.0, 2.0]), Window(size=60, hop=1)).kind
        'sum'
    """

    kind: str
    values: Values
    window: Window


def compute(events: Events, requests: Requests, aggregates: Sequence[Aggregate]) -> list[Values]:
    """The values of every aggregate, one per request, as known just before its time.

    They are float64 where NaN is NULL, or objects where None is. An empty window is NULL, and 0 for
    count; std is the sample standard deviation, NULL below two values. Aggregates that share a
    values array or a window share the work. The cost is that of a few passes over the rows for each
    doubling of the longest window, the memory a few copies of one column.

    Raises:
        UnknownName: there is no such kind of aggregate.

    Example:
        >>> part = Events(np.array([0, 3]), np.array([10, 20, 30]), np.array([10, 20, 95]))
        >>> total = Aggregate("sum", np.array([1.0, 2.0, 4.0]), Window(size=90, hop=1))
        >>> compute(part, Requests(np.array([0, 0, -1]), np.array([30, 100, 30])), [total])
        [array([ 3.,  7., nan])]
    """
    readings = _readings(aggregates)
    windows = {aggregate.window for aggregate in aggregates}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for rows, part in _by_lateness(events):
            spans = _spans(part, requests, windows)
            for reading in readings.values():
                reading.add_settled(rows, spans)
            for window, late in _late_runs(part, requests, spans):
                for reading in readings.values():
                    reading.add_late(rows, window, late)
        return [_answer(aggregate, readings) for aggregate in aggregates]


@dataclass(frozen=True, slots=True)
class _Span:
    """Per request, the rows lo to settled that it sees, and those up to end that it may see."""

    lo: Ints
    settled: Ints
    end: Ints


@dataclass(frozen=True, slots=True)
class _Late:
    """The unsettled rows that requests do see, laid out request after request."""

    requests: Ints
    rows: Ints
    lo: Ints
    hi: Ints


@dataclass(frozen=True, slots=True)
class _Reading:
    """A statistic of a values array, so far, over each window that some aggregate asks it for."""

    values: Values
    statistic: Statistic
    states: dict[Window, State] = field(default_factory=dict)

    def add_settled(self, rows: Ints, spans: dict[Window, _Span]) -> None:
        """Add what is settled of `rows`, for all windows in one pass over the values."""
        lo = np.concatenate([spans[window].lo for window in self.states])
        hi = np.concatenate([spans[window].settled for window in self.states])
        read = [np.split(array, len(self.states)) for array in self._read(rows, lo, hi)]
        for window, *found in zip(self.states, *read, strict=True):
            before = self.states[window]
            state = tuple(found)
            self.states[window] = self.statistic.merge(before, state) if before else state

    def add_late(self, rows: Ints, window: Window, late: _Late) -> None:
        """Add the late ones of `rows` to the requests that see them."""
        if window not in self.states:
            return
        before = tuple(array[late.requests] for array in self.states[window])
        merged = self.statistic.merge(before, self._read(rows[late.rows], late.lo, late.hi))
        for array, part in zip(self.states[window], merged, strict=True):
            array[late.requests] = part

    def _read(self, rows: Ints, lo: Ints, hi: Ints) -> State:
        values = self.values[rows]
        valid = np.not_equal(values, _NULL) if values.dtype == object else ~np.isnan(values)
        return self.statistic.read(self.statistic.prepare(values, valid, rows), lo, hi)


def _readings(aggregates: Iterable[Aggregate]) -> dict[tuple[int, str], _Reading]:
    readings: dict[tuple[int, str], _Reading] = {}
    for a in aggregates:
        if a.kind not in FORMULAS:
            raise UnknownName.among("aggregate", a.kind, FORMULAS)
        for name in FORMULAS[a.kind].of:
            new = _Reading(a.values, STATISTICS[name])
            readings.setdefault((id(a.values), name), new).states[a.window] = ()
    return readings


def _by_lateness(events: Events) -> Iterator[tuple[Ints, Events]]:
    """The rows cut by how late they are, so that one row that is days late unsettles few others.

    The cuts are fixed: whichever part a key is in, its values are added up alike.
    """
    group = np.searchsorted(_LATENESS, events.visible - events.event)
    groups = np.unique(group)
    if len(groups) < 2:
        yield np.arange(len(group)), events
        return
    for g in groups:
        rows = np.flatnonzero(group == g)
        starts = np.searchsorted(rows, events.starts)
        yield rows, Events(starts, events.event[rows], events.visible[rows])


def _spans(events: Events, requests: Requests, windows: Iterable[Window]) -> dict[Window, _Span]:
    first = events.starts[requests.key]
    last = np.where(requests.key < 0, first, events.starts[requests.key + 1])
    # The running maximum and minimum of `visible` rise within a key, so they can be searched.
    highest, lowest = _envelope(events)
    settled = _search(highest, first, last, requests.at)
    end = settled if lowest is highest else _search(lowest, first, last, requests.at)
    spans = {}
    for window in windows:
        begin = first
        if window.size is not None:
            begin = _search(events.event, first, end, window.start(requests.at))
        spans[window] = _Span(begin, np.maximum(begin, settled), end)
    return spans


def _envelope(events: Events) -> tuple[Ints, Ints]:
    """Within each key, the highest `visible` up to each row and the lowest from each row on."""
    falls = np.flatnonzero(events.visible[1:] < events.visible[:-1]) + 1
    if np.isin(falls, events.starts).all():
        return events.visible, events.visible
    # Ranks instead of times: raised by key, times would overflow, and a later key must rank higher.
    order = np.argsort(events.visible, kind="stable")
    raised = np.repeat(np.arange(len(events.starts) - 1), np.diff(events.starts)) * len(order)
    rank = raised.copy()
    rank[order] += np.arange(len(order))
    highest = np.maximum.accumulate(rank) - raised
    lowest = np.minimum.accumulate(rank[::-1])[::-1] - raised
    return events.visible[order[highest]], events.visible[order[lowest]]


def _search(times: Ints, lo: Ints, hi: Ints, at: Ints) -> Ints:
    """Per request, the first row of lo to hi, where `times` rises, that is not before `at`."""
    found = lo.copy()
    step = (1 << int((hi - lo).max(initial=0)).bit_length()) >> 1
    while step:
        probe = found + step
        before = times[np.minimum(probe, len(times)) - 1] < at
        found = np.where(before & (probe <= hi), probe, found)
        step >>= 1
    return found


def _late_runs(
    events: Events, requests: Requests, spans: dict[Window, _Span]
) -> Iterator[tuple[Window, _Late]]:
    for window, span in spans.items():
        asking = np.flatnonzero(span.end > span.settled)
        rows = np.cumsum((span.end - span.settled)[asking])
        for some in np.split(asking, np.flatnonzero(np.diff(rows // _GATHERED)) + 1):
            yield window, _gather_late(events, requests, span, some)


def _gather_late(events: Events, requests: Requests, span: _Span, asking: Ints) -> _Late:
    rows, owner = _ranges(span.settled[asking], span.end[asking])
    seen = events.visible[rows] < requests.at[asking][owner]
    edges = np.searchsorted(owner[seen], np.arange(len(asking) + 1))
    return _Late(asking, rows[seen], edges[:-1], edges[1:])


def _ranges(lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
    """All the rows lo[i] to hi[i], and the i that each is for."""
    length = hi - lo
    owner = np.repeat(np.arange(len(lo)), length)
    skipped = lo - (np.cumsum(length) - length)
    return np.arange(len(owner)) + skipped[owner], owner


def _answer(aggregate: Aggregate, readings: dict[tuple[int, str], _Reading]) -> Values:
    formula, values = FORMULAS[aggregate.kind], aggregate.values
    states = (readings[id(values), name].states[aggregate.window] for name in formula.of)
    return formula.finish(values, *(array for state in states for array in state))
