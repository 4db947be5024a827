"""Tiles: mergeable partial aggregates per entity key and hop, so that a read at any time is exact.

A tile holds what the aggregates need of the rows with `start <= event time < start + hop`; windows
snap their start to the hop, so a window is a run of whole tiles. A row that is not visible yet
waits beside the tiles and counts in a read from its visible time on. Rows of a change feed all stay
rows, as a later version may take any of them back. The statistics and formulas are those of the
window kernel, and everything is done for many keys at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainspring.expressions import Feature, Wide, kind_of
from mainspring.features import sketch
from mainspring.features.kernel import FOREVER, is_known
from mainspring.features.measure import measure_of, parameter_of
from mainspring.features.partials import Slot, Span, merged_tiles, read_slot, tile_of, tiles_of
from mainspring.features.section import (
    BAG_START,
    CODE,
    COUNT,
    EVENT,
    OFFSET,
    PARTIALS,
    SLOT,
    START,
    UNTIL,
    VALUES,
    VISIBLE,
    Section,
)
from mainspring.features.sketch import CODES, NOTHING, K, Texts, bag_of, smallest, starts_of
from mainspring.features.statistic import FORMULAS, Ints, Rows, Values
from mainspring.features.view import FeatureView
from mainspring.windows import Window


@dataclass(frozen=True, slots=True)
class Reading:
    """How an aggregate is read: its window, its partials, and where its value stands among all."""

    aggregate: Feature[Any]
    window: Window
    slots: Sequence[int]
    measure: int
    at: int
    width: int
    is_text: bool


@dataclass(slots=True)
class States:
    """What is kept of several keys.

    Attributes:
        tiles: per hop, in the order of owner and start.
        rows: those that wait, in the order of owner, event time and offset.
        bags: in the order of owner, slot, start and code.
        texts: what text the codes in it stand for.
    """

    owners: int
    tiles: dict[int, Section]
    rows: Section
    bags: Section
    texts: dict[int, str] = field(default_factory=dict[int, str])

    def before(self, owner: int) -> States:
        """The states of the keys before one."""
        return self._each(owner, lambda section: section.take(section.owner < owner))

    def since(self, owner: int, owners: int) -> States:
        """The states of the keys from one on, which is the first of so many then."""

        def moved(section: Section) -> Section:
            kept = section.take(section.owner >= owner)
            return Section(kept.owner - owner, kept.words)

        return self._each(owners, moved)

    def _each(self, owners: int, taken: Callable[[Section], Section]) -> States:
        tiles = {hop: taken(section) for hop, section in self.tiles.items()}
        return States(owners, tiles, taken(self.rows), taken(self.bags), self.texts)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a view's aggregates find their partials.

    Attributes:
        measures: the distinct (argument, condition) of the aggregates; a row has a value for each,
            which `is_text` says is a code.
        slots: per hop, what each tile keeps.
        bags: the hop, the measure and the kind of each bag.
        readings: the aggregates, in the order in which their values stand.
        reach: per hop, the longest window: tiles before its start are dropped.
        keeps_rows: whether rows stay rows, as a later version may take them back.

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
        >>> rows = layout.rows(
        ...     owner=np.array([0, 0]), event=np.array([10, 11]), arrival=np.array([12, 20]),
        ...     offset=np.array([0, 1]), values=[np.array([3.0, 4.0])])
        >>> states = layout.apply(layout.empty(1), rows, now=15)
        >>> [layout.read(states, np.array([at])).view(float).tolist() for at in (15, 21)]
        [[[3.0]], [[7.0]]]
    """

    view: type[FeatureView]
    aggregates: tuple[Feature[Any], ...]
    keeps_rows: bool
    measures: list[str] = field(default_factory=list[str])
    is_text: list[bool] = field(default_factory=list[bool])
    slots: dict[int, list[Slot]] = field(default_factory=dict[int, list[Slot]])
    bags: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    readings: list[Reading] = field(default_factory=list[Reading])
    reach: dict[int, Window] = field(default_factory=dict[int, Window])

    @classmethod
    def of(cls, view: type[FeatureView]) -> Layout:
        """The layout of all aggregates of a view."""
        about = view.__view__
        is_feed = about.source.__schema__.is_feed
        layout = cls(view, about.aggregates, is_feed)
        for aggregate in layout.aggregates:
            layout._place(aggregate, aggregate.settings["window"])
        return layout

    def _place(self, aggregate: Feature[Any], window: Window) -> None:
        kind, parameter = aggregate.op, parameter_of(aggregate)
        is_text = kind != "time_since_last" and bool(aggregate.args)
        is_text = is_text and kind_of(aggregate.args[0]) == "text"
        measure = _index(self.measures, measure_of(aggregate))
        if measure == len(self.is_text):
            self.is_text.append(is_text)
        slots = self.slots.setdefault(window.hop, [])
        if kind in CODES:
            self._slot(slots, measure, "count", None)  # so that there is a tile where values are
            places = [_index(self.bags, (window.hop, measure, kind))]
        else:
            places = [self._slot(slots, measure, n, parameter) for n in FORMULAS[kind].of]
        width = len(aggregate) if isinstance(aggregate, Wide) else 1
        shown = is_text and kind not in ("count", "count_distinct")
        reading = Reading(aggregate, window, places, measure, self.values, width, shown)
        self.readings.append(reading)
        longest = self.reach.setdefault(window.hop, window)
        self.reach[window.hop] = max(longest, window, key=lambda w: w.size or 0)

    def _slot(self, slots: list[Slot], measure: int, name: str, parameter: float | None) -> int:
        told = parameter if name in ("last_k", "decayed") else None
        for number, slot in enumerate(slots):
            if (slot.measure, slot.name, slot.parameter) == (measure, name, told):
                return number
        end = slots[-1].at + slots[-1].width if slots else PARTIALS
        slots.append(Slot(measure, name, told, end))
        return len(slots) - 1

    @property
    def values(self) -> int:
        """How many values the aggregates have."""
        return self.readings[-1].at + self.readings[-1].width if self.readings else 0

    @property
    def has_text(self) -> bool:
        """Whether any measure is text."""
        return any(self.is_text)

    def widths(self) -> list[int]:
        """The words of a tile of each hop, of a row, and of what a bag has in a tile."""
        tiles = [slots[-1].at + slots[-1].width for slots in self.slots.values()]
        return [*tiles, VALUES + len(self.measures), COUNT + 1]

    def empty(self, owners: int) -> States:
        """The states of keys without rows."""
        *tiles, rows, bags = map(Section.empty, self.widths())
        return States(owners, dict(zip(self.slots, tiles, strict=True)), rows, bags)

    def rows(
        self,
        *,
        owner: Ints,
        event: Ints,
        arrival: Ints,
        offset: Ints,
        values: Sequence[Values],
        until: Ints | None = None,
    ) -> Section:
        """Rows as a section.

        Args:
            values: one array for each of `measures`; of text, its codes.
        """
        words = np.empty((len(owner), VALUES + len(values)), np.int64)
        words[:, EVENT], words[:, VISIBLE] = event, np.maximum(event, arrival)
        words[:, UNTIL], words[:, OFFSET] = FOREVER if until is None else until, offset
        for number, column in enumerate(values, VALUES):
            words[:, number] = column.view(np.int64)
        return Section(owner, words).sorted_by(EVENT, OFFSET)

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def apply(self, states: States, rows: Section, now: int) -> States:
        """The states with more rows: those visible before `now`, waiting ones too, in the tiles.

        Tiles, and kept rows, that no read at `now` or later reaches are dropped.
        """
        known = states.rows.and_(rows).sorted_by(EVENT, OFFSET)
        tiles, bags = dict(states.tiles), states.bags
        if self.keeps_rows:
            starts = [w.start(now) for w in self.reach.values()]
            times = known.words.T
            known = known.take((times[UNTIL] >= now) & (times[EVENT] >= min(starts)))
        else:
            visible = known.column(VISIBLE) < now
            tiles, bags = self._merged(tiles, bags, known.take(visible))
            known = known.take(~visible)
        for hop, section in tiles.items():
            tiles[hop] = section.take(section.column(START) >= self.reach[hop].start(now))
        reached = np.array([self.reach[hop].start(now) for hop, _, _ in self.bags], np.int64)
        bags = bags.take(bags.column(BAG_START) >= reached[bags.column(SLOT)])
        return States(states.owners, tiles, known, bags, states.texts)

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def merge(self, states: States, other: States) -> States:
        """The states of the rows of both, of the same keys."""
        tiles = {
            hop: merged_tiles(slots, states.tiles[hop], other.tiles[hop])
            for hop, slots in self.slots.items()
        }
        bags = self._merged_bags(states.bags.and_(other.bags))
        rows = states.rows.and_(other.rows).sorted_by(EVENT, OFFSET)
        return States(states.owners, tiles, rows, bags, states.texts | other.texts)

    def _merged(
        self, tiles: Mapping[int, Section], bags: Section, rows: Section
    ) -> tuple[dict[int, Section], Section]:
        """Tiles and bags with the rows in them."""
        if not len(rows.owner):
            return dict(tiles), bags
        measures = [self._measure(rows, number) for number in range(len(self.measures))]
        merged = {
            hop: merged_tiles(slots, tiles[hop], tiles_of(rows, measures, hop, slots))
            for hop, slots in self.slots.items()
        }
        for number, (hop, measure, kind) in enumerate(self.bags):
            bags = bags.and_(_bag_entries(rows, measures[measure], hop, number, kind))
        return merged, self._merged_bags(bags)

    def _measure(self, rows: Section, number: int) -> Rows:
        words = rows.column(VALUES + number)
        values = words if self.is_text[number] else words.view(np.float64)
        return Rows(values, is_known(values), np.arange(len(words)), rows.column(EVENT))

    def _merged_bags(self, bags: Section) -> Section:
        if not self.bags:
            return bags
        bags = bags.sorted_by(SLOT, BAG_START, CODE)
        slot, start, code, count = bags.words.T
        begins = starts_of(bags.owner, slot, start, code)
        merged = bags.take(begins)
        if len(merged.owner) < len(bags.owner):
            merged.words[:, COUNT] = np.add.reduceat(count, np.flatnonzero(begins))
        distinct = np.array([kind == "count_distinct" for _, _, kind in self.bags])
        slot, start, _, _ = merged.words.T
        few = smallest(starts_of(merged.owner, slot, start), K)
        return merged.take(few | ~distinct[slot])

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def read(self, states: States, at: Ints) -> Ints:
        """The values of the aggregates at a time for each key, as words; of text, its code."""
        return self._read(*self._seen(states, at), states, at)[0]

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def read_ahead(self, states: States, at: Ints) -> tuple[Ints, Ints]:
        """The values at a time for each key, and until when they hold if nothing arrives."""
        words, until = self._read(*self._seen(states, at), states, at)
        seen, rows = at[states.rows.owner], states.rows.words
        ends = np.where(rows[:, VISIBLE] >= seen, rows[:, VISIBLE], rows[:, UNTIL])
        np.minimum.at(until, states.rows.owner, np.where(ends >= seen, ends, FOREVER))
        return words, until

    def _seen(self, states: States, at: Ints) -> tuple[Mapping[int, Section], Section]:
        """The tiles and bags, with the waiting rows in them that are visible by now."""
        seen, rows = at[states.rows.owner], states.rows.words
        visible = (rows[:, VISIBLE] < seen) & (seen <= rows[:, UNTIL])
        if not visible.any():
            return states.tiles, states.bags
        return self._merged(states.tiles, states.bags, states.rows.take(visible))

    def _read(
        self, tiles: Mapping[int, Section], bags: Section, states: States, at: Ints
    ) -> tuple[Ints, Ints]:
        words = np.empty((states.owners, self.values), np.int64)
        until = np.full(states.owners, FOREVER)
        spans, texts = dict[Window, Span](), _texts(states.texts)
        for reading in self.readings:
            window = reading.window
            if window not in spans:
                spans[window] = Span.of(tiles[window.hop], window, at)
                np.minimum(until, spans[window].until(window), out=until)
            if reading.aggregate.op in CODES:
                found = self._bagged(reading, bags, at, texts)
            else:
                found = self._folded(reading, spans[window])
            columns = slice(reading.at, reading.at + reading.width)
            words[:, columns] = found.view(np.int64).reshape(-1, reading.width)
        return words, until

    def _folded(self, reading: Reading, span: Span) -> Values:
        slots = self.slots[reading.window.hop]
        arrays: list[Values] = []
        values: Values = np.empty(0)
        for number in reading.slots:
            key = id(slots[number])
            if key not in span.known:
                span.known[key] = read_slot(slots[number], span, self.is_text[reading.measure])
            values, state = span.known[key]
            arrays += state
        found = FORMULAS[reading.aggregate.op].finish(values, *arrays)
        return found if found.dtype == np.int64 else found.astype(np.float64)

    def _bagged(self, reading: Reading, bags: Section, at: Ints, texts: Texts) -> Values:
        slot, start, code, count = bags.words.T
        inside = (slot == reading.slots[0]) & (start >= reading.window.start(at)[bags.owner])
        bag = bag_of(bags.owner[inside], code[inside], count[inside])
        kind, parameter = reading.aggregate.op, parameter_of(reading.aggregate)
        found = sketch.finish(kind, bag, len(at), parameter, texts if reading.is_text else None)
        if kind != "top_k":
            return found
        return np.where(found == NOTHING, 0, found) if reading.is_text else sketch.floats_of(found)


def _index(items: list[Any], item: Any) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)


def _bag_entries(rows: Section, measure: Rows, hop: int, number: int, kind: str) -> Section:
    known = np.flatnonzero(measure.valid)
    words = np.empty((len(known), COUNT + 1), np.int64)
    words[:, SLOT], words[:, COUNT] = number, 1
    words[:, BAG_START] = tile_of(rows.words[known, EVENT], hop)
    words[:, CODE] = CODES[kind](measure.values[known])
    return Section(rows.owner[known], words)


def _texts(texts: Mapping[int, str]) -> Texts:
    named = np.empty(len(texts), object)
    named[:] = list(texts.values())
    return Texts.paired(np.fromiter(texts, np.int64, len(texts)), named)
