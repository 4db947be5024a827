"""The contract of a source: what can be wrong with a row, and the verdict on one row.

`mask.py` gives the same verdict on the rows of a file, in one scan: the same reasons in the same
order, and the same values. Where a file and JSON differ by nature:

- A CSV file has nothing but text, so in files text may stand for a number, a flag or a time; a JSON
  string is no number. `parse=True` reads a row as a file does, for rows that were held from one.
- An empty field of a CSV file is NULL; in Parquet and JSON an empty text is a text.
- Text for numbers: `12`, ` 12`, `+1.5`, `1e3`, `inf`, `nan`; for flags: true, t, 1, false, f, 0 in
  any case; for times, in JSON too: ISO 8601 `2024-05-01[T10:00[:00[.5]][Z|+02:00]]`, where T may be
  a space, and without a zone it is UTC.
- A number that is not finite is NULL; 12.0 is an integer everywhere.
- Whether a value is unique is for the table to judge, not for one row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from mainspring.clock import parse_time
from mainspring.errors import InvalidDeclaration, TooManyChecks
from mainspring.sources.source import Column, Schema

EXACT = 2**53 - 1
"""The greatest integer that no other one rounds to as a float64: what everything computes with."""

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The first and the last microsecond of the years 1 to 9999."""

NUMBER = (
    r" *[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
    r"|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|[nN][aA][nN]) *"
)
TIME = (
    r" *(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
    r"-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?)? *"
)
FLAGS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
"""What text stands for a number, a time and a flag; both verdicts read it by these."""

