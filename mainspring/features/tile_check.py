"""Tile check: what the online store holds of a key, against the rows that it is made of.

Every tile is made anew from the rows that the store has taken in, and compared word by word. So a
tile that was broken is found whatever reads of it, as long as its window lasts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec
import numpy as np

from mainspring.expressions import Feature
from mainspring.features.entity import Entity
from mainspring.features.guess import Guess, about_rows
from mainspring.features.kernel import FOREVER
from mainspring.features.key_rows import Evidence, KeyRows, kind_taken, moment, row_named, said
from mainspring.features.materialise import history_of
from mainspring.features.online import APPLIED, Applied, OnlineFeatures, coded_measures
from mainspring.features.parity import TOLERANCE
from mainspring.features.partials import Slot, tile_of
from mainspring.features.section import (
    BAG_START,
    CODE,
    COUNT,
    EVENT,
    NONE,
    OFFSET,
    SLOT,
    START,
    UNTIL,
    VALUES,
    VISIBLE,
    Section,
)
from mainspring.features.sketch import CODES
from mainspring.features.statistic import Ints
from mainspring.features.tiles import Layout, Reading, States
from mainspring.features.view import FeatureView
from mainspring.sources.table import LIVE
from mainspring.vectors import Vectors

_TRIES = 60
_NAMES = {
    "count": ("count",),
    "sum": ("sum",),
    "lowest": ("lowest",),
    "highest": ("highest",),
    "moments": ("count", "mean", "squared deviations"),
    "decayed": ("weight", "weighted sum", "as of"),
}

Words = Mapping[int, Ints]
"""What is held for one aggregate, by the start of the tile, or by the offset of a row."""


@dataclass(frozen=True, slots=True)
class Differs:
    """A tile that holds something else than its rows say; or a row that is kept as one.

    Attributes:
        start: when the tile begins; None for a row.
        offsets: of the rows that it is made of.
    """

    start: int | None
    held: str
    rows_say: str
    offsets: Sequence[int]


@dataclass(frozen=True, slots=True)
class Held:
    """What the store holds of one key now, and what it would hold if it were made of its rows.

    Attributes:
        behind: how many rows came in behind the stream since the store was built.
    """

    layout: Layout
    now: int
    held: States
    made: States
    rows: KeyRows
    section: Section
    behind: int

    @classmethod
    def of(cls, view: type[FeatureView], request: Vectors, evidence: Evidence) -> Held | None:
        """What there is for the key of a request; None if the store holds other views."""
        online = evidence.online
        if online is None or not online.materialised:
            return None
        entity = online.entities[view.__view__.id]
        applied, data = _snapshot(online, entity, request)
        rows = KeyRows.read(view, request, evidence, LIVE + applied.offset)
        layout, now = entity.layout, applied.arrival + 1
        states = entity.packing.unpack([data])
        section = layout.rows(
            owner=np.zeros(len(rows), np.int64),
            event=rows.event,
            arrival=rows.arrival,
            offset=rows.offset,
            values=coded_measures(layout, rows.table, states.texts),
            until=rows.until,
        )
        nothing = Section.empty(section.words.shape[1])
        held, made = (_applied(layout, s, r, now) for s, r in ((states, nothing), (None, section)))
        behind = history_of(online, evidence.tables, evidence.engine)
        source = view.__view__.source.__schema__.id
        came = behind[source] - applied.history.get(source, behind[source])
        return cls(layout, now, held, made, rows, section, came)

    def compared(self, aggregate: Feature[Any], at: int) -> tuple[int, list[Differs]]:
        """How many tiles of a request's window there still are, and those that differ."""
        reading = self._reading(aggregate)
        held, made = (
            _words(self.layout, reading, self.held),
            _words(self.layout, reading, self.made),
        )
        starts = sorted({*held, *made})
        if not self.layout.keeps_rows:
            first = reading.window.start(at)
            starts = [start for start in starts if first <= start < at]
        differ = [s for s in starts if not self._same(reading, held.get(s), made.get(s))]
        return len(starts), [self._differs(reading, s, held.get(s), made.get(s)) for s in differ]

    def guess(self) -> Guess | None:
        """What was done to the rows, if that gives all that is held of the key."""
        every = np.ones(len(self.rows), bool)
        for guesses in about_rows(self.rows, every, _TRIES):
            for guess in guesses:
                place = guess.rows(self.rows, every, self.now)
                made = _applied(self.layout, None, self.section.take(place), self.now)
                if self._alike(made):
                    is_behind = guess.kind == "behind" and self.behind > 0
                    return (
                        guess if guess.kind == "twice" or is_behind else replace(guess, kind="lost")
                    )
        return None

    def _alike(self, made: States) -> bool:
        """Whether all that is held of the key is this."""
        held = self.held
        if not np.array_equal(held.rows.words, made.rows.words):
            return False
        if not np.array_equal(held.bags.words, made.bags.words):
            return False
        return all(
            np.array_equal(held.tiles[hop].column(START), made.tiles[hop].column(START))
            and all(
                self._same_slot(s, *(_of_slot(x.tiles[hop], s) for x in (held, made)))
                for s in slots
            )
            for hop, slots in self.layout.slots.items()
        )

    def _reading(self, aggregate: Feature[Any]) -> Reading:
        return next(r for r in self.layout.readings if r.aggregate is aggregate)

    def _same(self, reading: Reading, held: Ints | None, made: Ints | None) -> bool:
        if held is None or made is None:
            return False
        if self.layout.keeps_rows or reading.aggregate.op in CODES:
            return np.array_equal(held, made)
        begin = 0
        for slot in _slots(self.layout, reading):
            pair = held[begin : begin + slot.width], made[begin : begin + slot.width]
            begin += slot.width
            if not self._same_slot(slot, *pair):
                return False
        return True

    def _same_slot(self, slot: Slot, held: Ints, made: Ints) -> bool:
        if slot.statistic.keeps:
            return np.array_equal(held, made)
        a, b = held.view(np.float64), made.view(np.float64)
        if slot.name in ("count", "lowest", "highest"):
            return np.array_equal(a, b)
        words = self.section.column(VALUES + slot.measure).view(np.float64)
        usual = float(np.abs(words[np.isfinite(words)]).max(initial=0.0))
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= TOLERANCE * np.maximum(np.maximum(np.abs(a), np.abs(b)), usual)
        return bool(np.all(near | (a == b) | (np.isnan(a) & np.isnan(b))))

    def _differs(
        self, reading: Reading, start: int, held: Ints | None, made: Ints | None
    ) -> Differs:
        say = partial(self._said, reading)
        if self.layout.keeps_rows:
            return Differs(None, say(held), say(made), [start])
        visible = self.rows.seen(self.now)
        own = visible & (tile_of(self.rows.event, reading.window.hop) == start)
        return Differs(start, say(held), say(made), self.rows.offset[own].tolist())

    def _said(self, reading: Reading, words: Ints | None) -> str:
        """What a tile holds for an aggregate, in words."""
        if words is None:
            return "nothing"
        if self.layout.keeps_rows:
            value, until = self._value(reading, int(words[VALUES])), int(words[UNTIL])
            ends = "" if until == FOREVER else f", until {moment(until)}"
            return f"{value} of {moment(int(words[EVENT]))}{ends}"
        if reading.aggregate.op in CODES:
            codes, counts = words.reshape(-1, 2).T
            return f"{len(codes)} values in {int(counts.sum())} rows"
        told, begin = list[str](), 0
        for slot in _slots(self.layout, reading):
            told += self._slot_said(reading, slot, words[begin : begin + slot.width])
            begin += slot.width
        return ", ".join(told)

    def _slot_said(self, reading: Reading, slot: Slot, words: Ints) -> Iterator[str]:
        keeps = slot.statistic.keeps
        if keeps:
            for offset, value in zip(words[keeps : 2 * keeps], words[2 * keeps :], strict=True):
                if offset != NONE:
                    yield f"{row_named(int(offset))}: {self._value(reading, int(value))}"
            return
        of_times = reading.aggregate.op == "time_since_last" and slot.name == "highest"
        for name, value in zip(_NAMES[slot.name], words.view(np.float64).tolist(), strict=True):
            is_time = (of_times or name == "as of") and np.isfinite(value)
            yield f"{name} {moment(int(value)) if is_time else said(value)}"

    def _value(self, reading: Reading, word: int) -> str:
        kind = kind_taken(reading.aggregate)
        if kind == "text":
            return said((self.held.texts | self.made.texts).get(word), kind)
        return said(float(np.array([word]).view(np.float64)[0]), kind)


