"""Partials: what a tile keeps of its rows, statistic by statistic, and how windows are read of it.

A statistic of the window kernel is kept by its state; one that gives numbers of rows, by the times,
offsets and values of those rows, which then are the rows that a window is read over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainspring.features.kernel import FOREVER, search
from mainspring.features.section import EVENT, NONE, OFFSET, START, Section
from mainspring.features.sketch import starts_of
from mainspring.features.statistic import Ints, Rows, State, Statistic, Values, statistic
from mainspring.windows import Window


@dataclass(frozen=True, slots=True)
class Slot:
    """One partial of a tile: which measure, which statistic, and the words that it takes.

    One that keeps rows has their event times, then their offsets, then their values.
    """

    measure: int
    name: str
    parameter: float | None
    at: int

    @property
    def statistic(self) -> Statistic:
        return statistic(self.name, self.parameter)

    @property
    def width(self) -> int:
        return 3 * self.statistic.keeps or len(self.statistic.neutral)


@dataclass(frozen=True, slots=True)
class Span:
    """For each key the tiles from lo to hi, those of a window; and the partials read of them."""

    tiles: Section
    lo: Ints
    hi: Ints
    known: dict[int, tuple[Values, State]] = field(default_factory=dict[int, tuple[Values, State]])

    @classmethod
    def of(cls, tiles: Section, window: Window, at: Ints) -> Span:
        edges = np.searchsorted(tiles.owner, np.arange(len(at) + 1))
        lo, hi = edges[:-1], edges[1:]
        if window.size is not None:
            start = np.ascontiguousarray(tiles.column(START))
            lo = search(start, lo, hi, window.start(at))
        return cls(tiles, lo, hi)

    def until(self, window: Window) -> Ints:
        """The last time at which the first tile of each key is still in the window."""
        if window.size is None or not len(self.tiles.owner):
            return np.full(len(self.lo), FOREVER)
        start = self.tiles.words[np.minimum(self.lo, len(self.tiles.owner) - 1), START]
        return np.where(self.lo < self.hi, start + window.size + window.hop - 1, FOREVER)


def tile_of(event: Any, hop: int) -> Any:
    """The start of the tile that an event, or each of an array, falls in; all history is one.

    Example:
        >>> tile_of(17, hop=5), tile_of(-1, hop=5), tile_of(17, hop=0)
        (15, -5, 0)
    """
    return event // hop * hop if hop else event * 0


def tiles_of(rows: Section, measures: Sequence[Rows], hop: int, slots: Sequence[Slot]) -> Section:
    """The tiles of one hop of sorted rows."""
    start = tile_of(rows.column(EVENT), hop)
    begins = starts_of(rows.owner, start)
    lo = np.flatnonzero(begins)
    hi = np.append(lo, len(begins))[1:]
    words = np.empty((len(lo), slots[-1].at + slots[-1].width), np.int64)
    words[:, START] = start[lo]
    for slot in slots:
        words[:, slot.at : slot.at + slot.width] = _partial(
            slot, rows, measures[slot.measure], lo, hi
        )
    return Section(rows.owner[lo], words)


def _partial(slot: Slot, rows: Section, measure: Rows, lo: Ints, hi: Ints) -> Ints:
    """What one slot of each tile keeps of the rows from lo to hi."""
    found = slot.statistic.read(slot.statistic.prepare(measure), lo, hi)
    if not slot.statistic.keeps:
        return np.stack([array.view(np.int64) for array in found], axis=1)
    number = found[0].reshape(len(lo), -1)
    known = (number >= 0) & (number < len(rows.owner))
    at = np.where(known, number, 0)
    missing = FOREVER if slot.name == "first" else NONE
    event = np.where(known, rows.words[at, EVENT], missing)
    offset = np.where(known, rows.words[at, OFFSET], NONE)
    value = np.where(known, measure.values[at].view(np.int64), 0)
    return np.concatenate([event, offset, value], axis=1)


def merged_tiles(slots: Sequence[Slot], tiles: Section, more: Section) -> Section:
    """Tiles of both; where both have one, they become one."""
    if not len(tiles.owner) or not len(more.owner):
        return tiles if len(tiles.owner) else more
    both = tiles.and_(more).sorted_by(START)
    begins = starts_of(both.owner, both.column(START))
    merged = both.take(begins)
    twice = np.flatnonzero(~begins)  # the second of two
    if len(twice):
        place = np.cumsum(begins)[twice] - 1
        for slot in slots:
            columns = slice(slot.at, slot.at + slot.width)
            pair = both.words[twice - 1, columns], both.words[twice, columns]
            merged.words[place, columns] = _joined(slot, *pair)
    return merged


def _joined(slot: Slot, a: Ints, b: Ints) -> Ints:
    """The partials of two parts as those of one."""
    keeps = slot.statistic.keeps
    if not keeps:
        pair = (tuple(part.view(np.float64).T) for part in (a, b))
        merged = slot.statistic.merge(*pair)
        return np.stack([array.view(np.int64) for array in merged], axis=1)
    event, offset, value = (
        np.concatenate([a[:, lo : lo + keeps], b[:, lo : lo + keeps]], axis=1)
        for lo in (0, keeps, 2 * keeps)
    )
    order = np.lexsort((offset, event), axis=1)
    order = order[:, :1] if slot.name == "first" else order[:, ::-1][:, :keeps]
    taken = (np.take_along_axis(words, order, axis=1) for words in (event, offset, value))
    return np.concatenate(list(taken), axis=1)


def read_slot(slot: Slot, span: Span, is_text: bool) -> tuple[Values, State]:
    """A statistic over the tiles of each key; with it the values that it has numbers of."""
    words = span.tiles.words[:, slot.at : slot.at + slot.width]
    keeps = slot.statistic.keeps
    if not keeps:
        state = tuple(np.ascontiguousarray(words.T).view(np.float64))
        return np.empty(0), slot.statistic.read(state, span.lo, span.hi)
    # The rows that tiles keep, in the order of time: the latest stands first in each.
    event, offset, value = (
        words[:, lo : lo + keeps][:, ::-1].ravel() for lo in (0, keeps, 2 * keeps)
    )
    values = value if is_text else value.view(np.float64)
    rows = Rows(values, offset != NONE, np.arange(len(values)), event)
    prepared = slot.statistic.prepare(rows)
    return values, slot.statistic.read(prepared, span.lo * keeps, span.hi * keeps)
