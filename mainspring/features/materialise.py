"""Materialise: the online state built from history, handed over to the stream at a log offset.

The tiles of a batch of sorted rows are what the window kernel's statistics give over the runs of
rows that fall in one tile each. What a key has in two batches is merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.engines.base import Engine
from mainspring.expressions import kind_of
from mainspring.features.measure import measured
from mainspring.features.online import Applied, OnlineFeatures, identity_key, key_bytes
from mainspring.features.point_in_time import (
    EVENT,
    VISIBLE,
    TableOf,
    key_runs,
    quoted,
    reach,
    sorted_events,
)
from mainspring.features.statistic import STATISTICS
from mainspring.features.tiles import Layout, Partial, Row, Slot, State, encode, tile_of
from mainspring.sources.source import Source
from mainspring.sources.table import LIVE, OFFSET
from mainspring.vectors import Vector, from_arrow

Keyed = dict[bytes, State]
"""States by their key in the store."""


def materialise(
    online: OnlineFeatures,
    tables: TableOf,
    engine: Engine,
    now: int,
    log_offset: int,
    sources: Iterable[type[Source]] = (),
) -> int:
    """Builds the online features anew from the tables, and gives how many rows were taken in.

    Reads at `now` or later then equal the point-in-time join: rows that are not visible yet wait
    beside the tiles. The stream goes on at `log_offset`. The store is emptied first and says that
    it is whole in the last transaction only, so that a kill leaves one that says it is not. Memory
    is bounded by a batch of rows and the state of one key.

    Args:
        now: a time before which nothing will arrive any more.
        log_offset: the tables have every record of the log below it; later ones are left out.
        sources: the unique sources whose keys are remembered, so that a row which history has is
            not taken again from the log; those of the views always are.
    """
    online.clear()
    rows, views = 0, [layout.view.__view__ for layout in online.layouts.values()]
    for layout in online.layouts.values():
        for count, states in _joined(layout, _batches(layout, tables, engine, now, log_offset)):
            online.store.write({key: encode(state) for key, state in states.items()})
            rows += count
    for source in {*(view.source for view in views), *sources}:
        for identities in _unique_keys(source, tables(source).files, engine, log_offset):
            online.store.write(identities)
    online.store.write(online.header(Applied(log_offset, now - 1)))
    return rows


def _batches(
    layout: Layout, tables: TableOf, engine: Engine, now: int, log_offset: int
) -> Iterator[tuple[int, Keyed]]:
    """The rows that a view's windows reach, as states, batch after batch in the order of keys."""
    view = layout.view.__view__
    where = f"{reach(view, layout.aggregates, now)} AND {OFFSET} < {LIVE + log_offset}"
    query, files = sorted_events(view, layout.aggregates, where), tables(view.source).files
    for batch in engine.stream(query, events=files) if files else ():
        yield batch.num_rows, _states(layout, pa.Table.from_batches([batch]), now)


def _joined(layout: Layout, batches: Iterable[tuple[int, Keyed]]) -> Iterator[tuple[int, Keyed]]:
    """The batches with each key in one of them: the last key of one may go on in the next."""
    held: Keyed = {}
    for count, states in batches:
        for key in held.keys() & states.keys():
            layout.merge(held[key], states[key])
        known = states | held
        last = next(reversed(states))
        held = {last: known.pop(last)}
        yield count, known
    yield 0, held


def _states(layout: Layout, events: pa.Table, now: int) -> Keyed:
    """The states of the keys of sorted rows, in order."""
    view = layout.view.__view__
    keys, starts = key_runs(view, events)
    states = [layout.empty() for _ in range(len(keys))]
    values = measured(layout.aggregates, events)
    owner = np.repeat(np.arange(len(keys)), np.diff(starts))
    event, visible, offset = (np.asarray(events[name]) for name in (EVENT, VISIBLE, OFFSET))
    rows = _Rows(owner, event, visible, offset, [values[m] for m in layout.measures])
    for hop, slots in layout.slots.items():
        settled = rows.where((rows.visible < now) & (rows.event >= layout.reach[hop].start(now)))
        for key, start, partials in settled.tiles(hop, slots):
            states[key].tiles[hop][start] = partials
    for key, row in rows.where(rows.visible >= now).waiting():
        states[key].waiting.append(row)
    names = from_arrow(keys, kind_of(view.key)).tolist()
    return {key_bytes(view.id, name): state for name, state in zip(names, states, strict=True)}


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows sorted by key, event time and offset, one array each; `owner` is the key's number."""

    owner: Vector
    event: Vector
    visible: Vector
    offset: Vector
    measures: Sequence[Vector]

    def where(self, mask: Vector) -> _Rows:
        """The rows where a mask is true."""
        owner, event, visible, offset, *measures = (field[mask] for field in self._fields())
        return _Rows(owner, event, visible, offset, measures)

    def _fields(self) -> tuple[Vector, ...]:
        return (self.owner, self.event, self.visible, self.offset, *self.measures)

    def waiting(self) -> Iterator[tuple[int, Row]]:
        """Each row by itself, with its key."""
        columns = [field.tolist() for field in self._fields()]
        for key, event, visible, offset, *values in zip(*columns, strict=True):
            yield key, Row(event, visible, offset, [None if v != v else v for v in values])

    def tiles(self, hop: int, slots: Sequence[Slot]) -> Iterator[tuple[int, int, list[Partial]]]:
        """The tiles of one hop: key, start and partials."""
        start = tile_of(self.event, hop)
        begins = (np.diff(self.owner, prepend=-1) != 0) | (np.diff(start, prepend=0) != 0)
        lo = np.flatnonzero(begins)
        hi = np.append(lo, len(begins))[1:]
        partials = zip(*(self._partials(slot, lo, hi) for slot in slots), strict=True)
        return zip(self.owner[lo].tolist(), start[lo].tolist(), map(list, partials), strict=True)

    def _partials(self, slot: Slot, lo: Vector, hi: Vector) -> list[Partial]:
        """What one slot of each tile keeps of the rows from lo to hi."""
        measure, name = slot
        values, numbers = self.measures[measure], np.arange(len(self.owner))
        valid = np.not_equal(values, _NULL) if values.dtype == object else ~np.isnan(values)
        count, statistic = STATISTICS["count"], STATISTICS[name]
        (n,) = count.read(count.prepare(values, valid, numbers), lo, hi)
        found = statistic.read(statistic.prepare(values, valid, numbers), lo, hi)
        if name in ("first", "last"):
            at = np.where(n > 0, found[0], 0)
            found = self.event[at], self.offset[at], values[at]
        columns = [array.tolist() for array in found]
        partials = columns[0] if len(columns) == 1 else map(list, zip(*columns, strict=True))
        return [p if known else None for p, known in zip(partials, n.tolist(), strict=True)]


_NULL: Any = np.array(None)


def _unique_keys(
    source: type[Source], files: Sequence[str], engine: Engine, log_offset: int
) -> Iterator[dict[bytes, bytes]]:
    """What the store remembers of a source's unique keys, batch after batch."""
    unique = source.__schema__.unique
    if unique is None or not files:
        return
    key = quoted(unique.name)
    query = f"""SELECT {key} AS key, min({OFFSET}) AS first FROM rows
        WHERE {key} IS NOT NULL AND {OFFSET} < {LIVE + log_offset} GROUP BY {key} ORDER BY {key}"""
    for batch in engine.stream(query, rows=files):
        keys = from_arrow(batch["key"], kind_of(unique)).tolist()
        first = zip(keys, batch["first"].to_pylist(), strict=True)
        yield {identity_key(source, k): offset.to_bytes(8) for k, offset in first}
