"""Rows whose unique value is there already: the same row again, or another that claims its place.

A unique value belongs to the row of the table that has it, else to the good row of the file that
comes first. A row with the same content as the owner is that row, sent again: it is left out. One
with other content is not unique. Rows that are bad for another reason own nothing. In a change
feed every row is a version: only one that the table has, arrival time and all, is a repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.engines.base import Engine, Relation
from mainspring.sources.contract import checks
from mainspring.sources.mask import FAULTS, quoted
from mainspring.sources.source import Column, Schema
from mainspring.sources.table import OFFSET

Integers = np.ndarray[Any, np.dtype[np.int64]]
Masks = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True)
class Repeats:
    """Which of the rows repeat a unique value.

    Attributes:
        offsets: of these rows, ascending.
        faults: the bits of the checks that each breaks; 0 for the owner's row, sent again.
    """

    offsets: Integers
    faults: Masks

    def among(self, first: int, rows: int) -> tuple[Integers, Masks]:
        """Those with one of `rows` offsets from `first` on: their places in it, and faults."""
        low, high = np.searchsorted(self.offsets, [first, first + rows])
        return self.offsets[low:high] - first, self.faults[low:high]


def tells_repeats(schema: Schema) -> bool:
    """Whether rows that are there already can be told from new ones."""
    return schema.unique is not None and (not schema.is_feed or schema.arrival is not None)


def find_repeats(schema: Schema, scanned: Relation, stored: Relation, engine: Engine) -> Repeats:
    """The repeats among scanned rows; it costs a look at each unique column of table and file.

    Args:
        scanned: rows in the shape of the table, with their faults.
        stored: the rows of the table.
    """
    found = [
        _found(c.column, bit, schema, scanned, stored, engine)
        for bit, c in enumerate(checks(schema))
        if c.fault == "unique" and tells_repeats(schema)
    ]
    offsets = np.concatenate([np.empty(0, np.int64), *(o for o, _ in found)])
    faults = np.concatenate([np.empty(0, np.uint64), *(f for _, f in found)])
    unique, place = np.unique(offsets, return_inverse=True)
    merged = np.zeros(len(unique), np.uint64)
    np.bitwise_or.at(merged, place, faults)
    return Repeats(unique, merged)


def _found(
    column: Column[Any],
    bit: int,
    schema: Schema,
    scanned: Relation,
    stored: Relation,
    engine: Engine,
) -> tuple[Integers, Masks]:
    key = quoted(column.name)
    suspects = engine.select(_suspects(key), scanned=scanned, stored=stored)
    if not suspects.num_rows:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    repeats = engine.select(
        _repeats(key, schema), scanned=scanned, stored=stored, suspects=suspects
    )
    same = np.asarray(repeats["same"], bool)
    if schema.is_feed:
        repeats, same = repeats.filter(pa.array(same)), same[same]
    return np.asarray(repeats["n"], np.int64), np.where(same, 0, 1 << bit).astype(np.uint64)


def _suspects(key: str) -> str:
    """The hashes that several keys have: numbers, so that many keys fit into memory."""
    return f"""
        WITH fresh AS (
            SELECT hash({key}) AS h FROM scanned WHERE {FAULTS} = 0 AND {key} IS NOT NULL),
        known AS (SELECT hash({key}) AS h FROM stored)
        SELECT h FROM fresh GROUP BY h HAVING count(*) > 1
        UNION SELECT h FROM known WHERE h IN (SELECT h FROM fresh)"""


def _repeats(key: str, schema: Schema) -> str:
    """The rows that do not own their key, and whether each has the content of the one that does.

    Contents are compared by a 64-bit hash, so that memory holds keys and numbers only.
    """
    told = schema.columns if schema.is_feed else _without_arrival(schema)
    row = f"{key} AS key, hash({', '.join(map(quoted, told))}) AS content, {OFFSET} AS n"
    place = "key, content" if schema.is_feed else "key"
    repeats = "number > 1 AND NOT first_is_new" if schema.is_feed else "number > 1"
    suspect = f"hash({key}) IN (SELECT h FROM suspects)"
    return f"""
        WITH rows AS (
            SELECT {row}, true AS is_new FROM scanned
            WHERE {FAULTS} = 0 AND {key} IS NOT NULL AND {suspect}
            UNION ALL SELECT {row}, false FROM stored WHERE {suspect}),
        placed AS (
            SELECT *, first_value(content) OVER place AS first,
                first_value(is_new) OVER place AS first_is_new, row_number() OVER place AS number
            FROM rows WINDOW place AS (PARTITION BY {place} ORDER BY is_new, n))
        SELECT n, content = first AS same FROM placed WHERE is_new AND {repeats} ORDER BY n"""


def _without_arrival(schema: Schema) -> list[str]:
    """The columns that make a row the same: one that came live has no arrival time in it."""
    return [name for name, c in schema.columns.items() if c is not schema.arrival]
