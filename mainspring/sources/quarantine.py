"""Quarantine: rows that broke the contract, and why; shown, mended and put back, or dropped.

A mended row goes to where it would have stood: it keeps its offset. It arrives when it is put back,
for nobody could have known it before, so no training set or answer of the past changes. What is
served sees it from the next time that the online features are materialised.

A mended version of a change feed is put back only while it is the newest of its key: it would undo
what came after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.clock import Clock
from mainspring.engines.base import Engine, Relation
from mainspring.errors import UnknownName, WriteConflict
from mainspring.sources.contract import judge
from mainspring.sources.judged import reasons
from mainspring.sources.mask import FAULTS, quoted
from mainspring.sources.repeats import find_repeats
from mainspring.sources.table import (
    ARRIVAL,
    OFFSET,
    QUARANTINE_SCHEMA,
    Table,
    arrow_schema,
)

Edit = Callable[[dict[str, Any]], Mapping[str, Any]] | Mapping[str, Any]
"""What mends a row: a function from the raw row to the raw row, or new values by column."""

_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Held:
    """A row in quarantine.

    Attributes:
        offset: its place among the rows of its source.
        at: when it was put there.
        file: the file it came in; empty for one that came live.
        reasons: what the contract has against it.
        row: the row as it was found, by column.
    """

    offset: int
    at: int
    file: str
    reasons: list[str]
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: how many rows are in the table now, and those that still are bad."""

    mended: int
    still_bad: list[Held]


def count(table: Table, engine: Engine) -> int:
    """How many rows are in quarantine."""
    query = "SELECT count(*) AS n FROM held"
    return int(engine.select(query, held=_held(table))["n"][0].as_py())


def show(table: Table, engine: Engine, limit: int = 20) -> list[Held]:
    """The first rows in quarantine."""
    return _read(
        engine.select(f"SELECT * FROM held ORDER BY held.offset LIMIT {limit}", held=_held(table))
    )


def replay(
    table: Table,
    engine: Engine,
    clock: Clock,
    edit: Edit | None = None,
    offsets: Iterable[int] | None = None,
) -> Replayed:
    """Mends rows and puts those that are good then into the table; the others stay as they are.

    Rows are read as from a file: text may stand for a number. Each row is in the table once and
    then no longer in quarantine, whenever this is killed and however often it is repeated; after a
    kill between the two, a row is in both until the next replay.

    Args:
        edit: what mends a row; None tries the rows as they are, under the contract of today.
        offsets: of the rows; all without it.

    Raises:
        UnknownName: `edit` names a column that the source does not have.
        WriteConflict: another replay of this source runs.

    Example:
        >>> from datetime import datetime
        >>> from tempfile import TemporaryDirectory
        >>> from mainspring.clock import SystemClock
        >>> from mainspring.engines.urls import connect_engine
        >>> from mainspring.sources.source import Column, Source, event_time
        >>> from mainspring.stores.urls import connect_tables
        >>> class Click(Source, url="clicks.csv"):
        ...     ad: Column[int]
        ...     clicked_at: Column[datetime] = event_time()
        >>> engine = connect_engine()
        >>> with TemporaryDirectory() as folder:
        ...     table = Table.of(connect_tables(f"file://{folder}"), Click)
        ...     row = {"ad": "x", "clicked_at": "2024-05-01"}
        ...     table.hold_live([(row, ["ad is no int"])], at=0)
        ...     [held.reasons for held in show(table, engine)], count(table, engine)
        ...     replay(table, engine, SystemClock(), {"ad": 7}), count(table, engine)
        ([['ad is no int']], 1)
        (Replayed(mended=1, still_bad=[]), 0)
    """
    mend, done, after = _as_function(edit, table), Replayed(0, []), -(1 << 62)
    wanted = None if offsets is None else pa.table({"offset": pa.array(list(offsets), pa.int64())})
    while True:
        number = table.store.committed(table.name, "replay") + 1  # before anything else is read
        _leave_out_done(table, engine)
        some = _next(table, engine, wanted, after)
        if not some:
            return done
        after = some[-1].offset
        edited = [replace(held, row=dict(mend(held.row))) for held in some]
        more = _replayed(edited, table, engine, clock.now(), number)
        done = Replayed(done.mended + more.mended, done.still_bad + more.still_bad)


def drop(table: Table, offsets: Iterable[int]) -> int:
    """Deletes rows from quarantine for good, in one commit; how many there were."""
    gone = pa.array(list(offsets), pa.int64())
    return table.store.delete(table.quarantine, "offset", gone) if len(gone) else 0


