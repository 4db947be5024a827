"""What an endpoint was worth over time: measured days, what happened, what retraining bought."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mainspring.graph import Graph
from mainspring.models.metrics import METRICS, Metric
from mainspring.models.model import Model
from mainspring.models.rule import Rule
from mainspring.monitoring.monitor import Monitor
from mainspring.monitoring.skew import skew_of
from mainspring.serving.endpoint import Endpoint
from mainspring.stores.base import Row, Snapshot

DAY = 86_400_000_000
SMOOTH = 7
"""How many days a point of a long chart averages: weekdays differ, weeks less so."""

INCIDENT = "incident"


@dataclass(frozen=True, slots=True)
class Point:
    """One measured stretch: a value with its 95 % interval, and how many answers it is over."""

    at: int
    value: float
    low: float
    high: float
    rows: int


Series = tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for the lanes of a chart; an incident lasts until it was closed."""

    at: int
    until: int
    kind: str
    told: str


@dataclass(frozen=True, slots=True)
class History:
    """One metric of an endpoint over time, and what happened meanwhile.

    Attributes:
        days: how many days each point averages.
    """

    metric: str
    served: Series
    frozen: Series
    events: tuple[Event, ...]
    days: int = 1

    @property
    def start(self) -> int:
        """The first moment that there is something to show of."""
        times = (e.at for e in self.events)
        return min([*(p.at for p in (*self.served, *self.frozen)), *times], default=0)

    @property
    def end(self) -> int:
        """The last moment."""
        times = (e.until for e in self.events)
        return max(max((p.at for p in self.served), default=0), max(times, default=0))


def rolling(series: Sequence[Point], days: int) -> Series:
    """Each point with those of the `days` before it, as a mean by rows.

    Days are independent of each other, so the interval of a mean is narrower.

    Example:
        >>> two = [Point(0, 0.2, 0.1, 0.3, 100), Point(DAY, 0.4, 0.3, 0.5, 300)]
        >>> round(rolling(two, 7)[1].value, 3), round(rolling(two, 7)[1].low, 3)
        (0.35, 0.271)
    """
    found: list[Point] = []
    for i, last in enumerate(series):
        recent = [p for p in series[max(0, i - days + 1) : i + 1] if p.at > last.at - days * DAY]
        found.append(pooled(recent))
    return tuple(found)


def pooled(points: Sequence[Point]) -> Point:
    """Several stretches as one, which ends where the last of them does."""
    rows = sum(p.rows for p in points)
    value = sum(p.value * p.rows for p in points) / rows
    below = sum(((p.value - p.low) * p.rows) ** 2 for p in points) ** 0.5 / rows
    above = sum(((p.high - p.value) * p.rows) ** 2 for p in points) ** 0.5 / rows
    return Point(points[-1].at, value, value - below, value + above, rows)


def measured(snapshot: Snapshot, endpoint: str, metric: str, variant: str) -> Series:
    """A metric of what an endpoint served, or of what another variant would have, day by day."""
    rows = snapshot.select(
        "measurement", order="at", series=f"{endpoint}/{metric}", variant=variant
    )
    usable = (r for r in rows if r["value"] is not None and r["rows"])
    return tuple(_point(r) for r in usable)


def _point(row: Row) -> Point:
    low, high = (row["value"] if row[n] is None else row[n] for n in ("low", "high"))
    return Point(row["at"], row["value"], low, high, row["rows"])


def history(
    snapshot: Snapshot, endpoint: Endpoint, metric: str, monitors: Iterable[str], now: int
) -> History:
    """A metric of an endpoint with everything that happened to it, smoothed where there is much."""
    served = measured(snapshot, endpoint.name, metric, "served")
    frozen = measured(snapshot, endpoint.name, metric, "frozen")
    days = SMOOTH if len(served) > 4 * SMOOTH else 1
    told = events(snapshot, endpoint, monitors, now)
    return History(metric, rolling(served, days), rolling(frozen, days), told, days)


def events(
    snapshot: Snapshot, endpoint: Endpoint, monitors: Iterable[str], now: int
) -> tuple[Event, ...]:
    """The trainings, promotions and rollbacks of an endpoint, and the incidents of monitors."""
    subjects = dict.fromkeys((endpoint.name, endpoint.model.name))
    rows = (r for s in subjects for r in snapshot.select("decision", order="number", subject=s))
    decided = (Event(r["at"], r["at"], _event_kind(r), r["reason"]) for r in rows)
    known = (i for m in monitors for i in snapshot.select("incident", order="number", monitor=m))
    opened = (
        Event(i["opened_at"], ended(i, now), INCIDENT, f"{i['monitor']}: {i['subject']}")
        for i in known
    )
    shown = [e for e in (*decided, *opened) if e.kind in _SHOWN]
    return tuple(sorted(shown, key=lambda e: e.at))


_SHOWN = ("trained", "refused", "promoted", "rolled_back", INCIDENT)


def _event_kind(decision: Row) -> str:
    """A training whose version met not every gate is told apart."""
    gates = (decision["evidence"] or {}).get("gates", [])
    refused = decision["kind"] == "trained" and not all(g["passed"] for g in gates)
    return "refused" if refused else str(decision["kind"])


def ended(incident: Row, now: int) -> int:
    """When an incident was closed; now while it is open."""
    return now if incident["closed_at"] is None else int(incident["closed_at"])


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of what was served against the frozen first version, on the days where both exist.

    Attributes:
        served, frozen: the means by rows.
        better: on how many of the `days` what was served was better.
    """

    metric: str
    served: float
    frozen: float
    days: int
    better: int
    rows: int

    @property
    def gain(self) -> float:
        """How much better what was served is, whichever way the metric points."""
        lower = METRICS[self.metric].better == "lower"
        return self.frozen - self.served if lower else self.served - self.frozen


def compared(snapshot: Snapshot, endpoint: str, metric: Metric, last: int = 0) -> Compared | None:
    """What retraining bought so far, in one metric; None while there is nothing to compare.

    Args:
        last: look at the last so many measured days; 0 looks at all.
    """
    served = measured(snapshot, endpoint, metric.name, "served")
    frozen = {p.at: p for p in measured(snapshot, endpoint, metric.name, "frozen")}
    pairs = [(p, frozen[p.at]) for p in served if p.at in frozen][-last:]
    if not pairs:
        return None
    ours, theirs = pooled([p for p, _ in pairs]), pooled([p for _, p in pairs])
    better = sum(metric.is_better(p.value, than=f.value) for p, f in pairs)
    return Compared(metric.name, ours.value, theirs.value, len(pairs), better, ours.rows)


def metrics_of(model: Model | Rule) -> list[Metric]:
    """The metrics of what a model answers, the one to go by first."""
    number = isinstance(model, Model) and model.rows.label.kind != "flag"
    found = [m for m in METRICS.values() if m.for_ == ("number" if number else "probability")]
    return sorted(found, key=lambda m: m.name not in ("log_loss", "rmse"))


def headline(model: Model) -> Metric:
    """The metric to go by: a proper score."""
    return metrics_of(model)[0]


def watching(system: Graph, endpoint: Endpoint) -> list[str]:
    """The monitors that watch an endpoint's predictions or a view that it reads, and its audit."""
    monitors: list[Monitor] = system.of_kind(Monitor)
    watched = (endpoint, *endpoint.feature_set.views)
    own = [m.name for m in monitors if any(m.watch is w for w in watched)]
    return [*own, skew_of(endpoint.name)]
