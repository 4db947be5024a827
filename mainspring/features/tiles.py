"""Tiles: mergeable partial aggregates per entity key and hop, so that a read at any time is exact.

A tile holds what the aggregates need of the rows with `start <= event time < start + hop`; windows
snap their start to the hop, so a window is a run of whole tiles. A row that is not visible yet
waits beside the tiles and counts in a read from its visible time on. The statistics are those of
the window kernel, one key at a time.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import msgspec

from mainspring.expressions import Feature
from mainspring.features.measure import measure_of
from mainspring.features.view import FeatureView
from mainspring.windows import Window

Partial = Any
"""What one statistic keeps of some rows; None for no rows."""

FORMAT = 1
"""How states are laid out: tiles of another format are built anew."""


class Row(msgspec.Struct, array_like=True, frozen=True):
    """One event as a view sees it: when, and what each measure takes from it."""

    event: int
    visible: int
    offset: int
    values: list[Any]


class State(msgspec.Struct, array_like=True):
    """All that is kept of one entity key in one view.

    Attributes:
        tiles: per hop, the partials of each tile by its start.
        waiting: the rows that were not visible yet when the tiles were written.
    """

    tiles: dict[int, dict[int, list[Partial]]]
    waiting: list[Row] = msgspec.field(default_factory=list[Row])


_DECODER = msgspec.msgpack.Decoder(State)
encode = msgspec.msgpack.Encoder().encode
"""A state as bytes."""


def decode(data: bytes) -> State:
    """The state of bytes that `encode` made.

    Example:
        >>> decode(encode(State({5: {15: [2]}})))
        State(tiles={5: {15: [2]}}, waiting=[])
    """
    return _DECODER.decode(data)


@dataclass(frozen=True, slots=True)
class Statistic:
    """What a row is to a statistic, and how the partials of several parts become one."""

    of_row: Callable[[Row, Any], Partial]
    merge: Callable[[list[Partial]], Partial]


def _value(row: Row, value: Any) -> Partial:
    del row
    return value


def _placed(row: Row, value: Any) -> Partial:
    return [row.event, row.offset, value]


def _pool(a: Partial, b: Partial) -> Partial:
    """Counts, means and squared deviations of two parts as those of one (Chan et al., 1979)."""
    n, apart = a[0] + b[0], b[1] - a[1]
    weight = b[0] / n
    return [n, a[1] + apart * weight, a[2] + b[2] + apart * (a[0] * weight) * apart]


def _place(found: Partial) -> tuple[int, int]:
    return found[0], found[1]


STATISTICS: dict[str, Statistic] = {
    "count": Statistic(lambda row, value: 1, sum),
    "sum": Statistic(_value, sum),
    "lowest": Statistic(_value, min),
    "highest": Statistic(_value, max),
    "moments": Statistic(lambda row, value: [1, value, 0.0], lambda parts: reduce(_pool, parts)),
    "first": Statistic(_placed, lambda parts: min(parts, key=_place)),
    "last": Statistic(_placed, lambda parts: max(parts, key=_place)),
}


@dataclass(frozen=True, slots=True)
class Formula:
    """How a kind of aggregate comes from the partials of the statistics that it is made `of`."""

    of: tuple[str, ...]
    finish: Callable[..., Any]


def _itself(found: Partial) -> Any:
    return found


def _deviation(found: Partial) -> float | None:
    n, _, square = found
    return math.sqrt(square / (n - 1)) if n > 1 else None


FORMULAS: dict[str, Formula] = {
    "count": Formula(("count",), _itself),
    "sum": Formula(("sum",), _itself),
    "mean": Formula(("sum", "count"), operator.truediv),
    "min": Formula(("lowest",), _itself),
    "max": Formula(("highest",), _itself),
    "std": Formula(("moments",), _deviation),
    "first": Formula(("first",), operator.itemgetter(2)),
    "last": Formula(("last",), operator.itemgetter(2)),
}

Slot = tuple[int, str]
"""One partial of a tile: which measure, which statistic."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a view's aggregates find their partials.

    Attributes:
        measures: the distinct (argument, condition) of the aggregates; a row has a value for each.
        slots: per hop, what each tile keeps, in order.
        readings: per window, its aggregates, each with the places of its partials in the tiles.
        reach: per hop, the longest window: tiles before its start are dropped.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Trip(ms.Source, url="trips.parquet"):
        ...     city: ms.Column[str]
        ...     miles: ms.Column[float]
        ...     began_at: ms.Column[datetime] = ms.event_time()
        >>> class City(ms.FeatureView, key=Trip.city):
        ...     miles = ms.sum(Trip.miles)
        >>> layout = Layout.of(City)
        >>> state = layout.empty()
        >>> layout.apply(state, [Row(10, 12, 0, [3.0]), Row(11, 20, 1, [4.0])], now=15)
        >>> layout.read(state, at=15), layout.read(state, at=21)
        ({'City.miles': 3.0}, {'City.miles': 7.0})
    """

    view: type[FeatureView]
    aggregates: tuple[Feature[Any], ...]
    measures: list[str] = field(default_factory=list)
    slots: dict[int, list[Slot]] = field(default_factory=dict)
    readings: dict[Window, list[tuple[Feature[Any], list[int]]]] = field(default_factory=dict)
    reach: dict[int, Window] = field(default_factory=dict)

    @classmethod
    def of(cls, view: type[FeatureView]) -> Layout:
        """The layout of all aggregates of a view."""
        layout = cls(view, view.__view__.aggregates)
        for aggregate in layout.aggregates:
            layout._place(aggregate, aggregate.settings["window"])
        return layout

    def _place(self, aggregate: Feature[Any], window: Window) -> None:
        measure = _index(self.measures, measure_of(aggregate))
        slots = self.slots.setdefault(window.hop, [])
        places = [_index(slots, (measure, name)) for name in FORMULAS[aggregate.op].of]
        self.readings.setdefault(window, []).append((aggregate, places))
        longest = self.reach.setdefault(window.hop, window)
        self.reach[window.hop] = max(longest, window, key=lambda w: w.size or 0)

    def empty(self) -> State:
        """The state of a key without rows."""
        return State({hop: {} for hop in self.slots})

    def apply(self, state: State, rows: Iterable[Row], now: int) -> None:
        """Takes rows in: those visible before `now`, waiting ones too, into the tiles.

        Tiles that no window reaches any more are dropped.
        """
        known = [*state.waiting, *rows]
        state.waiting = [row for row in known if row.visible >= now]
        self._add(state, [row for row in known if row.visible < now])
        for hop, tiles in state.tiles.items():
            start = self.reach[hop].start(now)
            for dead in [tile for tile in tiles if tile < start]:
                del tiles[dead]

    def _add(self, state: State, rows: Iterable[Row]) -> None:
        for hop, slots in self.slots.items():
            by_tile: dict[int, list[Row]] = {}
            for row in rows:
                by_tile.setdefault(tile_of(row.event, hop), []).append(row)
            for start, mine in by_tile.items():
                partials = state.tiles[hop].setdefault(start, [None] * len(slots))
                for place, (measure, name) in enumerate(slots):
                    partials[place] = _merged(name, [partials[place]], mine, measure)

    def merge(self, state: State, other: State) -> None:
        """Takes in the state of other rows of the same key."""
        for hop, slots in self.slots.items():
            tiles = state.tiles[hop]
            for start, found in other.tiles[hop].items():
                both = zip(slots, tiles.get(start, [None] * len(slots)), found, strict=True)
                tiles[start] = [_merged(name, pair) for (_, name), *pair in both]
        state.waiting += other.waiting

    def read(self, state: State, at: int) -> dict[str, Any]:
        """The aggregates at a time, by label.

        They are over the tiles in their windows, and over the rows that have become visible since.
        """
        values: dict[str, Any] = {}
        for window, aggregates in self.readings.items():
            start, slots = window.start(at), self.slots[window.hop]
            tiles = [found for tile, found in state.tiles[window.hop].items() if tile >= start]
            late = [row for row in state.waiting if row.visible < at and row.event >= start]
            for aggregate, places in aggregates:
                parts = [
                    _merged(slots[place][1], [t[place] for t in tiles], late, slots[place][0])
                    for place in places
                ]
                values[aggregate.label] = _answer(aggregate.op, parts)
        return values


def tile_of(event: Any, hop: int) -> Any:
    """The start of the tile that an event, or each of an array, falls in; all history is one.

    Example:
        >>> tile_of(17, hop=5), tile_of(-1, hop=5), tile_of(17, hop=0)
        (15, -5, 0)
    """
    return event // hop * hop if hop else event * 0


def _merged(
    name: str, parts: Iterable[Partial], rows: Sequence[Row] = (), measure: int = 0
) -> Partial:
    """One partial from those of several parts and of single rows; None if all are."""
    statistic = STATISTICS[name]
    known = [part for part in parts if part is not None]
    for row in rows:
        if row.values[measure] is not None:
            known.append(statistic.of_row(row, row.values[measure]))
    if len(known) < 2:
        return known[0] if known else None
    return statistic.merge(known)


def _answer(kind: str, parts: Sequence[Partial]) -> Any:
    if parts[0] is None:
        return 0 if kind == "count" else None
    return FORMULAS[kind].finish(*parts)


def _index(items: list[Any], item: Any) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)
