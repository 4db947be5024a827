from __future__ import annotations

import inspect
from datetime import datetime
from typing import Any

import pytest

import mainspring as ms
from mainspring import Column, days, hours
from mainspring.errors import InvalidDeclaration
from mainspring.features.view import lineage


class Departure(ms.Source, url="departures.parquet"):
    origin: Column[str]
    delay: Column[float]
    cancelled: Column[bool]
    departed_at: Column[datetime] = ms.event_time()


class Weather(ms.Source, url="weather.parquet"):
    origin: Column[str]
    wind: Column[float | None]
    observed_at: Column[datetime] = ms.event_time()


class Airport(ms.FeatureView, key=Departure.origin):
    delay_1h = ms.mean(Departure.delay, window=hours(1), where=~Departure.cancelled)
    delay_1d = ms.mean(Departure.delay, window=days(1))
    trend = delay_1h - delay_1d
    share = ms.count(where=Departure.delay > 15) / ms.count()


def test_features_take_their_names_from_the_class_body() -> None:
    assert list(Airport.__view__.features) == ["delay_1h", "delay_1d", "trend", "share"]
    assert [f.label for f in Airport.__view__.features.values()] == [
        "Airport.delay_1h",
        "Airport.delay_1d",
        "Airport.trend",
        "Airport.share",
    ]


def test_an_aggregate_inside_an_expression_is_stored_under_its_feature() -> None:
    stored = [a.label for a in Airport.__view__.aggregates]
    assert stored == ["Airport.delay_1h", "Airport.delay_1d", "Airport.share.0", "Airport.share.1"]


def test_lineage_names_the_columns_of_aggregates_and_conditions() -> None:
    assert Airport.__view__.definition()["lineage"] == {
        "delay_1h": ["Departure.cancelled", "Departure.delay"],
        "delay_1d": ["Departure.delay"],
        "trend": ["Departure.cancelled", "Departure.delay"],
        "share": ["Departure.delay"],
    }


def test_a_view_knows_its_source_key_and_place() -> None:
    view = Airport.__view__
    assert (view.source, repr(view.keys)) == (Departure, "(Departure.origin,)")
    assert view.at == f"{__file__}:{inspect.getsourcelines(Airport)[1]}"


def test_a_name_keeps_state_across_a_rename() -> None:
    class Renamed(ms.FeatureView, key=Departure.origin, name="Airport"):
        delays = ms.count(window=hours(1))

    assert (Renamed.__view__.id, Renamed.delays.label) == ("Airport", "Airport.delays")


def declare(**features: Any) -> None:
    type("Bad", (ms.FeatureView,), features, key=Departure.origin)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"wind": ms.mean(Weather.wind)},
            "wind uses Weather.wind, which is not a column of Departure",
        ),
        ({"n": ms.count(where=Weather.wind > 9)}, "n uses Weather.wind, which is not a column of"),
        (
            {"delay": Departure.delay + 1},
            r"delay uses Departure.delay outside an aggregate\n.*\n.*wrap it",
        ),
        ({"trend": Airport.trend}, "trend is the same feature as Airport.trend"),
        ({"a": (a := ms.count()), "b": a}, r"b is the same feature as Bad\.a"),
        ({"x": 1}, "it has no features"),
    ],
)
def test_a_view_that_means_nothing_is_refused(features: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDeclaration, match=f"Bad: {message}"):
        declare(**features)


def test_a_view_may_build_on_features_of_another_of_its_source() -> None:
    class Excess(ms.FeatureView, key=Departure.origin):
        excess = ms.max(Departure.delay, window=hours(1)) - Airport.delay_1h

    assert [a.label for a in Excess.__view__.aggregates] == ["Excess.excess.0"]
    assert lineage(Excess.excess) == ["Departure.cancelled", "Departure.delay"]


def test_a_key_is_a_column() -> None:
    key: Any = "origin"
    with pytest.raises(InvalidDeclaration, match="key='origin' is not a column"):

        class Bad(ms.FeatureView, key=key):
            n = ms.count()


@pytest.mark.parametrize("k", [0, 65, 2.5, True, "a", None])
def test_a_wide_feature_has_a_whole_number_of_values(k: Any) -> None:
    for made in (ms.last_k, ms.top_k):
        with pytest.raises(InvalidDeclaration, match="is not a whole number between 1 and 64"):
            made(Departure.delay, k)


@pytest.mark.parametrize("q", [-0.1, 1.5, float("nan"), "a", None])
def test_a_quantile_is_between_nothing_and_all(q: Any) -> None:
    with pytest.raises(InvalidDeclaration, match="is not a number between 0 and 1"):
        ms.quantile(Departure.delay, q)