Fault = Literal["type", "null", "ge", "le", "one_of", "pattern", "unique"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that can be wrong with a row."""

    column: Column[Any]
    fault: Fault

    @property
    def reason(self) -> str:
        """What is wrong, as a person says it: `distance < 0`."""
        asked, name = self.column.checks, self.column.name
        match self.fault:
            case "type":
                return f"{name} is no {self.column.type.__name__}"
            case "null":
                return f"{name} is missing"
            case "ge":
                return f"{name} < {asked.ge!r}"
            case "le":
                return f"{name} > {asked.le!r}"
            case "one_of":
                return f"{name} is not one of {', '.join(asked.one_of or ())}"
            case "pattern":
                return f"{name} does not match {asked.pattern}"
            case "unique":
                return f"{name} is not unique"


def checks(schema: Schema) -> list[Check]:
    """Every check of a contract, in the order of its bits: by column, and in it as `Fault` lists.

    Raises:
        InvalidDeclaration: a check does not fit its column, or a pattern is not understood.
        TooManyChecks: more than 64.

    Example:
        >>> from mainspring.sources.source import Source, column, event_time
        >>> class Payment(Source, url="payments.csv"):
        ...     amount: Column[float] = column(ge=0)
        ...     paid_at: Column[datetime] = event_time()
        >>> [c.reason for c in checks(Payment.__schema__)][:3]
        ['amount is no float', 'amount is missing', 'amount < 0']
    """
    for column in schema.columns.values():
        _refuse_unfit(column)
    found = [Check(c, fault) for c in schema.columns.values() for fault in _faults(c)]
    if len(found) > 64:
        raise TooManyChecks(source=schema.id, found=len(found), at=schema.at)
    return found


def _refuse_unfit(column: Column[Any]) -> None:
    asked, kind = column.checks, column.type
    if kind not in (int, float) and (asked.ge, asked.le) != (None, None):
        raise _unfit(column, "ge= and le= are for numbers", "compare in a Rule or a where=")
    if kind is not str and (asked.one_of, asked.pattern) != (None, None):
        raise _unfit(column, "one_of= and pattern= are for text", "use ge= and le= for numbers")
    if asked.pattern is not None and (problem := _problem_of(asked.pattern)):
        remedy = "use a regular expression without lookaround and backreferences"
        raise _unfit(column, f"pattern {asked.pattern!r}: {problem}", remedy)


def _problem_of(pattern: str) -> str:
    """Why a pattern cannot be matched in linear time, as files are, if it cannot."""
    if found := _ONLY_BACKTRACKING.search(pattern):
        return f"{found[0]!r} is not understood"
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


_ONLY_BACKTRACKING = re.compile(r"(?<!\\)(?:\\\\)*(\(\?(?:[=!>(#]|<[=!]|P=)|\\[1-9Z]|[*+?}]\+)")


def _unfit(column: Column[Any], problem: str, remedy: str) -> InvalidDeclaration:
    return InvalidDeclaration(
        subject_name=repr(column), problem=problem, at=column.at, remedy=remedy
    )


def _faults(column: Column[Any]) -> Iterator[Fault]:
    asked = column.checks
    yield "type"
    if not column.nullable:
        yield "null"
    if asked.ge is not None:
        yield "ge"
    if asked.le is not None:
        yield "le"
    if asked.one_of is not None:
        yield "one_of"
    if asked.pattern is not None:
        yield "pattern"
    if asked.unique:
        yield "unique"


def judge(
    schema: Schema, row: Mapping[str, Any], *, parse: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """One row as the contract reads it, and the reasons against it: none for a good row.

    Args:
        row: plain JSON values by column name.
        parse: read text as a file's: it may stand for a number or a flag.

    Returns:
        The typed values (times in microseconds; NULL where there is no valid one) and the reasons.

    Example:
        >>> from mainspring.sources.source import Source, column, event_time
        >>> class Payment(Source, url="payments.csv"):
        ...     amount: Column[float] = column(ge=0)
        ...     paid_at: Column[datetime] = event_time()
        >>> judge(Payment.__schema__, {"amount": -3, "paid_at": "1970-01-01T00:00:01Z"})
        ({'amount': -3.0, 'paid_at': 1000000}, ['amount < 0'])
        >>> judge(Payment.__schema__, {"amount": "3", "paid_at": "1970-01-01T00:00:01Z"})[1]
        ['amount is no float']
    """
    columns = schema.columns.values()
    found = {c.name: _value(c.type, row.get(c.name), parse) for c in columns}
    is_delete = schema.change is not None and found[schema.change.name] == "delete"
    reasons = [
        Check(column, fault).reason
        for column in columns
        for fault in _broken(column, found[column.name])
        if not (is_delete and fault == "null" and forgives(schema, column))
    ]
    return {name: None if value is _BAD else value for name, value in found.items()}, reasons


def forgives(schema: Schema, column: Column[Any]) -> bool:
    """Whether a row that deletes another may lack a column."""
    return column not in (schema.unique, schema.event, schema.change)


_BAD = object()  # a value of another type than its column's


def _value(kind: type, raw: Any, parse: bool) -> Any:
    if raw is None:
        return None
    if kind is datetime:
        return _time(raw)
    if parse and kind is not str and isinstance(raw, str):
        raw = _parsed(kind, raw)
    if kind in (float, int):
        is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
        return _number(kind, raw) if is_number else _BAD
    return raw if type(raw) is kind else _BAD


def _parsed(kind: type, text: str) -> Any:
    if kind is bool:
        return FLAGS.get(text.strip(" ").lower(), _BAD)
    return float(text) if _NUMBER.fullmatch(text) else _BAD


def _number(kind: type, raw: int | float) -> Any:
    if isinstance(raw, float) and not math.isfinite(raw):
        return None
    if kind is float:
        return _float(raw)
    return int(raw) if raw == math.trunc(raw) and abs(raw) <= EXACT else _BAD


def _float(raw: int | float) -> float | None:
    try:
        return float(raw) + 0.0  # -0.0 becomes 0.0
    except OverflowError:  # an integer beyond all floats
        return None


def _time(raw: Any) -> Any:
    if isinstance(raw, datetime):
        moment = raw if raw.tzinfo else raw.replace(tzinfo=UTC)
    elif isinstance(raw, str) and _TIME.fullmatch(raw):
        try:
            moment = datetime.fromisoformat(raw.strip(" "))
        except ValueError:  # the 30th of February
            return _BAD
    else:
        return _BAD
    at = parse_time(moment)
    return at if EARLIEST <= at <= LATEST else _BAD


_NUMBER, _TIME = re.compile(NUMBER), re.compile(TIME)


def _broken(column: Column[Any], value: Any) -> Iterator[Fault]:
    asked = column.checks
    if value is _BAD:
        yield "type"
        return
    if value is None:
        if not column.nullable:
            yield "null"
        return
    if asked.ge is not None and value < asked.ge:
        yield "ge"
    if asked.le is not None and value > asked.le:
        yield "le"
    if asked.one_of is not None and value not in asked.one_of:
        yield "one_of"
    if asked.pattern is not None and not re.fullmatch(asked.pattern, value, re.ASCII):
        yield "pattern"
