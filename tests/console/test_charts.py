from __future__ import annotations

import re

import pytest

from mainspring.console.charts import drift_chart, ladder_chart, metric_chart, versions_chart
from mainspring.console.drawing import COLOURS, drawn
from mainspring.console.drifting import Cell, Drift
from mainspring.console.history import INCIDENT, Event, History, Point, rolling
from mainspring.console.judged import Judged, Ladder, Rung, Versions

DAY = 86_400_000_000
HOSTILE = "<script>alert(1)</script>"


def points(count: int, value: float = 0.4) -> tuple[Point, ...]:
    return tuple(Point(day * DAY, value, value - 0.1, value + 0.1, 100) for day in range(count))


def colours_of(text: str) -> set[str]:
    return {n for n, c in COLOURS.items() if f'"var(--{n},{c})"' in text}


def test_a_metric_chart_shows_both_series_and_what_happened() -> None:
    kinds = ("trained", "promoted", "rolled_back", INCIDENT)
    events = tuple(Event(DAY, 2 * DAY, kind, "why") for kind in kinds)
    text = drawn(metric_chart, (History("log_loss", points(9), points(9, 0.5), events),))
    assert {"served", "frozen", "trained", "promoted", "rolled_back", "incident"} <= colours_of(
        text
    )
    for word in (
        "log loss",
        "served",
        "first version, frozen",
        "trained",
        "rolled back",
        "incident",
    ):
        assert f">{word}<" in text


def test_every_colour_of_a_chart_follows_the_theme() -> None:
    text = drawn(metric_chart, (History("log_loss", points(9), points(9), ()),))
    left = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]+|[a-z]+)"', text))
    assert left <= {"none", "transparent"}


def test_a_chart_has_no_script_no_style_and_names_itself() -> None:
    text = drawn(versions_chart, Versions("log_loss", (Judged(1, "live", 0.4, 0.3, 0.5, 0.6),)))
    assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img"')
    assert 'aria-label="log loss of every version on its judge rows"' in text
    assert "<style" not in text and "<script" not in text and "font-family" not in text


def test_names_in_a_chart_are_escaped() -> None:
    drift = Drift(HOSTILE, (HOSTILE,), (Cell(0, DAY, HOSTILE, 0.3, 0.2),), ())
    ladder = Ladder("log_loss", 2, (Rung("constant", 0.6, 0.0), Rung(HOSTILE, 0.5, 0.1)))
    for text in (drawn(drift_chart, drift), drawn(ladder_chart, ladder)):
        assert "<script" not in text and "&lt;script&gt;" in text


def test_numbers_stand_in_a_ladder_as_they_are() -> None:
    ladder = Ladder("log_loss", 2, (Rung("constant", 0.61234, 0.0), Rung("v2", 0.70005, -0.1)))
    assert ">0.6123<" in drawn(ladder_chart, ladder) and ">0.7000<" in drawn(ladder_chart, ladder)


def test_a_chart_is_drawn_once_for_the_same_data() -> None:
    def data() -> Versions:
        return Versions("log_loss", (Judged(1, "live", 0.4, 0.3, 0.5, None),))

    assert drawn(versions_chart, data()) is drawn(versions_chart, data())


@pytest.mark.parametrize("count", [1, 2, 40, 400])
def test_a_rolling_mean_has_a_point_for_each_day(count: int) -> None:
    smooth = rolling(points(count), 7)
    assert [p.at for p in smooth] == [day * DAY for day in range(count)]
    assert all(p.value == pytest.approx(0.4) and p.rows <= 700 for p in smooth)


def test_a_rolling_mean_forgets_days_before_a_gap() -> None:
    early, late = Point(0, 0.1, 0.1, 0.1, 100), Point(30 * DAY, 0.9, 0.9, 0.9, 100)
    assert rolling((early, late), 7)[1].value == pytest.approx(0.9)
