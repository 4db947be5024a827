"""The rows of one file as the contract judges them: read once, kept on disk, then split in two."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mainspring.engines.base import Engine
from mainspring.sources.contract import checks
from mainspring.sources.mask import FAULTS, HELD, match_columns, select
from mainspring.sources.repeats import Masks, Repeats, find_repeats
from mainspring.sources.source import Schema
from mainspring.sources.table import ARRIVAL, OFFSET, QUARANTINE_SCHEMA, Table, arrow_schema

_BATCH = 20_000


class _Part(NamedTuple):
    rows: pa.RecordBatch
    faults: Masks
    is_left_out: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Judged:
    """The judged rows of one file, in its order.

    Attributes:
        first: the offset of the first one.
        rows: how many there are.
        masks: how many rows have each set of faults, as bits.
    """

    schema: Schema
    path: Path
    first: int
    rows: int
    masks: Counter[int]
    repeats: Repeats

    @property
    def bad(self) -> int:
        """How many go to quarantine."""
        return sum(n for mask, n in self.masks.items() if mask)

    @property
    def repeated(self) -> int:
        """How many are left out, because the same row is there already."""
        return int(np.count_nonzero(self.repeats.faults == 0))

    def by_reason(self) -> Counter[str]:
        """How often each reason is given."""
        found: Counter[str] = Counter()
        for mask, n in self.masks.items():
            found.update(dict.fromkeys(reasons(self.schema, mask), n))
        return found

    def good(self) -> Iterator[pa.RecordBatch]:
        """The rows for the table."""
        columns = arrow_schema(self.schema).names
        for rows, faults, is_left_out in self._parts():
            keep = pa.array((faults == 0) & ~is_left_out)
            yield rows.select(columns).filter(keep)

    def held(self, at: int, file: str) -> Iterator[pa.RecordBatch]:
        """The rows for quarantine, with their reasons."""
        for rows, faults, _ in self._parts():
            bad = np.flatnonzero(faults)
            if len(bad):
                yield _held(self.schema, rows.take(pa.array(bad)), faults[bad], at, file)

    def _parts(self) -> Iterator[_Part]:
        first = self.first
        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            for rows in file.iter_batches(_BATCH):
                faults = np.array(rows.column(FAULTS), np.uint64)
                places, more = self.repeats.among(first, rows.num_rows)
                faults[places] |= more
                is_left_out = np.zeros(rows.num_rows, bool)
                is_left_out[places[more == 0]] = True
                yield _Part(rows, faults, is_left_out)
                first += rows.num_rows


def judge_file(path: Path, table: Table, spill: Path, engine: Engine, first: int) -> Judged:
    """Judges the rows of a file, in one scan and bounded memory.

    Args:
        spill: where the judged rows are kept until they are split.
        first: the offset of the first row.

    Raises:
        UnreadableFile: the file is damaged.
        UnknownColumn, WrongType: it cannot be read under the contract.
    """
    schema, shape = table.schema, _spill_schema(table.schema)
    found = engine.describe(str(path))
    match_columns(schema, found, path.name)
    query, end, masks = select(schema, engine.scan(str(path)), found), first, Counter[int]()
    with pq.ParquetWriter(spill, shape, compression="lz4", write_statistics=False) as writer:
        for batch in engine.stream(query, reads=str(path)):
            writer.write_batch(_as_stored(schema, batch, end, shape))
            values, counts = np.unique(batch.column(FAULTS).to_numpy(), return_counts=True)
            masks.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            end += batch.num_rows
    repeats = find_repeats(schema, [str(spill)], table.rows, engine)
    for mask in repeats.faults[repeats.faults != 0].tolist():
        masks.update({0: -1, mask: 1})
    return Judged(schema, spill, first, end - first, masks, repeats)


def reasons(schema: Schema, mask: int) -> list[str]:
    """What the bits of a mask say."""
    return [c.reason for bit, c in enumerate(checks(schema)) if mask >> bit & 1]


def _spill_schema(schema: Schema) -> pa.Schema:
    return pa.schema([*arrow_schema(schema), (FAULTS, pa.uint64()), (HELD, pa.string())])


def _as_stored(
    schema: Schema, batch: pa.RecordBatch, first: int, shape: pa.Schema
) -> pa.RecordBatch:
    arrival = pc.add(batch.column(schema.event.name), schema.late_by)
    if schema.arrival is not None:
        arrival = pc.coalesce(batch.column(schema.arrival.name), arrival)
    added = {OFFSET: pa.array(np.arange(first, first + batch.num_rows)), ARRIVAL: arrival}
    columns = [added[f.name] if f.name in added else batch.column(f.name) for f in shape]
    typed = [c.cast(f.type) for c, f in zip(columns, shape, strict=True)]
    return pa.RecordBatch.from_arrays(typed, schema=shape)


def _held(
    schema: Schema, rows: pa.RecordBatch, faults: Masks, at: int, file: str
) -> pa.RecordBatch:
    masks, which = np.unique(faults, return_inverse=True)
    told = pa.array([reasons(schema, mask) for mask in masks.tolist()], pa.list_(pa.string()))
    columns = [
        rows.column(OFFSET),
        pa.array(np.full(rows.num_rows, at)),
        pa.array([file] * rows.num_rows, pa.string()),
        told.take(pa.array(which)),
        _shown(schema, rows),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=QUARANTINE_SCHEMA)


def _shown(schema: Schema, rows: pa.RecordBatch) -> pa.Array:
    """The rows as JSON: as found, or as read where the only fault is a value that is repeated."""
    found = rows.column(HELD)
    if not found.null_count:
        return found
    read = rows.filter(found.is_null()).select(list(schema.columns)).to_pylist()
    as_json = pa.array([json.dumps(row, default=str) for row in read], pa.string())
    return pc.replace_with_mask(found, found.is_null(), as_json)
