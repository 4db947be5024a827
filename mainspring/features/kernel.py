"""The window kernel: features of many requests over one sorted part of the events, in numpy.

Every engine only partitions and sorts, and calls this, so results are equal by construction. A
request at t sees the rows of its window that had arrived before t and that no later version had
replaced by then. Binary searches bound them: the rows from `alive` to `settled` are all there,
those from `end` on have not arrived, and only the rows between, which late arrivals and corrections
put out of order, are looked at one by one. Mostly there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mainspring.errors import UnknownName
from mainspring.features import sketch
from mainspring.features.sketch import CODES, Texts, bag_of_rows
from mainspring.features.statistic import (
    FORMULAS,
    Flags,
    Ints,
    Rows,
    State,
    Statistic,
    Values,
    since,
    statistic,
)
from mainspring.windows import Window, days, hours, microseconds, minutes

FOREVER = np.iinfo(np.int64).max
"""Until when a row counts that nothing replaces."""

_GATHERED = 2**22  # rows held at once that are looked at one by one
_LATENESS = np.array([microseconds(cut) for cut in (minutes(1), hours(1), days(1))])
_LIFETIME = np.array([microseconds(days(n)) for n in (0.01, 0.1, 1, 7, 30, 100)])
_NULL = np.array(None)


@dataclass(frozen=True, slots=True)
class Events:
    """One part of the events: rows sorted by key, then event time, then offset.

    Args:
        starts: int64, one more than keys; key i is the rows starts[i] to starts[i + 1].
        event: int64 microseconds, one per row.
        visible: int64 microseconds, the later of event and arrival time, one per row.
        until: int64 microseconds, the last time at which a row counts; None where all do for ever.

    Example:
        >>> part = Events(np.array([0, 2]), event=np.array([10, 20]), visible=np.array([10, 25]))
        >>> len(part.starts) - 1
        1
    """

    starts: Ints
    event: Ints
    visible: Ints
    until: Ints | None = None


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
        kind: one of `FORMULAS` or of `sketch.CODES`.
        values: float64 where NaN is NULL; for kinds that take any value also objects where None is;
            for time_since_last, the event times of the rows that count.
        parameter: k of last_k and top_k, the q of a quantile, the half-life of ewma in us.

    Example:
        >>> Aggregate("sum", np.array([1.0, 2.0]), Window(size=60, hop=1)).kind
        'sum'
    """

    kind: str
    values: Values
    window: Window
    parameter: float | None = None


def compute(events: Events, requests: Requests, aggregates: Sequence[Aggregate]) -> list[Values]:
    """The values of every aggregate, one per request, as known just before its time.

    They are float64 where NaN is NULL, or objects where None is; last_k and top_k have k columns,
    the latest and the most frequent first. An empty window is NULL, and 0 for count and
    count_distinct; std is the sample standard deviation, NULL below two values. Aggregates that
    share a values array or a window share the work. The cost is that of a few passes over the rows
    for each doubling of the longest window, the memory a few copies of one column; for
    count_distinct, top_k and quantile the cost is that of a sort of all rows of all windows.

    Raises:
        UnknownName: there is no such kind of aggregate.

    Example:
        >>> part = Events(np.array([0, 3]), np.array([10, 20, 30]), np.array([10, 20, 95]))
        >>> total = Aggregate("sum", np.array([1.0, 2.0, 4.0]), Window(size=90, hop=1))
        >>> compute(part, Requests(np.array([0, 0, -1]), np.array([30, 100, 30])), [total])
        [array([ 3.,  7., nan])]
    """
    for aggregate in aggregates:
        if aggregate.kind not in (*FORMULAS, *CODES):
            raise UnknownName.among("aggregate", aggregate.kind, [*FORMULAS, *CODES])
    folded = [a for a in aggregates if a.kind in FORMULAS]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        readings = _fold_all(events, requests, folded)
        return [
            _folded(a, requests, readings) if a.kind in FORMULAS else _bagged(a, events, requests)
            for a in aggregates
        ]


@dataclass(frozen=True, slots=True)
class _Span:
    """Per request, the rows lo to end that it may see; those from alive to settled it does."""

    lo: Ints
    alive: Ints
    settled: Ints
    end: Ints


