"""The console's pages: what the system is, what it does and why, to be read without a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from mainspring.console import drifting, history, judged, status
from mainspring.console.captions import Captions
from mainspring.console.charts import drift_chart, ladder_chart, metric_chart, versions_chart
from mainspring.console.diagram import laid_out
from mainspring.console.drawing import drawn
from mainspring.console.rendering import rendered, style_sheet
from mainspring.console.tables import Answered, Tables
from mainspring.features.view import FeatureView
from mainspring.graph import Graph
from mainspring.models.model import Model
from mainspring.monitoring.monitor import Monitor
from mainspring.serving.endpoint import Endpoint
from mainspring.sources.home import Home
from mainspring.sources.source import Source
from mainspring.stores.base import Snapshot
from mainspring.training.label import Label
from mainspring.training.training_set import TrainingSet
from mainspring.windows import microseconds

PREFIX = "/console"
REFRESH = 10
"""After how many seconds a live page asks again."""

LIVE = ("overview", "monitors")

LATELY = 28 * history.DAY
"""How much of the past the drift charts show."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; "
    "img-src data:; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes(system: Graph, home: Home) -> list[BaseRoute]:
    """The routes of the console, below `/console`, for a Starlette application.

    Pages are made in the thread pool. What they cost is mostly charts, which are drawn anew only
    when what they show has changed.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     made = routes(Graph("empty", {}), Home.open(Path(folder), Path(folder)))
        >>> [route.path for route in made][:3]
        ['/console', '/console/versions', '/console/versions/{model:path}']
    """
    console = Console(system, home)
    pages: dict[str, Callable[[Request], Response]] = {
        "": console.overview,
        "/versions": console.versions,
        "/versions/{model:path}": console.versions,
        "/monitors": console.monitors,
        "/sources": console.sources,
        "/features": console.features,
        "/decisions": console.decisions,
        "/console.css": style,
        "/{page:path}": console.missing,
    }
    return [Route(PREFIX + path, page) for path, page in pages.items()]


def style(_: Request) -> Response:
    """The one style sheet."""
    return Response(style_sheet(), media_type="text/css", headers={"Cache-Control": "max-age=60"})


