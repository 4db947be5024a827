"""How charts look, and how they become SVG: offline, without a script, in the colours of the page.

Each colour stands for a CSS variable in the SVG, so one drawing serves light and dark; in a
notebook, where there is no theme, it is the colour itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    import altair as alt

    Chart = alt.LayerChart | alt.FacetChart | alt.VConcatChart

D = TypeVar("D")
Row = dict[str, Any]

COLOURS = {
    "ink": "#1d2129",
    "muted": "#667080",
    "line": "#e5e7ec",
    "served": "#2e5bd7",
    "frozen": "#929aa8",
    "trained": "#4d5d80",
    "refused": "#b7bdc9",
    "promoted": "#1c8657",
    "rolled_back": "#c5392c",
    "incident": "#d0820f",
}
"""What each colour means, and how it looks where there is no theme."""

WIDTH = 1000


@lru_cache(maxsize=64)
def drawn(chart: Callable[[D], Chart], data: D) -> str:
    """The SVG of a chart, kept for as long as its data stays the same."""
    return svg(chart(data))


def svg(chart: Chart) -> str:
    """A chart as SVG to stand in a page: themed, scaling, named to those who cannot see it."""
    import altair as alt
    import vl_convert

    version = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    text: str = vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=version)
    for name, colour in COLOURS.items():
        text = text.replace(f'"{colour}"', f'"var(--{name},{colour})"')
    text = re.sub(r' font-family="[^"]*"', "", text)
    text = re.sub(r'<svg [^>]*?width="(\d+)" height="(\d+)"[^>]*>', _opened(chart), text, count=1)
    text = re.sub(r' (?:d|transform)="[^"]*"', _shortened, text)
    return re.sub(r' (?:aria-[a-z]+|role|class|pointer-events)="[^"]*"', _kept, text)


def _opened(chart: Chart) -> Callable[[re.Match[str]], str]:
    title = escape(str(getattr(chart, "description", "chart")))
    return lambda found: (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" aria-label="{title}" '
        f'width="{found[1]}" viewBox="0 0 {found[1]} {found[2]}">'
    )


def _shortened(found: re.Match[str]) -> str:
    """A tenth of a pixel is enough."""
    return re.sub(r"(\.\d)\d+", r"\1", found[0])


def _kept(found: re.Match[str]) -> str:
    keep = found[0].startswith((' role="img"', " aria-label", ' class="chart"'))
    return found[0] if keep else ""


def time_axis(start: int, end: int, labels: bool = True) -> alt.X:
    """The axis of a stretch of time; without labels where another panel below has them."""
    import altair as alt

    days = (end - start) / 86_400_000_000
    shown = "%b %Y" if days > 500 else "%b" if days > 70 else "%e %b"
    ticks: Any = {"interval": "month", "step": 1} if days > 70 else 8
    axis = alt.Axis(
        title=None, format=shown, tickCount=ticks, labels=labels, ticks=labels, domain=labels
    )
    ends = [start // 1000, max(end, start + 1000) // 1000]
    return alt.X("at:T", scale=alt.Scale(type="utc", domain=ends), axis=axis)


def data(rows: Iterable[Row]) -> alt.InlineData:
    """Rows as one text: Altair would check each value of a list against its schema."""
    import altair as alt

    text = msgspec.json.encode(list(rows)).decode()
    return alt.InlineData(values=text, format=alt.JsonDataFormat(type="json"))


def legend(symbol: str, room: int) -> alt.Legend:
    """A legend on the row above a panel, `room` from its right end."""
    import altair as alt

    return alt.Legend(
        title=None,
        orient="none",
        direction="horizontal",
        legendX=WIDTH - room,
        legendY=-24,
        symbolType=symbol,
        symbolStrokeWidth=3,
        symbolOpacity=1,
        columnPadding=26,
    )


def titled(text: str) -> alt.Chart:
    """A title on the row of the legend, at the left end of its panel."""
    import altair as alt

    place = {"x": alt.value(0), "y": alt.value(-17)}
    mark = alt.Chart(data([{}])).mark_text(text=text, align="left", color=COLOURS["ink"])
    title: alt.Chart = mark.encode(**place)
    return title


def styled(chart: Any) -> Chart:
    """Quiet lines, small grey words, room around nothing: the frame is the page's."""
    quiet = COLOURS["muted"]
    config: Row = {
        "aria": False,
        "background": "transparent",
        "font": "sans-serif",
        "padding": 2,
        "view": {"stroke": None},
        "axis": {
            "labelColor": quiet,
            "titleColor": quiet,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "titlePadding": 10,
            "gridColor": COLOURS["line"],
            "domainColor": COLOURS["line"],
            "tickColor": COLOURS["line"],
            "domain": False,
            "ticks": False,
        },
        "axisX": {"grid": False},
        "legend": {"labelColor": quiet, "labelFontSize": 11, "padding": 0},
        "text": {"fontSize": 12},
    }
    finished: Chart = chart.properties(config=config)
    return finished
