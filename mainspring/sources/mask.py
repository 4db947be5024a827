"""The contract as one SQL select over a file: its rows as declared, each with a mask of its faults.

The select is DuckDB's dialect. `contract.judge` gives the same verdict on one row.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa

from mainspring.errors import UnknownColumn, WrongType, closest
from mainspring.sources.contract import (
    EARLIEST,
    EXACT,
    FLAGS,
    LATEST,
    NUMBER,
    TIME,
    Check,
    checks,
    forgives,
)
from mainspring.sources.source import Column, Schema

FAULTS, HELD = "__faults", "__held"
"""What `select` adds: a row's mask, and where that is not 0 the row as JSON, as it was found."""

SQL_TYPES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN", datetime: "BIGINT"}


class _Read(NamedTuple):
    """How a column is read: its value, and when one that is there is of another type."""

    value: str
    is_bad: str


def select(schema: Schema, scan: str, found: pa.Schema) -> str:
    """The select of a contract over a file; times come in microseconds.

    Args:
        scan: the part of the query that stands for the file's rows.
        found: the file's columns; they have passed `match_columns`.

    Example:
        >>> from mainspring.engines.urls import connect_engine
        >>> from mainspring.sources.source import Source, column, event_time
        >>> class Payment(Source, url="payments.parquet"):
        ...     amount: Column[float] = column(ge=0)
        ...     paid_at: Column[datetime] = event_time()
        >>> rows = pa.table({"amount": [1.5, -3.0], "paid_at": [datetime(1970, 1, 1)] * 2})
        >>> query = select(Payment.__schema__, "rows", rows.schema)
        >>> connect_engine().select(query, rows=rows)["__faults"].to_pylist()
        [0, 4]
    """
    columns = schema.columns.values()
    reads = {c.name: _read(c, found.field(c.field).type) for c in columns}
    values = [f"{read.value} AS {quoted(name)}" for name, read in reads.items()]
    raws = [f"__file.{quoted(c.field)} AS {_raw(c)}" for c in columns]
    bits = [
        f"CASE WHEN {condition} THEN {1 << bit}::UBIGINT ELSE 0::UBIGINT END"
        for bit, check in enumerate(checks(schema))
        if (condition := _condition(schema, check, reads[check.column.name].is_bad))
    ]
    shown = [f"{text(c.name)}, {_shown(c, found.field(c.field).type)}" for c in columns]
    return f"""
        WITH raws AS (SELECT {", ".join(raws)} FROM {scan} AS __file),
        typed AS (SELECT *, {", ".join(values)} FROM raws),
        judged AS (SELECT *, {" | ".join(bits) or "0::UBIGINT"} AS {FAULTS} FROM typed)
        SELECT {names(schema)}, {FAULTS},
            CASE WHEN {FAULTS} <> 0 THEN json_object({", ".join(shown)})::VARCHAR END AS {HELD}
        FROM judged"""


def names(schema: Schema) -> str:
    """The columns of a source as a select lists them."""
    return ", ".join(map(quoted, schema.columns))


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def _raw(column: Column[Any]) -> str:
    return quoted(f"__raw_{column.name}")


def _read(column: Column[Any], arrow: pa.DataType) -> _Read:
    raw, unread = _raw(column), f"{_raw(column)} IS NOT NULL AND {quoted(column.name)} IS NULL"
    if pa.types.is_null(arrow):
        return _Read(f"CAST(NULL AS {SQL_TYPES[column.type]})", "")
    if column.type is str:
        return _Read(f"CAST({raw} AS VARCHAR)", "")
    if column.type is bool:
        return _Read(_flag(raw), unread) if is_text(arrow) else _Read(raw, "")
    if column.type is datetime:
        at = _microseconds(raw, arrow)
        return _Read(f"CASE WHEN {at} BETWEEN {EARLIEST} AND {LATEST} THEN {at} END", unread)
    if column.type is int and pa.types.is_integer(arrow):
        value = f"CASE WHEN {raw} BETWEEN {-EXACT} AND {EXACT} THEN CAST({raw} AS BIGINT) END"
        return _Read(value, unread)
    return _number(column, _double(raw, arrow), unread)


def _number(column: Column[Any], double: str, unread: str) -> _Read:
    is_bad = f"{unread} AND isfinite({double}) IS NOT FALSE"  # what is not finite is read, as NULL
    if column.type is float:
        return _Read(f"CASE WHEN isfinite({double}) THEN {double} + 0.0 END", is_bad)
    whole = f"abs({double}) <= {EXACT} AND {double} = trunc({double})"
    return _Read(f"CASE WHEN {whole} THEN TRY_CAST({double} AS BIGINT) END", is_bad)


def _double(raw: str, arrow: pa.DataType) -> str:
    if is_text(arrow):
        return (
            f"CASE WHEN regexp_full_match({raw}, {text(NUMBER)}) THEN TRY_CAST({raw} AS DOUBLE) END"
        )
    return f"CAST({raw} AS DOUBLE)"


