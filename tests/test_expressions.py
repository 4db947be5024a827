from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mainspring as ms
from mainspring import Column
from mainspring.clock import NEVER
from mainspring.errors import AmbiguousTruth, FunctionFailed, InvalidDeclaration, UnfitResult
from mainspring.expressions import Expr, columns_of, kind_of, source_digest
from mainspring.vectors import Vector, evaluate, evaluate_all

NULL = float("nan")


class Trip(ms.Source, url="trips.parquet"):
    a: Column[float | None]
    b: Column[float | None]
    yes: Column[bool | None]
    no: Column[bool | None]
    city: Column[str | None]
    booked_at: Column[datetime | None]
    began_at: Column[datetime] = ms.event_time()


class City(ms.FeatureView, key=Trip.city):
    trips = ms.count(window=ms.hours(1))
    mean_a = ms.mean(Trip.a, window=ms.hours(1), where=Trip.b > 0)


def value(expression: Expr[Any], **columns: Any) -> list[Any]:
    """The expression over columns given as lists, with None for NULL."""
    vectors = {name: vector(of) for name, of in columns.items()}
    rows = len(next(iter(vectors.values())))
    found = evaluate(expression, vectors, rows)
    return [None if v is None or v != v else v for v in found.tolist()]


def vector(values: list[Any]) -> Vector:
    if any(isinstance(v, str) for v in values):
        return np.array(values, object)
    if any(isinstance(v, datetime) for v in values):
        return np.array([NEVER if v is None else us(v) for v in values], np.int64)
    return np.array([NULL if v is None else v for v in values], np.float64)


def us(time: datetime) -> int:
    return round((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000


LEAP_DAY = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
ANY_NULL = {"a": [1, None, 1, None], "b": [2, 2, None, None]}


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        (Trip.a + Trip.b, 3),
        (Trip.a - Trip.b, -1),
        (Trip.a * Trip.b, 2),
        (Trip.a / Trip.b, 0.5),
        (Trip.a > Trip.b, 0),
        (Trip.a >= Trip.b, 0),
        (Trip.a < Trip.b, 1),
        (Trip.a <= Trip.b, 1),
        (Trip.a.equals(Trip.b), 0),
    ],
)
def test_null_is_contagious(expression: Expr[Any], result: float) -> None:
    assert value(expression, **ANY_NULL) == [result, None, None, None]


@pytest.mark.parametrize(
    "expression",
    [
        -Trip.a,
        Trip.a + 1,
        1 + Trip.a,
        1 - Trip.a,
        2 * Trip.a,
        2 / Trip.a,
        Trip.a > 0,
        Trip.a.is_in([1, 2]),
        ms.log1p(Trip.a),
        ms.abs(Trip.a),
        ms.clip(Trip.a, 0, 1),
        ms.apply(np.sqrt, [Trip.a], returns=float),
    ],
)
def test_null_of_one_operand_gives_null(expression: Expr[Any]) -> None:
    known, null = value(expression, a=[1, None])
    assert known is not None
    assert null is None


def test_constants_stand_on_either_side() -> None:
    both = [1 - Trip.a, Trip.a - 1, 8 / Trip.a, Trip.a / 8, 1 < Trip.a, 4 >= Trip.a]
    assert [value(e, a=[4])[0] for e in both] == [-3, 3, 2, 0.5, 1, 1]


def test_division_by_zero_and_overflow_give_null() -> None:
    assert value(Trip.a / Trip.b, a=[1, 0, -1], b=[0, 0, -0.0]) == [None, None, None]
    assert value(Trip.a * Trip.b, a=[1e300], b=[1e300]) == [None]
    assert value(1 / Trip.a, a=[0]) == [None]


def test_negative_zero_becomes_zero() -> None:
    found = evaluate(Trip.a * -1, {"a": np.array([0.0])}, 1)
    assert not np.signbit(found).any()


def test_and_or_not_have_three_values() -> None:
    flags = {"yes": [1, 1, 1, 0, 0, 0, None, None, None], "no": [1, 0, None] * 3}
    assert value(Trip.yes & Trip.no, **flags) == [1, 0, None, 0, 0, 0, None, 0, None]
    assert value(Trip.yes | Trip.no, **flags) == [1, 1, 1, 1, 0, None, 1, None, None]
    assert value(~Trip.yes, yes=[1, 0, None]) == [0, 1, None]


def test_is_null_and_fill_null_end_contagion() -> None:
    assert value((Trip.a + Trip.b).is_null(), **ANY_NULL) == [0, 1, 1, 1]
    assert value((Trip.a + Trip.b).fill_null(-1), **ANY_NULL) == [3, -1, -1, -1]
    assert value(Trip.city.fill_null("?"), city=["Oslo", None]) == ["Oslo", "?"]
    assert value(Trip.city.is_null(), city=["Oslo", None]) == [0, 1]


