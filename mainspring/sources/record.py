"""What stands in the log: one record per event and per answered request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pyarrow as pa

from mainspring.sources.source import Source
from mainspring.sources.table import LIVE, arrow_schema


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One row of a source that arrived, and what was answered to it if it was a request.

    Attributes:
        source: the name of the source.
        arrival: when it arrived, in microseconds.
        values: the row, in the order of the source's columns; times in microseconds.
        answer: what serving answered, in its own terms; None for an event.
    """

    source: str
    arrival: int
    values: list[Any]
    answer: dict[str, Any] | None = None


encode = msgspec.msgpack.Encoder().encode
_DECODER = msgspec.msgpack.Decoder(Record)


def decode(data: bytes) -> Record:
    """The record of bytes that `encode` made."""
    return _DECODER.decode(data)


Numbered = tuple[int, Record]
"""A record with its offset in the log."""


def rows_of(source: type[Source], records: Iterable[Numbered]) -> pa.Table:
    """The records of one source as rows of its table."""
    schema, wanted = source.__schema__, arrow_schema(source.__schema__)
    mine = [(offset, r) for offset, r in records if r.source == schema.id]
    columns: list[Any] = [
        pa.array(
            [r.values[position] for _, r in mine], wanted.field(position).type, from_pandas=True
        )
        for position in range(len(schema.columns))  # from pandas: NaN is NULL
    ]
    offsets = pa.array([LIVE + offset for offset, _ in mine], pa.int64())
    arrivals = pa.array([r.arrival for _, r in mine], pa.int64())
    return pa.table([*columns, offsets, arrivals], schema=wanted)


def values_in_order(source: type[Source], row: Mapping[str, Any]) -> list[Any]:
    """A typed row as a record carries it: in the order of the columns, NULL for what it lacks."""
    return [row.get(name) for name in source.__schema__.columns]