def _snapshot(
    online: OnlineFeatures, entity: Entity, request: Vectors
) -> tuple[Applied, bytes | None]:
    """How far the store knows, and the state of a key, at one moment."""
    (key,) = entity.keys([request[column.name] for column in entity.view.keys])
    header, data = online.store.read([APPLIED, key])
    return msgspec.msgpack.decode(header or b"\x90", type=Applied), data


def _applied(layout: Layout, states: States | None, rows: Section, now: int) -> States:
    return layout.apply(layout.empty(1) if states is None else states, rows, now)


def _of_slot(tiles: Section, slot: Slot) -> Ints:
    return np.ascontiguousarray(tiles.words[:, slot.at : slot.at + slot.width])


def _slots(layout: Layout, reading: Reading) -> list[Slot]:
    return [layout.slots[reading.window.hop][number] for number in reading.slots]


def _words(layout: Layout, reading: Reading, states: States) -> dict[int, Ints]:
    """What is held for one aggregate, tile by tile; of a change feed, row by row."""
    if layout.keeps_rows:
        columns = [EVENT, VISIBLE, UNTIL, OFFSET, VALUES + reading.measure]
        return _by(states.rows, OFFSET, columns)
    if reading.aggregate.op in CODES:
        bags = states.bags.take(states.bags.column(SLOT) == reading.slots[0])
        starts = bags.column(BAG_START)
        return {
            int(start): bags.words[starts == start][:, [CODE, COUNT]].ravel()
            for start in np.unique(starts)
        }
    columns = [c for s in _slots(layout, reading) for c in range(s.at, s.at + s.width)]
    return _by(states.tiles[reading.window.hop], START, columns)


def _by(section: Section, word: int, columns: Sequence[int]) -> dict[int, Ints]:
    records = np.ascontiguousarray(section.words[:, list(columns)])
    return dict(zip(section.column(word).tolist(), records, strict=True))
