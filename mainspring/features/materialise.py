"""Materialise: the online state built from history, handed over to the stream at a log offset.

The rows of a view are read in the order of their keys and become states batch by batch, as the
stream's do. What a key has in two batches is merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from mainspring.engines.base import Engine
from mainspring.expressions import kind_of
from mainspring.features import changes
from mainspring.features.changes import Place
from mainspring.features.entity import Entity
from mainspring.features.kernel import FOREVER
from mainspring.features.keys import Keys, key_vectors
from mainspring.features.online import (
    Applied,
    Group,
    OnlineFeatures,
    coded_measures,
    identity_key,
)
from mainspring.features.point_in_time import (
    EVENT,
    VISIBLE,
    TableOf,
    quoted,
    reach,
    sorted_events,
)
from mainspring.features.tiles import States
from mainspring.sources.source import Source
from mainspring.sources.table import LIVE, OFFSET
from mainspring.sources.versions import UNTIL, versions
from mainspring.vectors import from_arrow

_ROWS = 100_000  # turned into states at once, and the rest of the last key's


def _nobody(rows: int) -> None:
    pass


def materialise(
    online: OnlineFeatures,
    tables: TableOf,
    engine: Engine,
    now: int,
    log_offset: int,
    sources: Iterable[type[Source]] = (),
    *,
    told: Callable[[int], None] = _nobody,
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
        told: is told how many rows were taken in so far.
    """
    online.clear()
    rows, history = 0, history_of(online, tables, engine)
    for entity in online.entities.values():
        for batch in _batches(entity, tables, engine, now, log_offset):
            online.store.write(batch.packed(now))
            rows += batch.rows
            told(rows)
    for source in {*(e.view.source for e in online.entities.values()), *sources}:
        files = tables(source).files
        for found in _unique_keys(source, online, files, engine, log_offset) if files else ():
            online.store.write(found)
    online.store.write(online.header(Applied(log_offset, now - 1, history=history)))
    return rows


def history_of(online: OnlineFeatures, tables: TableOf, engine: Engine) -> dict[str, int]:
    """How many rows the tables have that did not come through the log, by source.

    Where it is not what the store was built of, rows came in behind the stream: a new file, or rows
    mended in quarantine. The tiles do not have them until they are built anew.
    """
    found: dict[str, int] = {}
    for source in {e.view.source for e in online.entities.values()}:
        files = tables(source).files
        query = f"SELECT count(*) AS n FROM rows WHERE {OFFSET} < {LIVE}"
        rows = engine.select(query, rows=files)["n"][0].as_py() if files else 0
        found[source.__schema__.id] = rows
    return found


@dataclass(frozen=True, slots=True)
class _Batch:
    """The states of some keys, and how many rows they are of."""

    entity: Entity
    keys: Sequence[bytes]
    states: States
    rows: int

    def packed(self, now: int) -> dict[bytes, bytes]:
        """What the store gets."""
        return dict(zip(self.keys, self.entity.packed(self.states, now), strict=True))


def _batches(
    entity: Entity, tables: TableOf, engine: Engine, now: int, log_offset: int
) -> Iterator[_Batch]:
    """The rows that a view's windows reach, as states, each key in one batch."""
    view, files = entity.view, tables(entity.view.source).files
    where = [reach(view, view.aggregates, now)]
    known = f"{OFFSET} < {LIVE + log_offset}"
    if view.source.__schema__.is_feed:
        where.append(f"{UNTIL} >= {now}")
    query = sorted_events(view, view.aggregates, " AND ".join(where), among=known)
    held: _Batch | None = None
    for rows in _gathered(engine.stream(query, events=files) if files else ()):
        batch = _batch(entity, rows, now)
        if held is not None and held.keys[-1] == batch.keys[0]:
            held, batch = _joined(held, batch)
        if held is not None:
            yield held
        held = batch
    if held is not None:
        yield held


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(b.num_rows for b in held) >= _ROWS:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _batch(entity: Entity, rows: pa.Table, now: int) -> _Batch:
    """The states of the keys of sorted rows."""
    view, layout = entity.view, entity.layout
    keys = Keys.of(view, rows)
    event, visible, offset = (np.asarray(rows[name], np.int64) for name in (EVENT, VISIBLE, OFFSET))
    is_feed = view.source.__schema__.is_feed
    states = layout.empty(len(keys))
    section = layout.rows(
        owner=np.repeat(np.arange(len(keys)), np.diff(keys.starts)),
        event=event,
        arrival=visible,
        offset=offset,
        values=coded_measures(layout, rows, states.texts),
        until=np.asarray(rows[UNTIL], np.int64) if is_feed else None,
    )
    named = entity.keys(key_vectors(view, keys.known))
    return _Batch(entity, named, layout.apply(states, section, now), rows.num_rows)


def _joined(held: _Batch, batch: _Batch) -> tuple[_Batch | None, _Batch]:
    """Two batches where the last key of one goes on in the next: then it is in the next only."""
    last = len(held.keys) - 1
    begun, layout = held.states.since(last, len(batch.keys)), batch.entity.layout
    batch = replace(batch, states=layout.merge(begun, batch.states), rows=held.rows + batch.rows)
    if not last:
        return None, batch
    return replace(held, keys=held.keys[:-1], states=held.states.before(last), rows=0), batch


def _unique_keys(
    source: type[Source],
    online: OnlineFeatures,
    files: Sequence[str],
    engine: Engine,
    log_offset: int,
) -> Iterator[dict[bytes, bytes]]:
    """What the store remembers of a source's unique keys, batch after batch."""
    unique = source.__schema__.unique
    if unique is None:
        return
    key, known = quoted(unique.name), f"{OFFSET} < {LIVE + log_offset}"
    if source.__schema__.is_feed:
        yield from _places(source, online, engine.stream(_standing(source, known), events=files))
        return
    query = f"""SELECT {key} AS key, min({OFFSET}) AS first FROM rows
        WHERE {key} IS NOT NULL AND {known} GROUP BY {key} ORDER BY {key}"""
    for batch in engine.stream(query, rows=files):
        keys = from_arrow(batch["key"], kind_of(unique)).tolist()
        first = zip(keys, batch["first"].to_pylist(), strict=True)
        yield {identity_key(source, k): offset.to_bytes(8, signed=True) for k, offset in first}


def _standing(source: type[Source], known: str) -> str:
    return f"SELECT * FROM {versions(source, known)} WHERE {UNTIL} = {FOREVER}"


def _places(
    source: type[Source], online: OnlineFeatures, batches: Iterable[pa.RecordBatch]
) -> Iterator[dict[bytes, bytes]]:
    """Where the current versions of a change feed are."""
    mine = [e for e in online.entities.values() if e.view.source is source]
    for batch in batches:
        rows = pa.Table.from_batches([batch])
        known: dict[bytes, Place] = {}
        keys = {e.view.id: Group.of(e, rows).row_keys() for e in mine}
        changes.follow(source, rows, keys, known)
        yield {at: changes.encode(place) for at, place in known.items()}
