"""Ingest: files of a source to its table, in one scan under the contract; bad rows to quarantine with their reasons."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mainspring.clock import Clock
from mainspring.engines.base import Engine
from mainspring.errors import ContractViolation
from mainspring.sources import contract
from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL, OFFSET, Table, arrow_schema
from mainspring.stores.base import TableStore


@dataclass(slots=True)
class Ingested:
    """What one ingest did.

    Attributes:
        source: the source's name.
        rows: how many rows were read; 0 where every file was taken before.
        bad: how many of them went to quarantine.
        reasons: how often each reason was given.
    """

    source: str
    rows: int = 0
    bad: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def ingest(
    source: type[Source], folder: Path, store: TableStore, engine: Engine, clock: Clock
) -> Ingested:
    """Takes the rows of a source's files into its table; files that were taken before are left.

    Each file is one commit of good rows after one of bad rows, so a kill at any moment leaves a file taken or not taken.

    Args:
        folder: what the source's URL is relative to.

    Raises:
        DataFileMissing, UnreadableFile: there is nothing to read.
        UnknownColumn, WrongType: the file cannot be read under the contract.
        ContractViolation: more bad rows than `bad_at_most` allows; nothing of the file is taken.
    """
    table, done = Table.of(store, source), Ingested(source.__schema__.id)
    url = str(folder / source.__schema__.url)
    engine.describe(url)
    for path in sorted(folder.glob(source.__schema__.url)):
        once = (f"file:{_fingerprint(path)}", 1)
        if store.committed(table.schema.id, once[0]) < 1:
            _take(path, table, engine, clock.now(), once, done)
    return done


def _take(
    path: Path, table: Table, engine: Engine, now: int, once: tuple[str, int], done: Ingested
) -> None:
    found = engine.describe(str(path))
    contract.match(table.schema, found, path.name)
    query = contract.select(table.schema, engine.scan(str(path)), found)
    batches = list(engine.stream(query))
    first = _next_offset(table, engine)
    mask = _column(batches, "__violations")
    _refuse_if_too_bad(table, mask, batches, done, path)
    held = list(_bad_rows(table, batches, first, now, path.name))
    table.hold(held, once)
    table.append(_good_batches(table, batches, first), once)
    done.rows += len(mask)
    done.bad += len(held)
    done.reasons.update(reason for row in held for reason in row["reasons"])


def _column(batches: list[pa.RecordBatch], name: str) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.concatenate([np.empty(0, np.uint64), *(b.column(name).to_numpy() for b in batches)])


def _next_offset(table: Table, engine: Engine) -> int:
    if not table.files:
        return 0
    query = f"SELECT coalesce(max({OFFSET}), -1) + 1 AS n FROM rows WHERE {OFFSET} < {1 << 40}"
    held = "SELECT coalesce(max(offset), -1) + 1 AS n FROM rows"
    numbers = [int(engine.select(query, rows=table.files)["n"][0].as_py())]
    if table.quarantine_files:
        numbers.append(int(engine.select(held, rows=table.quarantine_files)["n"][0].as_py()))
    return max(numbers)


def _good_batches(
    table: Table, batches: list[pa.RecordBatch], first: int
) -> Iterator[pa.RecordBatch]:
    schema, event = arrow_schema(table.schema), table.schema.event.name
    for batch in batches:
        offsets = pa.array(np.arange(first, first + batch.num_rows))
        first += batch.num_rows
        arrivals = pc.add(batch.column(event), table.schema.late_by)
        columns = [batch.column(c) for c in table.schema.columns] + [offsets, arrivals]
        good = pc.equal(batch.column("__violations"), pa.scalar(0, pa.uint64()))
        rows = pa.table(columns, names=[*table.schema.columns, OFFSET, ARRIVAL]).filter(good)
        yield from _cast(rows, schema).to_batches()


def _cast(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.table([rows[f.name].cast(f.type) for f in schema], schema=schema)


def _bad_rows(
    table: Table, batches: list[pa.RecordBatch], first: int, now: int, file: str
) -> Iterator[dict[str, Any]]:
    reasons = [c.reason for c in contract.checks(table.schema)]
    for batch in batches:
        mask = batch.column("__violations").to_numpy()
        for row in np.flatnonzero(mask):
            given = [reason for bit, reason in enumerate(reasons) if int(mask[row]) >> bit & 1]
            raw = batch.column("__raw")[int(row)].as_py()
            yield {
                "offset": first + int(row),
                "at": now,
                "file": file,
                "reasons": given,
                "row": raw,
            }
        first += batch.num_rows


def _refuse_if_too_bad(
    table: Table, mask: Any, batches: list[pa.RecordBatch], done: Ingested, path: Path
) -> None:
    for bit, check in enumerate(contract.checks(table.schema)):
        allowed = check.column.checks.bad_at_most
        bad = np.flatnonzero(mask >> np.uint64(bit) & np.uint64(1))
        if allowed < 1.0 and len(bad) > allowed * len(mask):
            raw = json.loads(
                pa.concat_arrays([b.column("__raw") for b in batches])[int(bad[0])].as_py()
            )
            first = " ".join(f"{k}={v!r}" for k, v in list(raw.items())[:3])
            raise ContractViolation(
                source=done.source,
                rows=len(mask),
                bad=len(bad),
                check=check.reason,
                allowed=allowed,
                first=first,
                at=check.column.at,
            )


def _fingerprint(path: Path) -> str:
    """A file's identity: its name and content, so that the same rows are taken once."""
    with path.open("rb") as file:
        return f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}"
