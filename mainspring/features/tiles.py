"""Tiles: mergeable partial aggregates per entity key and hop, so that a read at any time is exact under the window's definition.

A tile holds what the aggregates need of the rows with `start <= event time < start + hop`. A row that is not visible yet waits beside the
tiles, and counts in a read from its visible time on. States travel as MessagePack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mainspring.expressions import Feature
from mainspring.features.view import FeatureView
from mainspring.windows import Window

Partial = Any
"""What one statistic keeps of some rows; None for no rows."""


class Row(msgspec.Struct, array_like=True, frozen=True):
    """One event as a view sees it: when, and what each measure takes from it."""

    event: int
    visible: int
    offset: int
    values: list[Any]


class State(msgspec.Struct, array_like=True):
    """All that is kept of one entity key in one view: a mapping of tiles per hop, and the rows not yet visible."""

    tiles: list[dict[int, list[Partial]]]
    waiting: list[Row] = msgspec.field(default_factory=list[Row])


def _add_moments(p: Partial, row: Row, x: float) -> Partial:
    del row
    return [1, x, 0.0] if p is None else _merge_moments(p, [1, x, 0.0])


def _merge_moments(a: Partial, b: Partial) -> Partial:
    """Chan, Golub & LeVeque (1983): the sum of squared deviations of two parts."""
    n, mean_gap = a[0] + b[0], b[1] / b[0] - a[1] / a[0]
    return [n, a[1] + b[1], a[2] + b[2] + mean_gap * mean_gap * a[0] * b[0] / n]


def _add_count(p: Partial, row: Row, x: Any) -> Partial:
    del row, x
    return 1 if p is None else p + 1


def _add_first(p: Partial, row: Row, x: Any) -> Partial:
    found = [row.event, row.offset, x]
    return found if p is None else min(p, found, key=_place)


def _add_last(p: Partial, row: Row, x: Any) -> Partial:
    found = [row.event, row.offset, x]
    return found if p is None else max(p, found, key=_place)


def _place(found: Partial) -> tuple[int, int]:
    return found[0], found[1]


@dataclass(frozen=True, slots=True)
class Statistic:
    """How a partial takes a row in, and how two partials become one."""

    add: Callable[[Partial, Row, Any], Partial]
    merge: Callable[[Partial, Partial], Partial]


STATISTICS: dict[str, Statistic] = {
    "moments": Statistic(_add_moments, _merge_moments),
    "count": Statistic(_add_count, lambda a, b: a + b),
    "min": Statistic(lambda p, _, x: x if p is None else min(p, x), min),
    "max": Statistic(lambda p, _, x: x if p is None else max(p, x), max),
    "first": Statistic(_add_first, lambda a, b: min(a, b, key=_place)),
    "last": Statistic(_add_last, lambda a, b: max(a, b, key=_place)),
}

STATISTIC_OF = {"sum": "moments", "mean": "moments", "std": "moments"}
"""The statistic of each kind of aggregate that is not its own."""


def _std(p: Partial) -> float | None:
    return math.sqrt(p[2] / (p[0] - 1)) if p[0] > 1 else None


READ: dict[str, Callable[[Partial], Any]] = {
    "count": lambda p: p,
    "sum": lambda p: p[1],
    "mean": lambda p: p[1] / p[0],
    "std": _std,
    "min": lambda p: p,
    "max": lambda p: p,
    "first": lambda p: p[2],
    "last": lambda p: p[2],
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a view's aggregates find their partials: one group of tiles per hop, one slot per measure and statistic.

    Attributes:
        measures: the distinct (argument, condition) of the aggregates; a row carries one value for each.
        groups: per hop, its slots: which measure, which statistic.
        places: per aggregate label, its group and slot.
        keep: per group, the longest window; None keeps for ever.
    """

    view: type[FeatureView]
    aggregates: tuple[Feature[Any], ...]
    measures: list[str] = field(default_factory=list)
    groups: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, view: type[FeatureView]) -> Layout:
        """The layout of all aggregates of a view."""
        layout = cls(view, view.__view__.aggregates)
        for aggregate in layout.aggregates:
            layout._place(aggregate)
        return layout

    def _place(self, aggregate: Feature[Any]) -> None:
        measure = _index(self.measures, measure_of(aggregate))
        slots = self.groups.setdefault(aggregate.settings["window"].hop, [])
        slot = _index(slots, (measure, STATISTIC_OF.get(aggregate.op, aggregate.op)))
        self.places[aggregate.label] = (
            list(self.groups).index(aggregate.settings["window"].hop),
            slot,
        )

    def empty(self) -> State:
        """The state of a key without rows."""
        return State([{} for _ in self.groups])

    def apply(self, state: State, rows: Iterable[Row], now: int) -> None:
        """Takes rows in, and those that waited and are visible before `now`; drops tiles that no window reaches any more."""
        waiting = [*state.waiting, *rows]
        state.waiting = [row for row in waiting if row.visible >= now]
        for row in waiting:
            if row.visible < now:
                self._add(state, row)
        for tiles, longest in zip(state.tiles, self._longest(), strict=True):
            if longest is not None:
                start = longest.start(now)
                for dead in [s for s in tiles if s < start]:
                    del tiles[dead]

    def _longest(self) -> Iterator[Window | None]:
        for hop in self.groups:
            windows = [
                a.settings["window"] for a in self.aggregates if a.settings["window"].hop == hop
            ]
            yield max(windows, key=lambda w: w.size or 0) if hop else None

    def _add(self, state: State, row: Row) -> None:
        for (hop, slots), tiles in zip(self.groups.items(), state.tiles, strict=True):
            partials = tiles.setdefault(row.event // hop * hop if hop else 0, [None] * len(slots))
            _add_row(partials, slots, row)

    def read(self, state: State, at: int) -> dict[str, Any]:
        """The aggregates at a time, by label: over the tiles in the window and the rows that became visible meanwhile."""
        extra = [row for row in state.waiting if row.visible < at]
        return {a.label: self._read(state, a, at, extra) for a in self.aggregates}

    def _read(self, state: State, aggregate: Feature[Any], at: int, extra: Sequence[Row]) -> Any:
        window: Window = aggregate.settings["window"]
        group, slot = self.places[aggregate.label]
        measure, kind = self.groups[window.hop][slot]
        statistic, start = STATISTICS[kind], window.start(at)
        total: Partial = None
        for tile, partials in state.tiles[group].items():
            found = partials[slot]
            if found is not None and (tile >= start or not window.hop):
                total = found if total is None else statistic.merge(total, found)
        for row in extra:
            if row.event >= start and row.values[measure] is not None:
                total = statistic.add(total, row, row.values[measure])
        if total is None:
            return 0 if aggregate.op == "count" else None
        return READ[aggregate.op](total)


def _add_row(partials: list[Partial], slots: Sequence[tuple[int, str]], row: Row) -> None:
    for slot, (measure, kind) in enumerate(slots):
        value = row.values[measure]
        if value is not None:
            partials[slot] = STATISTICS[kind].add(partials[slot], row, value)


def measure_of(aggregate: Feature[Any]) -> str:
    """What an aggregate takes from a row: its argument and condition, as text that equal ones share."""
    return f"{aggregate.args!r} where {aggregate.settings['where']!r}"


def _index(items: list[Any], item: Any) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)


_DECODER = msgspec.msgpack.Decoder(State)
encode = msgspec.msgpack.Encoder().encode
"""A state as bytes."""


def decode(data: bytes) -> State:
    """The state of bytes that `encode` made."""
    return _DECODER.decode(data)
