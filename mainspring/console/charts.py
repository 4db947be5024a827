"""The charts, as Altair objects: the same for the console, the report and a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mainspring.console.drawing import (
    COLOURS,
    WIDTH,
    Row,
    data,
    legend,
    styled,
    time_axis,
    titled,
)
from mainspring.console.drifting import Drift
from mainspring.console.history import INCIDENT, Event, History, Series
from mainspring.console.judged import Ladder, Versions
from mainspring.console.words import worded

if TYPE_CHECKING:
    import altair as alt

    from mainspring.console.drawing import Chart

SERVED, FROZEN = "served", "first version, frozen"
LANES = ("trained", "refused", "promoted", "rolled_back", INCIDENT)
SHAPES = ("circle", "circle", "triangle-up", "triangle-down", "square")


def metric_chart(histories: tuple[History, ...]) -> Chart:
    """Metrics over time, one panel each: what was served, the first version, what happened.

    Example:
        >>> from mainspring.console.history import History, Point
        >>> served = tuple(Point(day * 86_400_000_000, 0.4, 0.3, 0.5, 900) for day in range(3))
        >>> metric_chart((History("log_loss", served, (), ()),)).to_dict()["vconcat"][0]["height"]
        210
    """
    import altair as alt

    first = histories[0]
    span = min(h.start for h in histories), max(h.end for h in histories)
    x, bare = time_axis(*span), time_axis(*span, labels=False)
    panels: list[alt.LayerChart | alt.FacetChart] = []
    for history in histories:
        last = history is histories[-1] and not first.events
        panels.append(_lines(history, x if last else bare, 130 if panels else 210, not panels))
    if first.events:
        panels.append(_lanes(first.events, x))
    title = ", ".join(worded(h.metric) for h in histories)
    whole = alt.vconcat(*panels, spacing=14, description=f"{title} over time")
    return styled(whole.resolve_scale(color="independent", shape="independent"))


def _lines(history: History, x: alt.X, height: int, keyed: bool) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    days = f", mean of {history.days} days" if history.days > 1 else ""
    y = alt.Y(
        "value:Q",
        scale=alt.Scale(zero=False, nice=True),
        axis=alt.Axis(title=None, tickCount=4, format=".2~f"),
    )
    colour = alt.Color(
        "variant:N",
        scale=alt.Scale(domain=[SERVED, FROZEN], range=[COLOURS["served"], COLOURS["frozen"]]),
        legend=legend("stroke", 230) if keyed else None,
    )
    rows = [*_points(history.frozen, FROZEN), *_points(history.served, SERVED)]
    base = alt.Chart(data(rows))
    served = base.transform_filter(f"datum.variant === '{SERVED}'")
    band = served.mark_area(color=COLOURS["served"], opacity=0.13).encode(
        x=x, y=alt.Y("low:Q"), y2="high:Q"
    )
    lines = base.mark_line(strokeWidth=2, strokeJoin="round", point=len(rows) < 8).encode(
        x=x, y=y, color=colour, detail="variant:N"
    )
    crowned = alt.Chart(data(_event_rows(e for e in history.events if e.kind == "promoted")))
    rules = crowned.mark_rule(color=COLOURS["promoted"], opacity=0.3).encode(x=x)
    title = titled(f"{worded(history.metric)}{days}")
    return alt.layer(band, rules, lines, title, width=WIDTH, height=height)


def _points(series: Series, variant: str) -> Iterable[Row]:
    for point in series:
        yield {
            "at": point.at // 1000,
            "value": point.value,
            "low": point.low,
            "high": point.high,
            "variant": variant,
        }


def _lanes(events: tuple[Event, ...], x: alt.X) -> alt.LayerChart | alt.FacetChart:
    """One lane per kind of event: its label is the legend."""
    import altair as alt

    kinds = [kind for kind in LANES if any(e.kind == kind for e in events)]
    names = [worded(kind) for kind in kinds]
    y = alt.Y(
        "lane:N",
        scale=alt.Scale(domain=names),
        axis=alt.Axis(title=None, labelLimit=160, labelPadding=8, minExtent=74),
    )
    colours = alt.Color(
        "lane:N",
        scale=alt.Scale(domain=names, range=[COLOURS[kind] for kind in kinds]),
        legend=None,
    )
    shape = alt.Shape(
        "lane:N",
        scale=alt.Scale(domain=names, range=[SHAPES[LANES.index(kind)] for kind in kinds]),
        legend=None,
    )
    base = alt.Chart(data(_event_rows(events)))
    spans = base.mark_bar(height=7, cornerRadius=3).encode(x=x, x2="until:T", y=y, color=colours)
    marks = base.mark_point(filled=True, size=52, opacity=1)
    return alt.layer(
        spans.transform_filter(f"datum.kind === '{INCIDENT}'"),
        marks.encode(x=x, y=y, color=colours, shape=shape),
        width=WIDTH,
        height=17 * len(names),
    )


def _event_rows(events: Iterable[Event]) -> list[Row]:
    return [
        {"at": e.at // 1000, "until": e.until // 1000, "kind": e.kind, "lane": worded(e.kind)}
        for e in events
    ]


def drift_chart(drift: Drift) -> Chart:
    """How far each feature is from what its version was trained on: stronger is farther.

    Example:
        >>> from mainspring.console.drifting import Cell, Drift
        >>> drift = Drift("airports", ("delay",), (Cell(0, 3_600_000_000, "delay", 0.3, 0.2),), ())
        >>> drift_chart(drift).to_dict()["height"]
        18
    """
    import altair as alt

    x = time_axis(drift.start, drift.end)
    rows = [
        {"at": c.at // 1000, "until": c.until // 1000, "feature": c.feature, "excess": c.excess}
        for c in drift.cells
        if c.excess > 0
    ]
    y = alt.Y(
        "feature:N",
        sort=list(drift.features),
        scale=alt.Scale(domain=list(drift.features)),
        axis=alt.Axis(title=None, labelLimit=220, labelPadding=8, minExtent=150),
    )
    strength = alt.Opacity(
        "excess:Q",
        scale=alt.Scale(domain=[0, 0.04, 0.25, 1.0], range=[0.0, 0.18, 0.5, 1.0], clamp=True),
        legend=None,
    )
    cells = alt.Chart(data(rows)).mark_rect(color=COLOURS["incident"])
    opened = alt.Chart(data(_event_rows(drift.incidents)))
    return styled(
        alt.layer(
            cells.encode(x=x, x2="until:T", y=y, opacity=strength),
            opened.mark_rule(color=COLOURS["rolled_back"], strokeDash=[3, 2]).encode(x=x),
            width=WIDTH - 74,
            height=18 * len(drift.features),
            description=f"drift seen by {drift.monitor}, by feature over time",
        )
    )


def ladder_chart(ladder: Ladder) -> Chart:
    """How much of the constant model's loss each rung and the version take away, on the judge rows.

    Example:
        >>> from mainspring.console.judged import Ladder, Rung
        >>> ladder_chart(Ladder("log_loss", 3, (Rung("v3", 0.4, 0.2),))).to_dict()["height"]
        26
    """
    import altair as alt

    rows = [
        {
            "rung": r.name,
            "gain": r.gain,
            "end": max(r.gain, 0.0),
            "told": f"{r.value:.4f}",
            "own": r.name == ladder.name,
        }
        for r in ladder.rungs
    ]
    names = [r.name for r in ladder.rungs]
    low, high = min(0.0, *(r.gain for r in ladder.rungs)), max(r.gain for r in ladder.rungs)
    room = (high - low or 0.1) * 0.14
    x = alt.X(
        "gain:Q",
        stack=None,
        scale=alt.Scale(domain=[low, high + room], nice=False),
        axis=alt.Axis(
            title=f"{worded(ladder.metric)} below the constant model's", format=".0%", tickCount=5
        ),
    )
    y = alt.Y("rung:N", sort=names, axis=alt.Axis(title=None, labelPadding=8, minExtent=60))
    colour = alt.condition("datum.own", alt.value(COLOURS["served"]), alt.value(COLOURS["frozen"]))
    base = alt.Chart(data(rows))
    bars = base.mark_bar(height=14, cornerRadiusEnd=3).encode(x=x, y=y, color=colour)
    told = base.mark_text(align="left", dx=6, color=COLOURS["ink"], fontSize=11).encode(
        x=alt.X("end:Q"), y=y, text="told:N"
    )
    return styled(
        alt.layer(
            bars,
            told,
            width=420,
            height=26 * len(names),
            description=f"{ladder.name} and the simple models of its ladder",
        )
    )


def versions_chart(versions: Versions) -> Chart:
    """Each version's metric on its judge rows, and that of the simple model it had to beat.

    Example:
        >>> from mainspring.console.judged import Judged, Versions
        >>> judged = Judged(1, "live", 0.40, 0.39, 0.41, 0.43)
        >>> versions_chart(Versions("log_loss", (judged,))).to_dict()["height"]
        170
    """
    import altair as alt

    rows = [
        {
            "version": f"v{j.number}",
            "value": j.value,
            "low": j.low,
            "high": j.high,
            "baseline": j.baseline,
            "state": "refused by a gate" if j.state == "refused" else "met every gate",
        }
        for j in versions.judged
    ]
    names = [f"v{j.number}" for j in versions.judged]
    x = alt.X(
        "version:N",
        sort=names,
        axis=alt.Axis(title=None, labelAngle=0, labelOverlap=True, grid=False, ticks=False),
    )
    scale = alt.Scale(zero=False, nice=True)
    axis = alt.Axis(title=None, tickCount=5, format=".2~f")
    y = alt.Y("value:Q", scale=scale, axis=axis)
    colour = alt.Color(
        "state:N",
        scale=alt.Scale(
            domain=["met every gate", "refused by a gate", "best simple model"],
            range=[COLOURS["served"], COLOURS["rolled_back"], COLOURS["frozen"]],
        ),
        legend=legend("circle", 410),
    )
    base = alt.Chart(data(rows))
    bars = base.mark_rule(strokeWidth=2, opacity=0.45).encode(
        x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour
    )
    rungs = base.mark_tick(color=COLOURS["frozen"], thickness=3, size=16, opacity=1).encode(
        x=x, y=alt.Y("baseline:Q", scale=scale)
    )
    points = base.mark_point(filled=True, size=62, opacity=1).encode(x=x, y=y, color=colour)
    return styled(
        alt.layer(
            rungs,
            bars,
            points,
            titled(f"{worded(versions.metric)}, and of the simple model to beat"),
            width=WIDTH,
            height=170,
            description=f"{worded(versions.metric)} of every version on its judge rows",
        )
    )
