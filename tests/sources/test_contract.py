"""One contract, two verdicts: in one scan of a file, and on one row."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.clock import as_datetime
from mainspring.engines.urls import connect_engine
from mainspring.errors import InvalidDeclaration, TooManyChecks
from mainspring.sources.contract import EARLIEST, LATEST, checks, judge
from mainspring.sources.judged import reasons
from mainspring.sources.mask import FAULTS, HELD, match_columns, select
from mainspring.sources.source import (
    Column,
    Schema,
    Source,
    arrival_time,
    change,
    column,
    event_time,
)

ENGINE = connect_engine()


class Thing(Source, url="things.*"):
    code: Column[str] = column(pattern=r"[A-Z]\w{0,2}")
    colour: Column[str | None] = column(one_of=("red", "it's", ""))
    size: Column[float | None] = column(ge=-1.5, le=1000)
    weight: Column[float] = column(field="raw")
    pieces: Column[int] = column(ge=0, le=2**52)
    rank: Column[int | None]
    new: Column[bool | None]
    sold: Column[bool]
    paid_at: Column[datetime | None]
    made_at: Column[datetime] = event_time()


class Version(Source, url="versions.*"):
    """Things that may be changed: a row that deletes one may lack nearly everything."""

    code: Column[str] = column(unique=True, pattern=r"[A-Z]\w{0,2}")
    size: Column[float] = column(ge=-1.5, le=1000)
    pieces: Column[int | None] = column(ge=0)
    new: Column[bool]
    does: Column[str] = change(field="op")
    paid_at: Column[datetime]
    made_at: Column[datetime] = event_time()
    known_at: Column[datetime] = arrival_time()


class Vague(Source, url="versions.*"):
    """Things of which it may not be said what becomes of them."""

    code: Column[int] = column(unique=True)
    does: Column[str | None] = change()
    colour: Column[str]
    made_at: Column[datetime] = event_time()


SCHEMA = Thing.__schema__
SCHEMAS = [SCHEMA, Version.__schema__, Vague.__schema__]
Raw = tuple[Any, Any]  # as Arrow has it, and as JSON says it


def as_is(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Raw]:
    return st.none().map(lambda _: (None, None)) | values.map(lambda value: (value, value))


floats = as_is(
    st.sampled_from([0.0, -0.0, 12.0, -1.5, 1000.5, 2.0**53, -(2.0**53) + 1, 1e300, 5e-324])
    | st.floats()
)
integers = as_is(
    st.sampled_from([0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
    | st.integers(-(2**63), 2**63 - 1)
)
numbers_as_text = st.sampled_from(
    "12,  12 ,1e3,-0.0,+5,.5,5.,inf,-Infinity,NaN,+nan,1_000,0x1F,1e400,1e-400,1e,abc,1 2,"
    "\uff11\uff12,9007199254740993,12.7,-,12\t,true".split(",")
) | st.floats().map(str)
flags_as_text = st.sampled_from(
    ["true", "TRUE", " True", "t", "1", "false", "F", "0", "yes", "on", "2", "tru\u0435"]
)
times_as_text = st.sampled_from(
    "2024-02-29,2024-02-30,2024-05-01 10:00,2024-05-01T10:00:00Z,2024-05-01T10:00:00+02:00,"
    "2024-05-01T10:00:00.123456789-0530,2024-05-01 10:00:00.5+02,1969-12-31T23:59:59.9999999Z,"
    "0001-01-01,0001-01-01T00:00+14:00,9999-12-31T23:59:59.999999,9999-12-31T23:59-01:00,"
    "0000-01-01,10000-01-01,2024-05-01T24:00,2024-05-01T10:00:60,2024-05-01T10,20240501,"
    "2024-W18-3,2024-05-01T10:00 +02:00,2024-05-01T10:00+24:00,2024-05-01t10:00z, 2024-05-01 ,"
    "infinity,epoch,now,2024-05-01T10:00:00 Europe/Paris,1714557600".split(",")
) | st.datetimes().map(str)
texts = st.sampled_from(
    ["A", "Abc", "Abcd", "A\n", "Aé", "A٣", "red", "it's", "", " red", "x, y", 'a "b"', "null"]
) | st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=4)

changes = st.sampled_from(["insert", "upsert", "delete", "delete", "Delete", " delete", "drop"])

MOMENTS = st.sampled_from(
    [0, -1, EARLIEST, EARLIEST - 1, LATEST, LATEST + 1, 2**62, -(2**62)]
) | st.integers(EARLIEST, LATEST)


def _moment(at: int) -> Raw:
    return at, as_datetime(at) if EARLIEST <= at <= LATEST else "beyond the years"


moments = st.none().map(lambda _: (None, None)) | MOMENTS.map(_moment)
days = as_is(st.dates()).map(lambda raw: (raw[0], raw[1] and raw[1].isoformat()))
seconds = st.integers(-(2**40), 2**35).map(lambda s: (s, _moment(s * 1_000_000)[1]))
nanoseconds = st.integers(-(2**62), 2**62).map(lambda n: (n, as_datetime(n // 1000)))

NUMBERS = [
    (pa.float64(), floats),
    (pa.int64(), integers),
    (pa.int16(), as_is(st.integers(-(2**15), 2**15 - 1))),
    (pa.uint64(), as_is(st.integers(0, 2**64 - 1))),
    (pa.string(), as_is(numbers_as_text)),
    (pa.null(), as_is(st.none())),
]
KINDS: dict[type, list[tuple[pa.DataType, st.SearchStrategy[Raw]]]] = {
    str: [(pa.string(), as_is(texts)), (pa.dictionary(pa.int8(), pa.string()), as_is(texts))],
    float: NUMBERS,
    int: NUMBERS,
    bool: [(pa.bool_(), as_is(st.booleans())), (pa.string(), as_is(flags_as_text))],
    datetime: [
        (pa.timestamp("us"), moments),
        (pa.timestamp("us", "America/New_York"), moments),
        (pa.timestamp("s"), seconds),
        (pa.timestamp("ns"), nanoseconds),
        (pa.date32(), days),
        (pa.string(), as_is(times_as_text)),
    ],
}


@st.composite
def parquet_files(draw: st.DrawFn, schema: Schema) -> tuple[pa.Table, list[dict[str, Any]]]:
    """A file, and its rows by column as JSON would say them."""
    rows, columns, said = draw(st.integers(1, 12)), {}, list[list[Any]]()
    for c in schema.columns.values():
        arrow, values = draw(st.sampled_from(KINDS[c.type]))
        values = as_is(changes) if c is schema.change else values
        raws = draw(st.lists(values, min_size=rows, max_size=rows))
        columns[c.field] = pa.array([raw for raw, _ in raws], arrow)
        said.append([json for _, json in raws])
    return pa.table(columns), [
        dict(zip(schema.columns, r, strict=True)) for r in zip(*said, strict=True)
    ]


@st.composite
def csv_files(draw: st.DrawFn, schema: Schema) -> list[list[str]]:
    texts_of = {
        str: texts,
        float: numbers_as_text,
        int: numbers_as_text,
        bool: flags_as_text,
        datetime: times_as_text,
    }
    columns = schema.columns.values()
    cells = (changes if c is schema.change else texts_of[c.type] for c in columns)
    line = st.tuples(*(st.just("") | cell for cell in cells))
    return draw(st.lists(line.map(list), min_size=1, max_size=12))


def scanned(schema: Schema, path: Path) -> list[dict[str, Any]]:
    found = ENGINE.describe(str(path))
    match_columns(schema, found, path.name)
    query = select(schema, ENGINE.scan(str(path)), found)
    return [row for batch in ENGINE.stream(query, reads=str(path)) for row in batch.to_pylist()]


def assert_same_verdict(
    schema: Schema, found: Sequence[dict[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> None:
    assert len(found) == len(rows)
    for judged, row in zip(found, rows, strict=True):
        mask, held = judged.pop(FAULTS), judged.pop(HELD)
        values, why = judge(schema, row, parse=True)
        assert (repr(judged), reasons(schema, mask)) == (repr(values), why)
        assert (held is None) == (not why)
        if why:  # what is shown of a held row says the same again
            assert judge(schema, json.loads(held), parse=True) == (values, why)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.id)
@given(data=st.data())
def test_a_parquet_file_and_its_rows_get_the_same_verdict(
    schema: Schema, data: st.DataObject
) -> None:
    table, rows = data.draw(parquet_files(schema))
    with TemporaryDirectory() as folder:
        path = Path(folder, "things.parquet")
        pq.write_table(table, path)
        assert_same_verdict(schema, scanned(schema, path), rows)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.id)
@given(data=st.data())
def test_a_csv_file_and_its_rows_get_the_same_verdict(schema: Schema, data: st.DataObject) -> None:
    lines = data.draw(csv_files(schema))
    with TemporaryDirectory() as folder:
        path = Path(folder, "things.csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writerows([[c.field for c in schema.columns.values()], *lines])
        rows = [{n: v or None for n, v in zip(schema.columns, r, strict=True)} for r in lines]
        assert_same_verdict(schema, scanned(schema, path), rows)


GOOD = {
    "code": "A1",
    "weight": 2,
    "pieces": 3.0,
    "sold": True,
    "made_at": "2024-05-01T10:00:00+02:00",
}


def test_json_needs_no_column_that_may_be_null_and_gives_typed_values() -> None:
    values, why = judge(SCHEMA, GOOD)
    assert not why
    assert (values["weight"], values["pieces"]) == (2.0, 3)
    assert as_datetime(values["made_at"]).isoformat() == "2024-05-01T08:00:00+00:00"
    assert values["size"] is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("code", None, "code is missing"),
        ("code", 7, "code is no str"),
        ("weight", "2", "weight is no float"),
        ("weight", True, "weight is no float"),
        ("weight", [2], "weight is no float"),
        ("weight", float("nan"), "weight is missing"),
        ("weight", 10**400, "weight is missing"),
        ("pieces", 1.5, "pieces is no int"),
        ("pieces", 2**53, "pieces is no int"),
        ("pieces", 2**52 + 1, "pieces > 4503599627370496"),
        ("size", -2, "size < -1.5"),
        ("colour", "blue", "colour is not one of red, it's, "),
        ("sold", 1, "sold is no bool"),
        ("made_at", 1714550400, "made_at is no datetime"),
        ("made_at", "01/05/2024", "made_at is no datetime"),
    ],
)
def test_json_is_refused_with_the_reason(name: str, value: Any, reason: str) -> None:
    assert judge(SCHEMA, GOOD | {name: value})[1] == [reason]


def test_text_stands_for_values_in_files_only() -> None:
    row = GOOD | {"weight": " 2", "sold": "TRUE"}
    assert judge(SCHEMA, row)[1] == ["weight is no float", "sold is no bool"]
    assert judge(SCHEMA, row, parse=True)[1] == []


def test_a_column_of_the_file_may_have_any_name(tmp_path: Path) -> None:
    class Odd(Source, url="odd.parquet"):
        raw: Column[str]
        offset: Column[int] = column(ge=1, field='a "b"')
        select: Column[datetime] = event_time(field="made at")

    path = tmp_path / "odd.parquet"
    rows = {"raw": ["x"], 'a "b"': [0], "made at": ["2024-05-01"], "row": [1]}
    pq.write_table(pa.table(rows), path)
    query = select(Odd.__schema__, ENGINE.scan(str(path)), ENGINE.describe(str(path)))
    (row,) = ENGINE.select(query).to_pylist()
    assert reasons(Odd.__schema__, row[FAULTS]) == ["offset < 1"]
    assert json.loads(row[HELD]) == {"raw": "x", "offset": 0, "select": "2024-05-01"}


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (lambda: column(pattern="(?=a)"), r"'\(\?=' is not understood"),
        (lambda: column(pattern=r"(a)\1"), r"1' is not understood"),
        (lambda: column(pattern="["), "unterminated character set"),
        (lambda: column(ge=0), "ge= and le= are for numbers"),
    ],
)
def test_a_check_that_does_not_fit_its_column_is_refused(asked: Any, problem: str) -> None:
    class Wrong(Source, url="wrong.parquet"):
        name: Column[str] = asked()
        at: Column[datetime] = event_time()

    with pytest.raises(InvalidDeclaration, match=problem):
        checks(Wrong.__schema__)


def test_a_contract_has_at_most_64_checks() -> None:
    names = {f"c{i}": Column[str] for i in range(33)}
    body = {"__annotations__": names | {"at": Column[datetime]}, "at": event_time()}
    wide: Any = type("Wide", (Source,), body, url="wide.parquet")
    with pytest.raises(TooManyChecks, match="has 68 checks, at most 64"):
        checks(wide.__schema__)
