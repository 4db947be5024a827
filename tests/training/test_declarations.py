from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

import mainspring as ms
from mainspring import Column, days, hours
from mainspring.errors import InvalidDeclaration, OutcomeLeak


class Flight(ms.Source, url="flights.parquet"):
    flight_id: Column[str] = ms.column(unique=True)
    origin: Column[str]
    distance: Column[float]
    seats: Column[int]
    asked_at: Column[datetime] = ms.event_time()


class Arrival(ms.Source, url="arrivals.parquet"):
    flight_id: Column[str | None]
    origin: Column[str]
    tailnum: Column[str]
    seats: Column[str]
    delay: Column[float | None]
    diverted: Column[bool]
    landed_at: Column[datetime] = ms.event_time()


class Airport(ms.FeatureView, key=Arrival.origin):
    delay_1h = ms.mean(Arrival.delay, window=hours(1))
    landed_1h = ms.count(window=hours(1))


def label(**settings: Any) -> ms.Label[Any]:
    defaults: dict[str, Any] = {
        "of": Flight.flight_id,
        "when": Arrival.flight_id,
        "value": Arrival.delay > 15,
        "within": days(2),
    }
    return ms.Label("late", **(defaults | settings))


def rows(*features: Any, **settings: Any) -> ms.TrainingSet:
    defaults: dict[str, Any] = {"lookback": days(30)}
    return ms.TrainingSet("rows", label(), features, **(defaults | settings))


@pytest.mark.parametrize(
    ("settings", "kind", "missing"),
    [
        ({}, "flag", None),
        ({"value": Arrival.delay}, "number", None),
        ({"value": Arrival.diverted, "default": False}, "flag", 0.0),
        ({"value": Arrival.delay / 60, "default": 1.5}, "number", 1.5),
        ({"value": None}, "flag", 0.0),
        ({"value": None, "default": True}, "flag", 1.0),
    ],
)
def test_a_label_knows_its_kind_and_what_a_missing_outcome_means(
    settings: dict[str, Any], kind: str, missing: float | None
) -> None:
    late = label(**settings)
    assert (late.request, late.outcome, late.kind, late.missing) == (Flight, Arrival, kind, missing)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"within": 2}, "within: 2 is not a duration"),
        ({"within": days(0)}, "within= must be longer than nothing"),
        ({"when": Flight.origin}, "of= and when= are the same source"),
        ({"of": Flight.seats}, r"Flight\.seats is a number, Arrival\.flight_id a text"),
        ({"of": "flight_id"}, r"of= cannot take 'flight_id'\n.*test_declarations"),
        ({"value": Flight.distance > 1}, r"value uses Flight\.distance, which is not a column of"),
        (
            {"value": Airport.delay_1h > 1},
            r"value uses Airport\.delay_1h, which is not a column of",
        ),
        ({"value": Arrival.tailnum}, r"value=Arrival\.tailnum is a text"),
        ({"value": 1}, r"value= cannot take 1\n.*\n.*value= takes Expr \| None"),
    ],
)
def test_a_label_that_means_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDeclaration, match=message):
        label(**settings)


def test_a_training_set_resolves_what_a_request_must_send() -> None:
    found = rows(Airport, Flight.distance / Flight.seats, ms.hour(Flight.asked_at)).feature_set
    assert found.names == (
        "Airport.delay_1h",
        "Airport.landed_1h",
        "Flight.distance / Flight.seats",
        "hour(Flight.asked_at)",
    )
    assert found.kinds == ("number",) * 4
    assert [c.name for c in found.columns] == ["origin", "distance", "seats", "asked_at"]
    assert found.views == (Airport,)


def test_a_column_of_the_outcome_is_a_leak() -> None:
    message = r"'rows' lists Arrival\.delay, which stands on a row that a Flight request does not"
    for feature in (Arrival.delay, Arrival.delay + 1, ms.log1p(Arrival.delay)):
        with pytest.raises(OutcomeLeak, match=message):
            rows(feature)


def test_a_view_by_the_key_of_the_outcome_is_a_leak() -> None:
    class Own(ms.FeatureView, key=Arrival.flight_id):
        delay = ms.last(Arrival.delay)

    for listed in (Own, Own.delay, Own.delay > 15):
        with pytest.raises(OutcomeLeak, match=r"lists Own, a view by Arrival\.flight_id"):
            rows(Flight.distance, listed)


def test_a_leak_is_refused_where_an_endpoint_of_a_rule_would_read_it() -> None:
    with pytest.raises(OutcomeLeak, match=r"endpoint 'late' lists Arrival\.delay"):
        ms.Endpoint("late", ms.Rule("late", Arrival.delay > 15), request=Flight)


class Plane(ms.FeatureView, key=Arrival.tailnum):
    delay = ms.last(Arrival.delay)


class Seats(ms.FeatureView, key=Arrival.seats):
    delay = ms.last(Arrival.delay)


@pytest.mark.parametrize(
    ("features", "settings", "message"),
    [
        ([Airport, Airport.delay_1h], {}, r"'Airport\.delay_1h' is listed twice"),
        ([Plane], {}, r"Flight has no column tailnum: Column\[str\] to look up Plane by"),
        ([Seats], {}, r"Flight has no column seats: Column\[str\] to look up Seats by"),
        ([ms.count(window=hours(1))], {}, "is not a feature of any view"),
        (["origin"], {}, "'origin' is not a feature"),
        ([Flight], {}, "Flight'> is not a feature"),
        ([Airport], {"lookback": 30}, r"lookback: 30 is not a duration"),
        ([Airport], {"judge": 7}, r"judge: 7 is not a duration"),
    ],
)
def test_a_training_set_that_means_nothing_is_refused(
    features: list[Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidDeclaration, match=message):
        rows(*features, **settings)


def test_a_rule_is_a_condition_and_its_endpoint_names_the_request() -> None:
    far = ms.Rule("far", Flight.distance > 1000)
    assert far.definition()["lineage"] == ["Flight.distance"]
    with pytest.raises(InvalidDeclaration, match="a rule does not say what its requests are"):
        ms.Endpoint("far", far)


@pytest.mark.parametrize("steps", [[], [0.5], [0.5, 0.5, 1.0], [1.0, 0.5], [0.0, 1.0], [0.5, 1.5]])
def test_the_shares_of_a_canary_grow_to_one(steps: list[float]) -> None:
    with pytest.raises(InvalidDeclaration, match="do not grow from above 0 to 1"):
        ms.Canary(steps, bake=hours(1))


def test_training_waits_for_at_least_one_new_label() -> None:
    with pytest.raises(InvalidDeclaration, match="0 is not a number of labels"):
        ms.new_labels(0)