def _flag(raw: str) -> str:
    said = f"lower(trim({raw}))"
    true, false = (
        ", ".join(text(t) for t, flag in FLAGS.items() if flag is b) for b in (True, False)
    )
    return f"CASE WHEN {said} IN ({true}) THEN true WHEN {said} IN ({false}) THEN false END"


def _microseconds(raw: str, arrow: pa.DataType) -> str:
    if is_text(arrow):  # only as a zoned time is an offset in the text heeded
        at = f"epoch_us(TRY_CAST(trim({raw}) AS TIMESTAMPTZ))"
        return f"CASE WHEN regexp_full_match({raw}, {text(TIME)}) THEN {at} END"
    if pa.types.is_timestamp(arrow) and arrow.unit == "ns":  # a cast would round towards 1970
        ns = f"epoch_ns({raw})"
        return f"({ns} - ({ns} % 1000 + 1000) % 1000) // 1000"
    zoned = pa.types.is_timestamp(arrow) and arrow.tz
    return f"epoch_us({raw})" if zoned else f"epoch_us(TRY_CAST({raw} AS TIMESTAMP))"


def _condition(schema: Schema, check: Check, is_bad: str) -> str:
    """When a row has a fault, in SQL; empty where none can: uniqueness is not seen row by row."""
    name, asked = quoted(check.column.name), check.column.checks
    match check.fault:
        case "type":
            return is_bad
        case "null":
            is_null = f"{name} IS NULL" + (f" AND NOT ({is_bad})" if is_bad else "")
            if schema.change is None or not forgives(schema, check.column):
                return is_null
            return f"{is_null} AND {quoted(schema.change.name)} IS DISTINCT FROM 'delete'"
        case "ge":
            return f"{name} < {text(repr(asked.ge))}::DOUBLE"
        case "le":
            return f"{name} > {text(repr(asked.le))}::DOUBLE"
        case "one_of":
            return f"{name} NOT IN ({', '.join(map(text, asked.one_of or ()))})"
        case "pattern":
            return f"NOT regexp_full_match({name}, {text(asked.pattern or '')})"
        case "unique":
            return ""


def _shown(column: Column[Any], arrow: pa.DataType) -> str:
    raw = _raw(column)
    if pa.types.is_floating(arrow):  # NaN is no JSON
        as_text = f"to_json(CAST({raw} AS VARCHAR))"
        return f"CASE WHEN isfinite({raw}) THEN to_json({raw}) ELSE {as_text} END"
    return raw


def match_columns(schema: Schema, found: pa.Schema, file: str) -> None:
    """Checks that a file can be read under the contract at all, before any row is.

    Raises:
        UnknownColumn: the file lacks a declared column.
        WrongType: a column's type cannot be cast row by row to what is declared.
    """
    for column in schema.columns.values():
        if column.field not in found.names:
            raise UnknownColumn(
                file=file,
                column=column.field,
                source=schema.id,
                has=", ".join(sorted(found.names)),
                suggestion=_rename_hint(column, found.names),
                at=column.at,
            )
        arrow = found.field(column.field).type
        if not _castable(arrow, column.type):
            raise WrongType(
                file=file,
                column=column.name,
                source=schema.id,
                found=str(arrow),
                found_type=_python_type(arrow),
                expected=column.type.__name__,
                at=column.at,
            )


def _rename_hint(column: Column[Any], found: list[str]) -> str:
    near = closest(column.field, found)
    if not near.startswith("did you mean"):
        return f"take {column.name!r} out of the source, or write the file with it"
    kind = column.type.__name__ + (" | None" if column.nullable else "")
    made = {"change": "change", "arrival": "arrival_time"}.get(column.role, "column")
    made = made if column.late_by is None else "event_time"
    field = near.split("'")[1]
    return f'{near} write: {column.name}: Column[{kind}] = ms.{made}(field="{field}")'


def is_text(arrow: pa.DataType) -> bool:
    """Whether a column of a file holds text."""
    return any(test(arrow) for test in _TEXT)


def _castable(arrow: pa.DataType, kind: type) -> bool:
    """Text may hold anything, and numbers are numbers; the rest must be what it is."""
    return any(test(arrow) for test in (*_TEXT, pa.types.is_null, *_SAME[kind]))


_TEXT = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_dictionary,
)
_NUMERIC = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_SAME: dict[type, tuple[Callable[[pa.DataType], bool], ...]] = {
    str: (),
    int: _NUMERIC,
    float: _NUMERIC,
    bool: (pa.types.is_boolean,),
    datetime: (pa.types.is_timestamp, pa.types.is_date),
}


def _python_type(arrow: pa.DataType) -> str:
    tests = [
        (pa.types.is_boolean, "bool"),
        (pa.types.is_integer, "int"),
        (pa.types.is_floating, "float"),
        (pa.types.is_decimal, "float"),
        (pa.types.is_temporal, "datetime"),
    ]
    return next((name for test, name in tests if test(arrow)), "str")
