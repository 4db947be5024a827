"""The contract of a source: compiled to one SQL select with a violation mask per row, and to the same verdict on one row.

Each check has one bit. Bit order is the order of the columns, and within a column type, null, range, set, pattern, unique.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from mainspring.clock import NEVER, parse_time
from mainspring.errors import InvalidTime, TooManyChecks, UnknownColumn, WrongType, closest
from mainspring.sources.source import Column, Schema

EXACT = 2**53  # integers beyond it are not exact as float64, which is what the engine computes with
SQL_TYPES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that can be wrong with a row.

    Attributes:
        column: the column it looks at.
        reason: what is wrong, as a person says it: `distance < 0`.
        sql: the condition that is true for a bad row, over `raw.<column>` as found and `<column>` as cast.
    """

    column: Column[Any]
    reason: str
    sql: str


def checks(schema: Schema) -> list[Check]:
    """Every check of a contract, in the order of its bits.

    Raises:
        TooManyChecks: more than 64.
    """
    found = [c for column in schema.columns.values() for c in _column_checks(column)]
    if len(found) > 64:
        raise TooManyChecks(source=schema.id, found=len(found), at=schema.at)
    return found


def _column_checks(column: Column[Any]) -> Iterator[Check]:
    name, raw, asked = _quoted(column.name), f"raw.{_quoted(column.field)}", column.checks
    yield Check(
        column,
        f"{column.name} is no {column.type.__name__}",
        f"{raw} IS NOT NULL AND {_not_cast(column)}",
    )
    if not column.nullable:
        yield Check(
            column,
            f"{column.name} is missing",
            f"{name} IS NULL AND NOT ({raw} IS NOT NULL AND {_not_cast(column)})",
        )
    if asked.ge is not None:
        yield Check(column, f"{column.name} < {asked.ge:g}", f"{name} < {asked.ge!r}")
    if asked.le is not None:
        yield Check(column, f"{column.name} > {asked.le:g}", f"{name} > {asked.le!r}")
    if asked.one_of is not None:
        options = ", ".join(_text(o) for o in asked.one_of)
        yield Check(
            column,
            f"{column.name} is not one of {', '.join(asked.one_of)}",
            f"{name} NOT IN ({options})",
        )
    if asked.pattern is not None:
        sql = f"NOT regexp_full_match({name}, {_text(asked.pattern)})"
        yield Check(column, f"{column.name} does not match {asked.pattern}", sql)
    if asked.unique:
        sql = f"row_number() OVER (PARTITION BY {name} ORDER BY __row) > 1 AND {name} IS NOT NULL"
        yield Check(column, f"{column.name} is not unique", sql)


def _not_cast(column: Column[Any]) -> str:
    raw = f"raw.{_quoted(column.field)}"
    if column.type is float:
        return f"TRY_CAST({raw} AS DOUBLE) IS NULL"  # NaN is a float: it becomes NULL, and is then missing
    if column.type is int:
        return f"(TRY_CAST({raw} AS BIGINT) IS NULL OR abs(TRY_CAST({raw} AS DOUBLE)) > {EXACT} OR TRY_CAST({raw} AS DOUBLE) <> TRY_CAST({raw} AS BIGINT))"
    return f"{_cast(column)} IS NULL"


def select(schema: Schema, scan: str, found: pa.Schema) -> str:
    """The one select of a contract: the columns as declared (times in microseconds), the mask, and the raw row as JSON where it is bad.

    Args:
        scan: the part of the query that stands for the file's rows.
        found: the file's columns. A zoned time is taken as text-free microseconds; text without a zone is UTC.
    """
    zoned = [f.name for f in found if pa.types.is_timestamp(f.type) and f.type.tz]
    fields = [f"make_timestamp(epoch_us(raw.{_quoted(n)})) AS {_quoted(n)}" for n in zoned]
    scan = f"(SELECT * REPLACE ({', '.join(fields)}) FROM {scan} AS raw)" if fields else scan
    casts = ", ".join(f"{_cast(c)} AS {_quoted(c.name)}" for c in schema.columns.values())
    mask = " | ".join(
        f"CASE WHEN {c.sql} THEN {1 << bit}::UBIGINT ELSE 0::UBIGINT END"
        for bit, c in enumerate(checks(schema))
    )
    names = ", ".join(_quoted(name) for name in schema.columns)
    return f"""
        WITH numbered AS (SELECT raw, row_number() OVER () - 1 AS __row FROM (SELECT raw FROM {scan} AS raw)),
        cast_rows AS (SELECT raw, __row, {casts} FROM numbered),
        judged AS (SELECT {names}, __row, ({mask}) AS __violations, raw FROM cast_rows)
        SELECT {names}, __violations, CASE WHEN __violations <> 0 THEN to_json(raw) END AS __raw
        FROM judged ORDER BY __row"""