def _replayed(
    some: Sequence[Held], table: Table, engine: Engine, now: int, number: int
) -> Replayed:
    judged = [(held, *judge(table.schema, held.row, parse=True)) for held in some]
    good = [(held, values) for held, values, why in judged if not why]
    overtaken = _overtaken(table, good, engine)
    fresh = {held.offset: values for held, values in good if held.offset not in overtaken}
    rows = _typed(table, fresh, now)
    repeats = find_repeats(table.schema, rows, table.rows, engine)
    faults = dict(zip(repeats.offsets.tolist(), repeats.faults.tolist(), strict=True))
    still_bad: list[Held] = []
    for held, _, why in judged:
        mask = faults.get(held.offset, 0)
        why = why or overtaken.get(held.offset) or (reasons(table.schema, mask) if mask else [])
        if why:
            still_bad.append(replace(held, reasons=why))
    added = rows.filter(pa.array(~np.isin(rows[OFFSET].to_numpy(), repeats.offsets)))
    batches = added.select(arrow_schema(table.schema).names).to_batches()
    if added.num_rows and not table.append(batches, ("replay", number)):
        raise WriteConflict(table=table.name, problem="another replay was faster")
    drop(table, {held.offset for held in some} - {held.offset for held in still_bad})
    return Replayed(added.num_rows, still_bad)


def _overtaken(
    table: Table, good: Sequence[tuple[Held, Mapping[str, Any]]], engine: Engine
) -> dict[int, list[str]]:
    """The versions of a change feed that are not the newest of their key, and the reason."""
    unique = table.schema.unique
    if unique is None or not table.schema.is_feed or not good:
        return {}
    kind = arrow_schema(table.schema).field(unique.name).type
    keys = pa.array([values[unique.name] for _, values in good], kind)
    arrived = [_arrived(table, held, values) for held, values in good]
    offsets = [held.offset for held, _ in good]
    mended = pa.table({"key": keys, "arrived": pa.array(arrived, pa.int64()), "n": offsets})
    newest = "max((arrived, abs(n))) OVER (PARTITION BY key)"  # refused rows count down from 0
    query = f"""SELECT n FROM (SELECT *, {newest} AS newest FROM mended) AS m
        WHERE (arrived, abs(n)) < newest OR EXISTS (SELECT 1 FROM rows AS r
            WHERE r.{quoted(unique.name)} = m.key AND (r.{ARRIVAL}, r.{OFFSET}) > (arrived, n))"""
    found = engine.select(query, mended=mended, rows=table.rows)["n"].to_pylist()
    return {offset: [f"{unique.name} has a later version"] for offset in found}


def _arrived(table: Table, held: Held, values: Mapping[str, Any]) -> int:
    """When a row came in first, which is what tells versions apart."""
    schema = table.schema
    if not held.file:
        return held.at
    said = None if schema.arrival is None else values[schema.arrival.name]
    return int(values[schema.event.name]) + schema.late_by if said is None else int(said)


def _typed(table: Table, rows: Mapping[int, Mapping[str, Any]], now: int) -> pa.Table:
    """Good rows by offset in the shape of the table, and with no faults as `find_repeats` asks."""
    schema = pa.schema([*arrow_schema(table.schema), (FAULTS, pa.uint64())])
    added = {ARRIVAL: now, FAULTS: 0}
    listed = [{**values, **added, OFFSET: offset} for offset, values in rows.items()]
    return pa.Table.from_pylist(listed, schema)


def _leave_out_done(table: Table, engine: Engine) -> None:
    """Takes out of quarantine what a killed replay had put into the table already."""
    query = f"SELECT held.offset FROM held WHERE held.offset IN (SELECT {OFFSET} FROM rows)"
    done = engine.select(query, held=_held(table), rows=table.rows)["offset"]
    if len(done):
        drop(table, done.to_pylist())


def _next(table: Table, engine: Engine, wanted: pa.Table | None, after: int) -> list[Held]:
    """The next rows in quarantine after an offset, of those that are wanted."""
    chosen = "" if wanted is None else "AND held.offset IN (SELECT wanted.offset FROM wanted)"
    query = f"""SELECT * FROM held WHERE held.offset > {after} {chosen}
        ORDER BY held.offset LIMIT {_AT_ONCE}"""
    relations = {} if wanted is None else {"wanted": wanted}
    return _read(engine.select(query, held=_held(table), **relations))


def _held(table: Table) -> Relation:
    return table.quarantine_files or QUARANTINE_SCHEMA.empty_table()


def _read(rows: pa.Table) -> list[Held]:
    return [Held(**(row | {"row": json.loads(row["row"])})) for row in rows.to_pylist()]


def _as_function(edit: Edit | None, table: Table) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
    if edit is None:
        return lambda row: row
    if callable(edit):
        return edit
    for name in edit:
        if name not in table.schema.columns:
            raise UnknownName.among("column", name, table.schema.columns)
    return lambda row: {**row, **edit}
