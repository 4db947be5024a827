"""The chart of the growth: seconds and memory by the number of events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import altair as alt

from benchmarks.feature_engine.measuring import Figures


def draw(points: Sequence[Figures], file: Path) -> None:
    """Draws points, which have `events` and the figures of `offline:ours`, as SVG or PNG."""
    seconds = [_row(p, "the join", p["seconds"]) for p in points]
    memory = [_row(p, "at the peak", p["peak MB"]) for p in points]
    memory += [_row(p, "less the answers", p["peak MB"] - p["answers MB"]) for p in points]
    panels = _panel(seconds, "seconds") | _panel(memory, "memory, MB")
    file.parent.mkdir(parents=True, exist_ok=True)
    panels.resolve_scale(strokeDash="independent").save(str(file))


def _row(point: Figures, line: str, value: float) -> Figures:
    return {"millions": point["events"] / 1e6, "line": line, "value": value}


def _panel(rows: Sequence[Figures], label: str) -> alt.Chart:
    chart = alt.Chart(alt.InlineData(values=list(rows)), width=320, height=200)
    drawn: alt.Chart = chart.mark_line(point=True).encode(
        x=alt.X("millions:Q", title="million events"),
        y=alt.Y("value:Q", title=label),
        strokeDash=alt.StrokeDash("line:N", title=None, legend=alt.Legend(orient="top")),
    )
    return drawn