class Console:
    """The pages of one system and its home."""

    def __init__(self, system: Graph, home: Home) -> None:
        self._system, self._home = system, home
        self._tables = Tables(home)
        self._diagram = laid_out(system)
        self._endpoints: list[Endpoint] = system.of_kind(Endpoint)
        self._models: list[Model] = system.of_kind(Model)
        self._monitors: list[Monitor] = system.of_kind(Monitor)

    def overview(self, request: Request) -> Response:
        """The graph, each endpoint with its metrics, open incidents and the last decisions."""
        answered = {e.name: self._tables.answered(e) for e in self._endpoints}
        with self._home.metadata.read() as snapshot:
            now = self._now(snapshot, answered)
            endpoints = [
                self._endpoint(snapshot, e, answered[e.name], now) for e in self._endpoints
            ]
            shown = {
                "endpoints": endpoints,
                "incidents": drifting.open_incidents(snapshot),
                "closed": drifting.closed_incidents(snapshot, 4),
                "decisions": snapshot.select("decision", order="-number", limit=14),
                "captions": Captions(snapshot).of_all(self._system),
            }
        for endpoint in endpoints:
            histories = endpoint.pop("histories")
            endpoint["chart"] = drawn(metric_chart, histories) if histories else ""
        return self._page(request, "overview", now, diagram=self._diagram, **shown)

    def versions(self, request: Request) -> Response:
        """The versions of a model: gates, ladder, metrics, and why each was trained."""
        name = request.path_params.get("model") or next((m.name for m in self._models), "")
        model = next((m for m in self._models if m.name == name), None)
        if model is None and (name or self._models):
            return self.missing(request)
        with self._home.metadata.read() as snapshot:
            shown = _versions(snapshot, model, self._endpoints) if model else {}
            now = self._now(snapshot, {})
        if model is None or not shown["versions"]:
            empty: dict[str, Any] = {"model": model, "models": self._models, "versions": []}
            return self._page(request, "versions", now, **empty)
        metric = history.headline(model)
        charts = {
            "chart_of_versions": drawn(versions_chart, judged.versions(shown["versions"], metric)),
            "ladders": [
                (ladder, drawn(ladder_chart, ladder))
                for v in shown["compared"]
                if (ladder := judged.ladder(v, metric.name))
            ],
        }
        shown["versions"].reverse()
        return self._page(
            request,
            "versions",
            now,
            model=model,
            models=self._models,
            metrics=history.metrics_of(model),
            **shown,
            **charts,
        )

    def monitors(self, request: Request) -> Response:
        """What each monitor sees, and its incidents with their evidence."""
        with self._home.metadata.read() as snapshot:
            now = self._now(snapshot, {})
            shown = [self._monitor(snapshot, m, now) for m in self._monitors]
            audits = [drifting.skew(snapshot, e.name) for e in self._endpoints]
        for monitor in shown:
            if monitor["drift"].cells:
                monitor["chart"] = drawn(drift_chart, monitor["drift"])
        return self._page(request, "monitors", now, monitors=shown, audits=audits)

    def sources(self, request: Request) -> Response:
        """Each source's contract, its rows, and what is held in quarantine."""
        found: list[type[Source]] = self._system.of_kind(Source)
        stocks = [(s.__schema__, self._tables.stock(s)) for s in found]
        with self._home.metadata.read() as snapshot:
            now = self._now(snapshot, {})
        return self._page(request, "sources", now, stocks=stocks)

    def features(self, request: Request) -> Response:
        """Each view's features with definition, window and lineage; labels and training sets."""
        views: list[type[FeatureView]] = self._system.of_kind(FeatureView)
        with self._home.metadata.read() as snapshot:
            now = self._now(snapshot, {})
        return self._page(
            request,
            "features",
            now,
            views=[v.__view__ for v in views],
            labels=self._system.of_kind(Label),
            training_sets=self._system.of_kind(TrainingSet),
        )

    def decisions(self, request: Request) -> Response:
        """Everything that was decided, the newest first; `?kind=` shows one kind."""
        kind = request.query_params.get("kind", "")
        with self._home.metadata.read() as snapshot:
            now = self._now(snapshot, {})
            every = snapshot.select("decision", order="-number")
        kinds = sorted({d["kind"] for d in every})
        chosen = [d for d in every if kind in ("", d["kind"])]
        return self._page(request, "decisions", now, decisions=chosen, kinds=kinds, kind=kind)

    def missing(self, request: Request) -> Response:
        """There is no such page."""
        return self._page(request, "missing", 0, 404)

    def _page(
        self, request: Request, name: str, now: int, status: int = 200, /, **shown: Any
    ) -> Response:
        base = request.scope.get("root_path", "") + PREFIX
        live, paused = name in LIVE, "paused" in request.query_params
        page = rendered(
            f"{name}.html",
            base=base,
            page=name,
            title=name.capitalize(),
            system=self._system.name,
            now=now,
            live=live,
            paused=paused,
            refresh=REFRESH if live and not paused else 0,
            **shown,
        )
        return HTMLResponse(page, status, HEADERS)

    def _now(self, snapshot: Snapshot, answered: Mapping[str, Answered]) -> int:
        """The system's time as far as its home tells: a replayed year does not end today."""
        return max([status.known_until(snapshot), *(a.last for a in answered.values())])

    def _endpoint(
        self, snapshot: Snapshot, endpoint: Endpoint, answered: Answered, now: int
    ) -> dict[str, Any]:
        metrics = history.metrics_of(endpoint.model)[:2]
        watching = history.watching(self._system, endpoint)
        histories = tuple(
            history.history(snapshot, endpoint, m.name, watching, now) for m in metrics
        )
        return {
            "status": status.status(snapshot, endpoint, metrics),
            "answered": answered,
            "histories": histories if any(h.served for h in histories) else (),
        }

    def _monitor(self, snapshot: Snapshot, monitor: Monitor, now: int) -> dict[str, Any]:
        every = microseconds(monitor.every)
        found = drifting.drift(snapshot, monitor.name, every, now, since=now - LATELY)
        incidents = snapshot.select("incident", order="-number", monitor=monitor.name)
        return {"monitor": monitor, "every": every, "drift": found, "incidents": incidents}


def _versions(snapshot: Snapshot, model: Model, endpoints: list[Endpoint]) -> dict[str, Any]:
    found = judged.versions_of(snapshot, model.name)
    answering = [e for e in endpoints if e.model is model]
    roles = judged.roles_of(snapshot, answering)
    champions = [v for v in found if "champion" in roles.get(v.number, ())]
    runs = snapshot.select("run", order="number", model=model.name)
    return {
        "versions": found,
        "roles": roles,
        "fates": {n: f for e in answering for n, f in judged.fates(snapshot, e.name).items()},
        "runs": {r["version"]: r for r in runs},
        "warnings": judged.warnings(snapshot, model.name),
        "compared": list({v.number: v for v in (*champions, *found[-1:])}.values()),
    }