def test_text_is_compared_by_equals_and_is_in() -> None:
    cities = ["Oslo", "Bergen", None]
    assert value(Trip.city.equals("Oslo"), city=cities) == [1, 0, None]
    assert value(Trip.city.is_in(["Oslo", "Bergen"]), city=cities) == [1, 1, None]
    assert value(Trip.city.is_in([]), city=cities) == [0, 0, None]
    assert value(Trip.a.is_in([1, 2.5]), a=[1, 2, 2.5]) == [1, 0, 1]
    assert value(Trip.yes.equals(True), yes=[1, 0, None]) == [1, 0, None]


@pytest.mark.parametrize(
    "time",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(1900, 2, 28, 23, tzinfo=UTC),
        datetime(2000, 2, 29, 12, 30, tzinfo=UTC),
        datetime(2024, 2, 29, tzinfo=UTC),
        datetime(2024, 12, 31, 23, 59, tzinfo=UTC),
    ],
)
def test_hour_and_day_of_week_are_those_of_the_calendar(time: datetime) -> None:
    assert value(ms.hour(Trip.began_at), began_at=[time, None]) == [time.hour, None]
    assert value(ms.day_of_week(Trip.began_at), began_at=[time, None]) == [time.weekday(), None]


def test_clip_log1p_and_abs() -> None:
    assert value(ms.clip(Trip.a, -1, 2), a=[-5, -1, 0, 2, 9]) == [-1, -1, 0, 2, 2]
    assert value(ms.log1p(Trip.a), a=[0, -1, -2]) == [0, None, None]
    assert value(ms.log1p(Trip.a), a=[np.e - 1]) == pytest.approx([1])
    assert value(ms.abs(Trip.a), a=[-2, 2]) == [2, 2]


def test_apply_gets_one_array_per_column_and_may_return_any_kind() -> None:
    def shout(city: Any, a: Any) -> Any:
        return np.array(
            [None if c is None else c.upper() * int(n) for c, n in zip(city, a, strict=True)],
            object,
        )

    loud = ms.apply(shout, [Trip.city, Trip.a], returns=str)
    assert kind_of(loud) == "text"
    assert value(loud, city=["a", None], a=[2, 1]) == ["AA", None]
    assert value(ms.apply(np.isnan, [Trip.a], returns=bool), a=[1, None]) == [0, 1]


@pytest.mark.parametrize(
    ("returned", "returns", "result"),
    [
        (np.array([1, 2, 3], np.int8), float, [1, 2, 3]),
        (np.array([1.5, np.nan, np.inf], np.float32), float, [1.5, None, None]),
        (np.array([1.0, np.nan, -0.0]), int, [1, None, 0]),
        (np.array([1.0, np.nan, 0.0]), bool, [1, None, 0]),
        (np.array([True, False, True]), int, [1, 0, 1]),
        ([0, 1, 0], bool, [0, 1, 0]),
        (["a", "", "c"], str, ["a", "", "c"]),
        (np.array(["a", None, "c"], object), str, ["a", None, "c"]),
    ],
)
def test_apply_takes_what_is_of_the_declared_type(
    returned: Any, returns: Any, result: list[Any]
) -> None:
    told: Expr[Any] = ms.apply(lambda a: returned, [Trip.a], returns=returns)
    assert value(told, a=[1, 2, 3]) == result


@pytest.mark.parametrize(
    ("returned", "returns", "problem"),
    [
        (np.zeros(2), float, r"an array of shape \(2,\) for 3 rows"),
        (np.zeros((3, 1)), float, r"an array of shape \(3, 1\)"),
        (0.5, float, r"an array of shape \(\)"),
        (None, float, r"an array of shape \(\)"),
        (np.array([1.0, None, 2.0], object), float, "an array of object"),
        (np.zeros(3, complex), float, "an array of complex128"),
        (["1", "2", "3"], int, "an array of <U1"),
        (np.array([1.0, np.nan, 2.5]), int, "2.5, and is declared returns=int"),
        (np.array([1.0, np.nan, 2.0]), bool, "2.0, and is declared returns=bool"),
        (np.zeros(3), str, "an array of float64, and is declared returns=str"),
        (np.array(["a", np.nan, "c"], object), str, "nan, and is declared returns=str"),
    ],
)
def test_apply_refuses_what_is_not_of_the_declared_type(
    returned: Any, returns: Any, problem: str
) -> None:
    def odd(a: Any) -> Any:
        return returned

    told: Expr[Any] = ms.apply(odd, [Trip.a], returns=returns)
    with pytest.raises(UnfitResult, match=rf"odd, given to ms\.apply, returned {problem}") as e:
        value(told, a=[1, 2, 3])
    assert e.value.fields["at"] == told.at
    assert "test_expressions.py:" in told.at


