"""Each operation on vectors says of every row what plain Python says of its values."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mainspring as ms
from mainspring import Column
from mainspring.clock import parse_time
from mainspring.expressions import Expr, kind_of
from mainspring.vectors import Vector, evaluate, from_values, hash64, to_value


class Ride(ms.Source, url="rides.parquet"):
    number: Column[float | None]
    other: Column[float | None]
    flag: Column[bool | None]
    text: Column[str | None]
    note: Column[str | None]
    time: Column[datetime | None]
    began_at: Column[datetime] = ms.event_time()


Plain = Callable[..., Any]
Columns = Mapping[str, Sequence[Any]]
EDGES = [0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 2.0**53, 5e-324, -1.5]
NOON = datetime(1968, 2, 29, 12, tzinfo=UTC)
MOMENTS = [NOON, NOON - timedelta(microseconds=1), datetime(2000, 2, 29, 23, 59, tzinfo=UTC)]
ANY: dict[str, st.SearchStrategy[Any]] = {
    "number": st.none() | st.sampled_from(EDGES) | st.floats() | st.integers(-3, 3),
    "flag": st.none() | st.booleans(),
    "text": st.none() | st.sampled_from(["Oslo", ""]) | st.text(max_size=3),
    "time": st.none() | st.sampled_from(MOMENTS) | st.datetimes(timezones=st.just(UTC)),
}
"""Values of each kind, NULL among them, and those which an operation may get wrong."""


def known(value: Any) -> Any:
    """A value as rows have it: NaN is NULL."""
    return None if value != value else value


def told(expression: Expr[Any], columns: Columns) -> list[Any]:
    """What the engine says of each row."""
    vectors = {name: _vector(name, of) for name, of in columns.items()}
    rows = len(next(iter(columns.values())))
    found = evaluate(expression, vectors, rows)
    assert found.shape == (rows,)
    return [to_value(v, kind_of(expression)) for v in found]


def _vector(name: str, values: Sequence[Any]) -> Vector:
    kind = kind_of(getattr(Ride, name))
    if kind == "number":  # with -0.0, which `from_values` does not let in
        return np.array([math.nan if v is None else v for v in values], np.float64)
    return from_values([parse_time(v) if isinstance(v, datetime) else v for v in values], kind)


def same(found: Any, wanted: Any) -> bool:
    """Whether they are equal; a plain result that is not finite is NULL, and there is no -0.0."""
    if isinstance(wanted, datetime):
        return bool(found == wanted.isoformat())
    if not isinstance(wanted, float | int):
        return bool(found is wanted or found == wanted)
    if not math.isfinite(wanted):
        return found is None
    return math.isclose(found, wanted, rel_tol=1e-15) and math.copysign(1, found + 0.0) == (
        math.copysign(1, wanted + 0.0)
    )


def strict(plain: Plain) -> Plain:
    """The function with contagious NULL."""
    return lambda *values: None if None in values else plain(*values)


def bucket(value: Any, of: int) -> int:
    raw = value.encode() if isinstance(value, str) else struct.pack("<d", value + 0.0)
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "little") % of


ONE: list[tuple[Expr[Any], Plain]] = [
    (Ride.number.equals(0), strict(lambda x: x == 0)),
    (Ride.number.equals(math.inf), strict(lambda x: x == math.inf)),
    (Ride.number.is_in([0, -1.5, 2**53]), strict(lambda x: x in (0, -1.5, 2**53))),
    (Ride.number.is_in([]), strict(lambda x: False)),
    (Ride.number.is_null(), lambda x: x is None),
    (Ride.number.fill_null(-0.0), lambda x: 0.0 if x is None else x),
    (Ride.number >= 0, strict(lambda x: x >= 0)),
    (1 > Ride.number, strict(lambda x: x < 1)),
    (ms.clip(Ride.number, -1, 2.5), strict(lambda x: min(max(x, -1), 2.5))),
    (ms.clip(Ride.number, 0, math.inf), strict(lambda x: max(x, 0))),
    (ms.abs(Ride.number), strict(abs)),
    (ms.log1p(Ride.number), strict(lambda x: math.log1p(x) if x > -1 else None)),
    (ms.hash_bucket(Ride.number, 7), strict(lambda x: bucket(x, 7))),
    (Ride.flag.equals(True), strict(lambda x: x is True)),
    (Ride.flag.equals(0), strict(lambda x: x is False)),
    (Ride.flag.is_in([False]), strict(lambda x: x is False)),
    (Ride.flag.is_null(), lambda x: x is None),
    (Ride.flag.fill_null(True), lambda x: x is not False),
    (ms.hash_bucket(Ride.flag, 7), strict(lambda x: bucket(float(x), 7))),
    (Ride.text.equals("Oslo"), strict(lambda x: x == "Oslo")),
    (Ride.text.is_in(["", "Oslo"]), strict(lambda x: x in ("", "Oslo"))),
    (Ride.text.is_in([]), strict(lambda x: False)),
    (Ride.text.is_null(), lambda x: x is None),
    (Ride.text.fill_null("?"), lambda x: "?" if x is None else x),
    (ms.hash_bucket(Ride.text, 2**53), strict(lambda x: bucket(x, 2**53))),
    (Ride.time.equals(NOON), strict(lambda x: x == NOON)),
    (Ride.time.is_in(MOMENTS), strict(lambda x: x in MOMENTS)),
    (Ride.time.is_null(), lambda x: x is None),
    (Ride.time.fill_null(NOON), lambda x: NOON if x is None else x),
    (Ride.time > NOON, strict(lambda x: x > NOON)),
    (NOON >= Ride.time, strict(lambda x: x <= NOON)),
    (ms.hour(Ride.time), strict(lambda x: x.hour)),
    (ms.day_of_week(Ride.time), strict(lambda x: x.weekday())),
    (ms.seconds_between(NOON, Ride.time), strict(lambda x: (x - NOON).total_seconds())),
]


@pytest.mark.parametrize(("expression", "plain"), ONE, ids=[repr(e) for e, _ in ONE])
@given(data=st.data())
def test_an_operation_on_a_column_is_that_of_plain_python(
    expression: Expr[Any], plain: Plain, data: st.DataObject
) -> None:
    column = next(name for name in ANY if f"Ride.{name}" in repr(expression))
    rows = data.draw(st.lists(ANY[column], min_size=1, max_size=8))
    found = told(expression, {column: rows})
    wanted = [plain(known(v)) for v in rows]
    assert all(map(same, found, wanted)), (found, wanted)


TWO: list[tuple[Expr[Any], str, str, Plain]] = [
    (Ride.number.equals(Ride.other), "number", "other", strict(lambda x, y: x == y)),
    (Ride.number < Ride.other, "number", "other", strict(lambda x, y: x < y)),
    (Ride.number.fill_null(Ride.other), "number", "other", lambda x, y: y if x is None else x),
    (Ride.text.equals(Ride.note), "text", "note", strict(lambda x, y: x == y)),
    (Ride.text.fill_null(Ride.note), "text", "note", lambda x, y: y if x is None else x),
    (Ride.time.equals(Ride.began_at), "time", "began_at", strict(lambda x, y: x == y)),
    (Ride.time > Ride.began_at, "time", "began_at", strict(lambda x, y: x > y)),
    (Ride.time <= Ride.began_at, "time", "began_at", strict(lambda x, y: x <= y)),
    (Ride.time.fill_null(Ride.began_at), "time", "began_at", lambda x, y: y if x is None else x),
    (
        ms.seconds_between(Ride.time, Ride.began_at),
        "time",
        "began_at",
        strict(lambda x, y: (y - x).total_seconds()),
    ),
]


@pytest.mark.parametrize(
    ("expression", "left", "right", "plain"), TWO, ids=[repr(e) for e, *_ in TWO]
)
@given(data=st.data())
def test_an_operation_on_two_columns_is_that_of_plain_python(
    expression: Expr[Any], left: str, right: str, plain: Plain, data: st.DataObject
) -> None:
    pair = st.tuples(ANY[left], ANY[left])
    rows = data.draw(st.lists(pair | pair.map(lambda p: (p[0], p[0])), min_size=1, max_size=8))
    ours, theirs = map(list, zip(*rows, strict=True))
    found = told(expression, {left: ours, right: theirs})
    wanted = [plain(known(x), known(y)) for x, y in rows]
    assert all(map(same, found, wanted)), (found, wanted)


def angle_between(one: tuple[float, float], two: tuple[float, float]) -> float:
    """The angle of two points seen from the centre, by their vectors: not by the haversine."""
    a, b = (np.array(_seen(*map(math.radians, point))) for point in (one, two))
    return math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))


def _seen(lat: float, lon: float) -> list[float]:
    return [math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)]


points = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(points, points)
def test_a_distance_is_the_angle_seen_from_the_centre_of_the_earth(
    one: tuple[float, float], two: tuple[float, float]
) -> None:
    here = ms.distance_km(Ride.number, Ride.other, *two)
    back = ms.distance_km(*two, Ride.number, Ride.other)
    columns = {"number": [one[0]], "other": [one[1]]}
    [found] = told(here, columns)
    assert found == pytest.approx(6371.0088 * angle_between(one, two), abs=1e-3)
    assert told(back, columns) == pytest.approx([found], abs=1e-6)


def test_distances_that_are_known() -> None:
    lat, lon = [0, 0, -90, 59.9139], [0, 180, 17, 10.7522]
    found = told(ms.distance_km(Ride.number, Ride.other, 0, 0), {"number": lat, "other": lon})
    half = math.pi * 6371.0088
    assert found[:3] == pytest.approx([0, half, half / 2])
    bergen = ms.distance_km(Ride.number, Ride.other, 60.3913, 5.3221)
    assert told(bergen, {"number": lat[3:], "other": lon[3:]}) == pytest.approx([305], abs=1)


@pytest.mark.parametrize("point", [(90.1, 0), (-91, 0), (0, 180.5), (0, -181), (math.inf, 0)])
def test_a_point_that_is_not_on_earth_has_no_distance(point: tuple[float, float]) -> None:
    columns: Columns = {"number": [point[0], None], "other": [point[1], 0]}
    assert told(ms.distance_km(Ride.number, Ride.other, 0, 0), columns) == [None, None]


def test_a_bucket_is_the_same_in_every_version() -> None:
    texts = ["", "Oslo", "Tromsø", "東京", None]
    assert told(ms.hash_bucket(Ride.text, 1000), {"text": texts}) == [756, 765, 11, 198, None]
    numbers = [0.0, -0.0, 1, -1, 2.5, None]
    found = told(ms.hash_bucket(Ride.number, 1000), {"number": numbers})
    assert found == [58, 58, 579, 256, 993, None]


def test_buckets_are_evenly_filled() -> None:
    texts = [f"user-{number}" for number in range(20_000)]
    counts = np.bincount(np.array(told(ms.hash_bucket(Ride.text, 20), {"text": texts}), int))
    assert len(counts) == 20
    assert counts.min() > 850
    assert counts.max() < 1150


def test_a_hash_has_the_shape_of_its_vector_and_takes_any_text() -> None:
    assert hash64(np.array([], object)).shape == hash64(np.array([])).shape == (0,)
    assert hash64(np.array(["\ud800", None], object)).dtype == np.uint64
    assert hash64(np.array([5], np.int64)) == hash64(np.array([5.0]))