@dataclass(frozen=True, slots=True)
class _Late:
    """Rows that were looked at one by one and that requests do see, request after request."""

    requests: Ints
    rows: Ints
    owner: Ints

    @property
    def edges(self) -> Ints:
        """Where the rows of each request begin; last, where they end."""
        return np.searchsorted(self.owner, np.arange(len(self.requests) + 1))


@dataclass(frozen=True, slots=True)
class _Reading:
    """A statistic of a values array, so far, over each window that some aggregate asks it for."""

    values: Values
    event: Ints
    statistic: Statistic
    states: dict[Window, State] = field(default_factory=dict)

    def add_settled(self, rows: Ints, spans: dict[Window, _Span]) -> None:
        """Add what is settled of `rows`, for all windows in one pass over the values."""
        lo = np.concatenate([spans[window].alive for window in self.states])
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
        edges = late.edges
        before = tuple(array[late.requests] for array in self.states[window])
        merged = self.statistic.merge(before, self._read(rows[late.rows], edges[:-1], edges[1:]))
        for array, part in zip(self.states[window], merged, strict=True):
            array[late.requests] = part

    def _read(self, rows: Ints, lo: Ints, hi: Ints) -> State:
        values = self.values[rows]
        known = Rows(values, is_known(values), rows, self.event[rows])
        return self.statistic.read(self.statistic.prepare(known), lo, hi)


def is_known(values: Values) -> Flags:
    """Which values are not NULL.

    Example:
        >>> is_known(np.array([1.0, np.nan])), is_known(np.array(["a", None], object))
        (array([ True, False]), array([ True, False]))
    """
    if values.dtype == object:
        known = np.not_equal(values, _NULL)
    else:
        known = values != 0 if values.dtype == np.int64 else ~np.isnan(values)
    return np.asarray(known, bool)


Key = tuple[int, str, float | None]
"""A reading: of which values, which statistic, its parameter."""

Readings = dict[Key, _Reading]


def _fold_all(events: Events, requests: Requests, aggregates: Sequence[Aggregate]) -> Readings:
    """What the statistics of all aggregates are over their windows."""
    readings = _readings(events, aggregates)
    windows = {aggregate.window for aggregate in aggregates}
    for rows, part in _by_lateness(events) if aggregates else ():
        spans = _spans(part, requests, windows)
        for reading in readings.values():
            reading.add_settled(rows, spans)
        for window, late in _late_runs(part, requests, spans):
            for reading in readings.values():
                reading.add_late(rows, window, late)
    return readings


def _readings(events: Events, aggregates: Iterable[Aggregate]) -> Readings:
    readings: Readings = {}
    for a in aggregates:
        for key in _keys(a):
            new = _Reading(a.values, events.event, statistic(*key[1:]))
            readings.setdefault(key, new).states[a.window] = ()
    return readings


def _keys(aggregate: Aggregate) -> list[Key]:
    a = aggregate
    return [(id(a.values), name, a.parameter) for name in FORMULAS[a.kind].of]


def _by_lateness(events: Events) -> Iterator[tuple[Ints, Events]]:
    """The rows cut by how late they are, so that one row that is days late unsettles few others;
    and by how long they count, for those that a correction ends.

    The cuts are fixed: whichever part a key is in, its values are added up alike.
    """
    group = np.searchsorted(_LATENESS, events.visible - events.event)
    if events.until is not None:
        ends = events.until != FOREVER
        lived = np.where(ends, events.until, events.visible) - events.visible
        group += np.where(ends, 1 + np.searchsorted(_LIFETIME, lived), 0) * (len(_LATENESS) + 1)
    groups = np.unique(group)
    if len(groups) < 2:
        yield np.arange(len(group)), events
        return
    for g in groups:
        rows = np.flatnonzero(group == g)
        starts = np.searchsorted(rows, events.starts)
        until = events.until[rows] if events.until is not None and g > len(_LATENESS) else None
        yield rows, Events(starts, events.event[rows], events.visible[rows], until)