def test_a_function_that_raises_is_named_with_its_declaration() -> None:
    def picky(a: Any) -> Any:
        raise ValueError("no 13\nplease")

    told = ms.apply(picky, [Trip.a], returns=float)
    with pytest.raises(
        FunctionFailed, match=r"picky, given to ms\.apply, raised ValueError: no 13\n"
    ) as e:
        value(told + 1, a=[13])
    assert e.value.fields["at"] == told.at
    assert isinstance(e.value.__cause__, ValueError)
    with pytest.raises(FunctionFailed, match=r"TypeError: .*takes 1 positional argument but 2"):
        value(ms.apply(lambda a: a, [Trip.a, Trip.b], returns=float), a=[1], b=[1])


def test_what_a_function_writes_into_its_arrays_reaches_no_other_feature() -> None:
    def zero(a: Any) -> Any:
        a[:] = 0
        return a

    told = ms.apply(zero, [Trip.a], returns=float) + Trip.a
    assert value(told, a=[1, 2]) == [1, 2]


def test_request_columns_and_stored_features_meet_in_one_expression() -> None:
    near = ms.distance_km(Trip.a, Trip.b, City.mean_a, 0) < 200
    unusual = (Trip.a / City.mean_a).fill_null(1) > 1
    stored: dict[str, list[Any]] = {City.mean_a.label: [2, None, 0], City.trips.label: [5, 0, 1]}
    request: dict[str, list[Any]] = {"a": [3, 3, 1], "b": [0, 0, 0]}
    assert value(unusual & (City.trips > 0), **request, **stored) == [1, 0, 0]
    assert value(near, **request, **stored) == [1, None, 1]
    alone = {name: of[:1] for name, of in {**request, **stored}.items()}
    assert value(unusual, **alone) == [1]


def test_the_plan_knows_a_constant_time_whatever_its_zone() -> None:
    utc, oslo = LEAP_DAY, LEAP_DAY.astimezone(timezone(timedelta(hours=1)))
    for time in (utc, oslo, utc.replace(tzinfo=None)):
        told = [Trip.began_at > time, Trip.began_at.equals(time), Trip.began_at.is_in([time])]
        assert [repr(e) for e in told] == [
            "Trip.began_at > 2024-02-29T12:30:00+00:00",
            "equals(Trip.began_at, 2024-02-29T12:30:00+00:00)",
            "is_in(Trip.began_at, values=(2024-02-29T12:30:00+00:00,))",
        ]
        assert json.dumps([e.definition() for e in told]).count("2024-02-29T12:30:00+00:00") == 3
        assert value(told[1], began_at=[utc, None]) == [1, None]


def test_a_set_is_listed_in_one_order() -> None:
    assert repr(Trip.city.is_in({"b", "c", "a"})) == "is_in(Trip.city, values=('a', 'b', 'c'))"


def test_two_functions_of_one_name_are_two_values() -> None:
    one, two = (ms.apply(lambda a, n=n: a * n, [Trip.a], returns=float) for n in (1.0, 2.0))
    assert one.label != two.label
    assert [v.tolist() for v in evaluate_all([one, two], {"a": np.array([3.0])}, 1)] == [[3], [6]]


def test_a_function_is_known_by_its_code_defaults_and_closure() -> None:
    def over(limit: float) -> Any:
        return lambda a: a > limit

    assert source_digest(over(1)) == source_digest(over(1))
    assert source_digest(over(1)) != source_digest(over(2))
    assert source_digest(partial(over(1), a=1)) != source_digest(partial(over(1), a=2))
    assert source_digest(np.radians) == "numpy.<ufunc 'radians'>"


def test_a_digest_is_the_same_in_every_process(repository: Path) -> None:
    program = """
from mainspring.expressions import source_digest
print(source_digest(lambda city: city in {"Oslo", "Bergen", "Bodo", "Hamar"}))
"""
    command = [sys.executable, "-c", program]
    digests = {
        subprocess.check_output(command, cwd=repository, env={"PYTHONHASHSEED": seed})
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (Trip.a - Trip.b, "Trip.a - Trip.b"),
        (Trip.a - (Trip.b - 1), "Trip.a - (Trip.b - 1)"),
        (1 - Trip.a, "1 - Trip.a"),
        (-Trip.a, "neg(Trip.a)"),
        ((Trip.a > 1) | ~Trip.yes, "(Trip.a > 1) | not(Trip.yes)"),
        (Trip.city.is_in(["x"]), "is_in(Trip.city, values=('x',))"),
        (City.trips, "City.trips"),
        (City.trips / 60, "City.trips / 60"),
        (ms.last(Trip.city), "last(Trip.city, window=all history)"),
        (ms.count(window=ms.hours(1), hop=None), "count(window=1h)"),
        (ms.apply(np.sqrt, [Trip.a], returns=float), "apply(Trip.a, function=sqrt, returns=float)"),
    ],
)
def test_repr_reads_like_the_system_file(expression: Expr[Any], text: str) -> None:
    assert repr(expression) == text


