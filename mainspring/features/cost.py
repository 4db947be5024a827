"""Cost: what the features of a view keep of each entity online.

It is measured on a part of the rows: those whose keys have one remainder of their hash. So it takes
about as long for many rows as for few, and for the same rows it gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.engines.base import Engine
from mainspring.expressions import Feature
from mainspring.features.entity import Entity
from mainspring.features.kernel import FOREVER
from mainspring.features.measure import columns_needed
from mainspring.features.online import Group
from mainspring.features.partials import Slot
from mainspring.features.point_in_time import event_of, events_of, quoted, reach
from mainspring.features.section import COUNT, SLOT, VALUES
from mainspring.features.sketch import CODES
from mainspring.features.tiles import Layout, Reading, States
from mainspring.features.view import View
from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL, OFFSET, Table
from mainspring.sources.versions import UNTIL

PART = 20_000
"""Rows that are looked at, about; of few keys with many rows each, those of one of them."""

MOST = 10 * PART
"""Rows that are looked at, at most, and requests."""

WORD = 8
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an entity online, on average.

    Attributes:
        entities: how many were looked at.
        bytes: of one, all features together.
        of: the part of each feature in it, by name: what features share is divided among them.
    """

    entities: int
    bytes: float
    of: Mapping[str, float]


def kept(entity: Entity, states: States, packed: Sequence[bytes]) -> Kept:
    """What states keep for each feature of a view.

    Args:
        packed: the same states as bytes, one of each entity.
    """
    names, layout = list(entity.view.features), entity.layout
    if not packed:
        return Kept(0, 0.0, dict.fromkeys(names, 0.0))
    found, each = dict.fromkeys(names, 0.0), 1 / len(packed)
    own = [owner_of(r.aggregate) for r in layout.readings]
    words = entity.packing.end_of_values // WORD - layout.values
    share(found, own, words)
    for name, reading in zip(own, layout.readings, strict=True):
        found[name] += reading.width
    for hop, tiles in states.tiles.items():
        for users, width in _tile(layout, hop):
            share(found, users, width * len(tiles.owner) * each)
    for users, width in _row(layout):
        share(found, users, width * len(states.rows.owner) * each)
    entries = np.bincount(states.bags.column(SLOT), minlength=len(layout.bags))
    for number, count in enumerate(entries.tolist() if layout.bags else ()):
        share(found, _bag(layout, number), (COUNT + 1) * count * each)
    whole = sum(map(len, packed)) * each
    texts = [owner_of(r.aggregate) for r in layout.readings if layout.is_text[r.measure]]
    in_bytes = {name: WORD * words for name, words in found.items()}
    share(in_bytes, texts or own, whole - sum(in_bytes.values()))
    return Kept(len(packed), whole, in_bytes)


def owner_of(aggregate: Feature[Any]) -> str:
    """The feature that an aggregate of a view belongs to, by name: that in whose expression it
    stands, if it has no name of its own."""
    return aggregate.name.partition(".")[0]


def share(found: dict[str, float], users: Sequence[str], amount: float) -> None:
    """Adds equal parts of an amount."""
    for name in users:
        found[name] += amount / len(users)


def _users(readings: Iterable[Reading]) -> list[str]:
    return [owner_of(r.aggregate) for r in readings]


def _tile(layout: Layout, hop: int) -> Iterator[tuple[list[str], int]]:
    """The words of a tile, each with the features that need it."""
    mine = [r for r in layout.readings if r.window.hop == hop]
    yield _users(mine), 1
    for number, slot in enumerate(layout.slots[hop]):
        yield _users(r for r in mine if _needs(r, number, slot)), slot.width


def _needs(reading: Reading, number: int, slot: Slot) -> bool:
    if reading.aggregate.op in CODES:
        return (slot.measure, slot.name) == (reading.measure, "count")
    return number in reading.slots


def _row(layout: Layout) -> Iterator[tuple[list[str], int]]:
    yield _users(layout.readings), VALUES
    for number in range(len(layout.measures)):
        yield _users(r for r in layout.readings if r.measure == number), 1


def _bag(layout: Layout, number: int) -> list[str]:
    return _users(r for r in layout.readings if r.aggregate.op in CODES and r.slots[0] == number)


def at_most(layout: Layout, name: str) -> float:
    """The most bytes of an entity that a feature may keep, whatever its rows; infinite where that
    depends on them."""
    mine = [r for r in layout.readings if owner_of(r.aggregate) == name]
    return WORD * sum(_words_at_most(layout, r) for r in mine)


def _words_at_most(layout: Layout, reading: Reading) -> float:
    longest, hop = layout.reach[reading.window.hop].size, reading.window.hop
    if reading.aggregate.op in CODES or layout.keeps_rows or hop == 1:
        return float("inf")
    tiles = 1 if longest is None else longest // hop + 2
    slots = (layout.slots[hop][number].width for number in reading.slots)
    return reading.width + tiles * (1 + sum(slots))


def kept_by_part(entity: Entity, table: Table, engine: Engine, now: int) -> Kept:
    """What entities would keep online at `now`, computed from some of the rows that there are."""
    view, layout = entity.view, entity.layout
    seen = f"{reach(view, view.aggregates, now)} AND {before(view.source, now)}"
    rows = part_of(view, table, engine, seen, f"{UNTIL} = {FOREVER}")[0] if table.files else None
    if rows is None or not rows.num_rows:
        return kept(entity, layout.empty(0), [])
    group = Group.of(entity, rows)
    states = layout.empty(len(group.keys))
    states.texts |= group.texts
    states = layout.apply(states, group.rows, now)
    return kept(entity, states, entity.packed(states, now))


def before(source: type[Source], now: int) -> str:
    """The condition on rows that happened and arrived before a time."""
    return f"{event_of(source)} < {now} AND {ARRIVAL} < {now}"


def part_of(
    view: View, table: Table, engine: Engine, among: str, where: str = "true"
) -> tuple[pa.Table, str]:
    """Some rows of a view's source, and the condition on keys that chose them.

    Args:
        among: the condition on rows that are there at all.
        where: the condition on versions of a change feed.
    """
    files, rows = table.files, f"{events_of(view.source, among)} WHERE {where}"
    (found,) = engine.select(f"SELECT count(*) AS n FROM {rows}", events=files)["n"].to_pylist()
    keys, parts = ", ".join(quoted(key.name) for key in view.keys), -(-found // PART) or 1
    while True:
        mine = f"hash({keys}) % {parts} = 0"
        query = f"SELECT {_columns(view)} FROM {rows} AND {mine} LIMIT {MOST}"
        part = engine.select(query, events=files)
        if part.num_rows or parts == 1:
            return part, mine
        parts //= 2


def _columns(view: View) -> str:
    schema = view.source.__schema__
    named = [*view.keys, schema.event, *columns_needed(view.aggregates).values()]
    named += [c for c in (schema.unique, schema.change) if c is not None]
    return ", ".join([*dict.fromkeys(quoted(c.name) for c in named), ARRIVAL, OFFSET])
