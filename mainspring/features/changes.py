"""Changes: where the online store has the current version of each row of a change feed.

A later version ends the earlier one wherever that stands, which may be under another entity key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from mainspring.expressions import kind_of
from mainspring.features.entity import key_bytes
from mainspring.features.section import OFFSET, UNTIL, Section
from mainspring.features.statistic import Flags
from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL
from mainspring.sources.table import OFFSET as TABLE_OFFSET
from mainspring.sources.versions import is_delete
from mainspring.vectors import from_arrow


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where a version stands: its offset, and the store's keys of the entities it is a row of."""

    offset: int
    keys: dict[str, bytes]


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Place).decode


class Ended(NamedTuple):
    """A version that a later one ended: the store's key, its offset, and until when it counts."""

    key: bytes
    offset: int
    until: int


def place_key(source: type[Source], unique: object) -> bytes:
    """The store's key for where the current version of a row is.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Order(ms.Source, url="orders.parquet"):
        ...     id: ms.Column[str]
        ...     at: ms.Column[datetime] = ms.event_time()
        >>> place_key(Order, "o1")
        b'\\x00version\\x00Order\\x00o1'
    """
    return key_bytes(f"\0version\0{source.__schema__.id}", unique)


def unique_values(source: type[Source], rows: pa.Table) -> list[object]:
    """The unique key of each row."""
    unique = source.__schema__.unique
    if unique is None:
        return [None] * rows.num_rows
    return list(from_arrow(rows[unique.name], kind_of(unique)).tolist())


def follow(
    source: type[Source],
    rows: pa.Table,
    keys: Mapping[str, Sequence[bytes | None]],
    known: dict[bytes, Place],
) -> dict[str, list[Ended]]:
    """Goes through versions in order; gives what each ends, by view, and notes where they are.

    Args:
        keys: for each view of the source, the store's key of each row.
        known: where the current versions are, by `place_key`: it is brought up to date.
    """
    ended: dict[str, list[Ended]] = {view: [] for view in keys}
    gone = is_delete(source, rows).tolist()
    columns = unique_values(source, rows), rows[TABLE_OFFSET].to_pylist(), rows[ARRIVAL].to_pylist()
    for number, (unique, offset, arrival) in enumerate(zip(*columns, strict=True)):
        at = place_key(source, unique)
        before = known.get(at)
        for view, key in before.keys.items() if before else ():
            if before and view in ended:
                ended[view].append(Ended(key, before.offset, arrival))
        standing = {} if gone[number] else {v: k for v, ks in keys.items() if (k := ks[number])}
        known[at] = Place(offset, standing)
    return ended


def end(rows: Section, ended: Mapping[tuple[int, int], int]) -> None:
    """Writes into rows until when they count, by owner and offset."""
    if ended:
        pairs = zip(rows.owner.tolist(), rows.column(OFFSET).tolist(), strict=True)
        found = [(n, ended[pair]) for n, pair in enumerate(pairs) if pair in ended]
        if found:
            at, until = np.array(found).T
            rows.words[at, UNTIL] = until


def kept(source: type[Source], rows: pa.Table) -> Flags:
    """Which rows are rows, and no deletions."""
    return ~is_delete(source, rows)