def test_an_expression_has_no_truth_value() -> None:
    with pytest.raises(AmbiguousTruth, match=r"no truth value: Trip\.a > 1\n.*test_expressions"):
        bool(Trip.a > 1)
    with pytest.raises(AmbiguousTruth, match="combine conditions with &"):
        _ = 1 < Trip.a < 2


def test_lineage_goes_through_aggregates_and_their_conditions() -> None:
    assert list(map(repr, columns_of(City.mean_a))) == ["Trip.a", "Trip.b"]


MS: Any = ms
TRIP: Any = Trip
"""What a checker would refuse, seen without types."""


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TRIP.city + 1, r"Trip\.city \+ 1: Trip\.city is a text, \+ takes a number"),
        (lambda: TRIP.a > "1", "'1' is a text, > takes a number"),
        (lambda: TRIP.a + None, "None is a NoneType"),
        (lambda: TRIP.a & TRIP.yes, "Trip.a is a number, & takes a flag"),
        (lambda: MS.hour(TRIP.a), "Trip.a is a number, hour takes a time"),
        (lambda: MS.sum(TRIP.began_at), "Trip.began_at is a time, sum takes a number"),
        (lambda: MS.count(where=TRIP.a), "Trip.a is a number, where takes a flag"),
        (lambda: TRIP.city.is_in("Oslo"), r"write \.is_in\(\['Oslo'\]\)"),
        (lambda: TRIP.city.is_in(["Oslo", 1]), "1 is a number, is_in takes a text"),
        (lambda: TRIP.a.is_in([1, None]), "None is a NoneType, is_in takes a number"),
        (lambda: TRIP.city.equals(1), "1 is a number, equals takes a text"),
        (lambda: TRIP.a.equals(TRIP.began_at), "is a time, equals takes a number"),
        (lambda: TRIP.a.equals(None), "None is a NoneType, equals takes a number"),
        (lambda: TRIP.a.fill_null("?"), "'\\?' is a text, fill_null takes a number"),
        (lambda: TRIP.yes.fill_null(7), "7 is a number, fill_null takes a flag"),
        (lambda: TRIP.a.fill_null(NULL), "nan is NULL itself"),
        (lambda: TRIP.began_at.fill_null(0), "0 is a number, fill_null takes a time"),
        (lambda: TRIP.city > "Oslo", "Trip.city is a text, > takes a number"),
        (lambda: TRIP.began_at > 5, "5 is a number, > takes a time"),
        (lambda: TRIP.a > LEAP_DAY, r"2024-02-29T12:30:00\+00:00 is a time, > takes a number"),
        (lambda: TRIP.began_at - TRIP.booked_at, "is a time, - takes a number"),
        (lambda: MS.seconds_between(TRIP.a, LEAP_DAY), "takes a time"),
        (lambda: MS.seconds_between(LEAP_DAY, LEAP_DAY), "the same in every row"),
        (lambda: MS.distance_km(1, 2, TRIP.city, 3), "Trip.city is a text, distance_km takes"),
        (lambda: MS.distance_km(1, 2, 3, 4), "the same in every row"),
        (lambda: MS.hash_bucket(TRIP.began_at, 8), "is a time, hash_bucket takes a number"),
        (lambda: MS.hash_bucket(TRIP.city, 0), "0 is no number of buckets"),
        (lambda: MS.hash_bucket(TRIP.city, 8.0), "8.0 is no number of buckets"),
        (lambda: MS.clip(TRIP.a, 2, 1), "no number is from 2 to 1"),
        (lambda: MS.apply(np.sqrt, [], returns=float), "columns= is what changes"),
        (lambda: MS.apply(np.add, [TRIP.a, 1], returns=float), "columns= is what changes"),
        (lambda: MS.apply(np.sqrt, [TRIP.a], returns=list), "is not a feature type"),
    ],
)
def test_an_operand_of_the_wrong_kind_is_refused(build: Any, message: str) -> None:
    with pytest.raises(InvalidDeclaration, match=message):
        build()