def _cast(column: Column[Any]) -> str:
    raw = f"raw.{_quoted(column.field)}"
    if column.type is float:
        number = f"TRY_CAST({raw} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {number} + 0.0 END"
    if column.type is int:
        return f"CASE WHEN NOT ({_not_cast(column)}) THEN TRY_CAST({raw} AS BIGINT) END"
    if column.type is datetime:
        return f"epoch_us(TRY_CAST({raw} AS TIMESTAMP))"
    return f"TRY_CAST({raw} AS {SQL_TYPES[column.type]})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def match(schema: Schema, found: pa.Schema, file: str) -> None:
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


def _rename_hint(column: Column[Any], names: list[str]) -> str:
    near = closest(column.field, names)
    if not near.startswith("did you mean"):
        return f"take {column.name!r} out of the source, or write the file with it"
    field = near.split("'")[1]
    return (
        f'{near} write: {column.name}: Column[{column.type.__name__}] = ms.column(field="{field}")'
    )


def _castable(arrow: pa.DataType, kind: type) -> bool:
    """Text may hold anything, and numbers are numbers; the rest must be what it is."""
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_null(arrow):
        return True
    numeric = (
        pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_decimal(arrow)
    )
    return {
        str: pa.types.is_dictionary(arrow) or pa.types.is_string_view(arrow),
        int: numeric,
        float: numeric,
        bool: pa.types.is_boolean(arrow),
        datetime: pa.types.is_timestamp(arrow) or pa.types.is_date(arrow),
    }[kind]


def _python_type(arrow: pa.DataType) -> str:
    tests = [
        (pa.types.is_boolean, "bool"),
        (pa.types.is_integer, "int"),
        (pa.types.is_floating, "float"),
        (pa.types.is_temporal, "datetime"),
    ]
    return next((name for test, name in tests if test(arrow)), "str")


def judge(schema: Schema, row: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """One row as the contract reads it, with the reasons against it; uniqueness is for the table to judge.

    Args:
        row: plain JSON values by column name; times as ISO 8601 text.

    Returns:
        The typed values (times in microseconds) and the reasons, none for a good row.
    """
    values: dict[str, Any] = {}
    reasons: list[str] = []
    for column in schema.columns.values():
        raw = row.get(column.name)
        value = _value(column, raw)
        values[column.name] = None if value is _BAD else value
        reasons.extend(_reasons(column, raw, value))
    return values, reasons


_BAD = object()


def _value(column: Column[Any], raw: Any) -> Any:
    """The value of a raw one under a column's type: None for NULL, `_BAD` for one of another type."""
    if raw is None:
        return None
    if column.type is datetime:
        return _time(raw)
    if column.type is float and isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw) + 0.0 if math.isfinite(raw) else None
    if column.type is int and isinstance(raw, int) and not isinstance(raw, bool):
        return raw if abs(raw) <= EXACT else _BAD
    return raw if type(raw) is column.type and column.type in (str, bool) else _BAD


def _time(raw: Any) -> Any:
    if isinstance(raw, datetime):
        return parse_time(raw if raw.tzinfo else raw.replace(tzinfo=UTC))
    try:
        return parse_time(raw) if isinstance(raw, str) else _BAD
    except InvalidTime:
        return _BAD


def _reasons(column: Column[Any], raw: Any, value: Any) -> Iterator[str]:
    asked = column.checks
    if value is _BAD:
        yield f"{column.name} is no {column.type.__name__}"
        return
    if value is None or value == NEVER:
        if not column.nullable:
            yield f"{column.name} is missing"
        return
    if asked.ge is not None and value < asked.ge:
        yield f"{column.name} < {asked.ge:g}"
    if asked.le is not None and value > asked.le:
        yield f"{column.name} > {asked.le:g}"
    if asked.one_of is not None and value not in asked.one_of:
        yield f"{column.name} is not one of {', '.join(asked.one_of)}"
    if asked.pattern is not None and not re.fullmatch(asked.pattern, value):
        yield f"{column.name} does not match {asked.pattern}"