def _spans(events: Events, requests: Requests, windows: Iterable[Window]) -> dict[Window, _Span]:
    first = events.starts[requests.key]
    last = np.where(requests.key < 0, first, events.starts[requests.key + 1])
    # The running maximum and minimum of `visible` rise within a key, so they can be searched.
    highest, lowest = _envelope(events, events.visible)
    settled = search(highest, first, last, requests.at)
    end = settled if lowest is highest else search(lowest, first, last, requests.at)
    gone, alive = first, first
    if events.until is not None:
        highest, lowest = _envelope(events, events.until)
        gone = search(highest, first, end, requests.at)
        alive = gone if lowest is highest else search(lowest, first, end, requests.at)
    spans = {}
    for window in windows:
        begin = gone
        if window.size is not None:
            begin = np.maximum(gone, search(events.event, first, end, window.start(requests.at)))
        sure = np.maximum(begin, alive)
        spans[window] = _Span(begin, sure, np.maximum(sure, settled), end)
    return spans


def _envelope(events: Events, times: Ints) -> tuple[Ints, Ints]:
    """Within each key, the highest of `times` up to each row and the lowest from each row on."""
    falls = np.flatnonzero(times[1:] < times[:-1]) + 1
    if np.isin(falls, events.starts).all():
        return times, times
    # Ranks instead of times: raised by key, times would overflow, and a later key must rank higher.
    order = np.argsort(times, kind="stable")
    raised = np.repeat(np.arange(len(events.starts) - 1), np.diff(events.starts)) * len(order)
    rank = raised.copy()
    rank[order] += np.arange(len(order))
    highest = np.maximum.accumulate(rank) - raised
    lowest = np.minimum.accumulate(rank[::-1])[::-1] - raised
    return times[order[highest]], times[order[lowest]]


def search(times: Ints, lo: Ints, hi: Ints, at: Ints) -> Ints:
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
        unsure = (span.alive - span.lo) + (span.end - span.settled)
        if unsure.any():
            # Before the sure rows and after them, in the order of rows.
            lo = np.stack([span.lo, span.settled], axis=1)
            hi = np.stack([span.alive, span.end], axis=1)
            for late in _one_by_one(events, requests, lo, hi):
                yield window, late


def _one_by_one(events: Events, requests: Requests, lo: Ints, hi: Ints) -> Iterator[_Late]:
    """The rows of one or more ranges of each request that it does see, many requests at a time."""
    length = np.maximum(hi - lo, 0)
    asking = np.flatnonzero(length.any(axis=1))
    rows = np.cumsum(length[asking].sum(axis=1))
    for some in np.split(asking, np.flatnonzero(np.diff(rows // _GATHERED)) + 1):
        found, owner = ranges(lo[some].ravel(), lo[some].ravel() + length[some].ravel())
        owner = owner // lo.shape[1]
        at = requests.at[some][owner]
        seen = events.visible[found] < at
        if events.until is not None:
            seen &= at <= events.until[found]
        yield _Late(some, found[seen], owner[seen])


def ranges(lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
    """All the rows lo[i] to hi[i], and the i that each is for."""
    length = hi - lo
    owner = np.repeat(np.arange(len(lo)), length)
    skipped = lo - (np.cumsum(length) - length)
    return np.arange(len(owner)) + skipped[owner], owner


def _folded(aggregate: Aggregate, requests: Requests, readings: Readings) -> Values:
    states = (readings[key].states[aggregate.window] for key in _keys(aggregate))
    arrays = [array for state in states for array in state]
    found = FORMULAS[aggregate.kind].finish(aggregate.values, *arrays)
    return since(found, requests.at) if aggregate.kind == "time_since_last" else found


def _bagged(aggregate: Aggregate, events: Events, requests: Requests) -> Values:
    """An aggregate of distinct values: its rows are looked at one by one."""
    a, is_text = aggregate, aggregate.values.dtype == object
    texts = Texts.of(a.values) if a.kind == "top_k" and is_text else None
    known = is_known(a.values)
    codes, place = np.unique(CODES[a.kind](a.values), return_inverse=True)
    span = _spans(events, requests, [a.window])[a.window]
    found = sketch.nothing(a.kind, len(requests.at), a.parameter)
    for late in _one_by_one(events, requests, span.lo[:, None], span.end[:, None]):
        rows, owner = late.rows[known[late.rows]], late.owner[known[late.rows]]
        bag = bag_of_rows(owner, place[rows], codes)
        found[late.requests] = sketch.finish(a.kind, bag, len(late.requests), a.parameter, texts)
    if a.kind != "top_k":
        return found
    return sketch.floats_of(found) if texts is None else texts.named(found)
