"""The report of a replay: one file that needs nothing else, to be mailed, printed and kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mainspring.console import drifting, history, judged
from mainspring.console.charts import drift_chart, ladder_chart, metric_chart, versions_chart
from mainspring.console.drawing import drawn
from mainspring.console.rendering import rendered, style_sheet
from mainspring.graph import Graph
from mainspring.models.model import Model
from mainspring.models.registry import Version
from mainspring.monitoring.monitor import Monitor
from mainspring.retraining.replay import Replayed
from mainspring.serving.endpoint import Endpoint
from mainspring.sources.home import Home
from mainspring.stores.base import Snapshot
from mainspring.windows import microseconds


def write_report(
    system: Graph, home: Home, replayed: Replayed, path: Path, *, seconds: float | None = None
) -> None:
    """Writes what a replay did as one HTML file: charts, versions, decisions, what it bought.

    Args:
        seconds: how long the replay took, if it is to be told.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     home, path = Home.open(Path(folder), Path(folder)), Path(folder) / "report.html"
        ...     write_report(Graph("empty", {}), home, Replayed(0, 86_400_000_000, [], 0), path)
        ...     path.read_text().splitlines()[0]
        '<!doctype html>'
    """
    with home.metadata.read() as snapshot:
        endpoints = [
            _endpoint(snapshot, system, endpoint, replayed.end)
            for endpoint in system.of_kind(Endpoint)
            if isinstance(endpoint.model, Model)
        ]
        monitors = [_drift(snapshot, m, replayed) for m in system.of_kind(Monitor)]
    page = rendered(
        "report.html",
        system=system.name,
        style=style_sheet(),
        replayed=replayed,
        seconds=seconds,
        counts=Counter(h.kind for h in replayed.timeline),
        endpoints=endpoints,
        drifts=[(d, drawn(drift_chart, d)) for d in monitors if d.cells],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Told:
    """What the report tells of one endpoint.

    Attributes:
        chart, judged, ladder: drawings, empty where there is nothing to draw.
        bought: what was served against the frozen first version, one metric each.
    """

    endpoint: Endpoint
    versions: list[Version]
    metrics: list[str]
    roles: dict[int, list[str]]
    fates: dict[int, str]
    chart: str
    judged: str
    ladder: str
    bought: list[history.Compared]


def _endpoint(snapshot: Snapshot, system: Graph, endpoint: Endpoint, end: int) -> Told:
    metrics = history.metrics_of(endpoint.model)[:2]
    watching = history.watching(system, endpoint)
    histories = tuple(history.history(snapshot, endpoint, m.name, watching, end) for m in metrics)
    versions = judged.versions_of(snapshot, endpoint.model.name)
    roles = judged.roles_of(snapshot, [endpoint])
    best = [v for v in versions if "champion" in roles.get(v.number, ())] or versions[-1:]
    ladder = judged.ladder(best[0], metrics[0].name) if best else None
    bought = (history.compared(snapshot, endpoint.name, m) for m in metrics)
    return Told(
        endpoint,
        versions,
        [m.name for m in metrics],
        roles,
        judged.fates(snapshot, endpoint.name),
        drawn(metric_chart, histories) if any(h.served for h in histories) else "",
        drawn(versions_chart, judged.versions(versions, metrics[0])) if versions else "",
        drawn(ladder_chart, ladder) if ladder else "",
        [c for c in bought if c is not None],
    )


def _drift(snapshot: Snapshot, monitor: Monitor, replayed: Replayed) -> drifting.Drift:
    every = microseconds(monitor.every)
    return drifting.drift(snapshot, monitor.name, every, replayed.end, since=replayed.start)
