"""Metrics: what serving does, in numbers that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from mainspring.clock import SECOND
from mainspring.features.audit import AUDITED, SKEWED
from mainspring.features.freshness import Freshness
from mainspring.serving.service import Service

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""The upper bounds of the latency histogram's cells."""


class Metrics:
    """The metrics of one application, in a registry of its own.

    Args:
        service: its versions and backlog are looked up when the metrics are read.
    """

    def __init__(self, service: Service) -> None:
        self._registry = kept = CollectorRegistry()
        self._requests = Counter(
            "mainspring_requests", "Requests", ["name", "status"], registry=kept
        )
        self._answers = Counter(
            "mainspring_answers", "Answers by who gave them", ["endpoint", "role"], registry=kept
        )
        self._seconds = Histogram(
            "mainspring_request_seconds",
            "From the whole request to the answer",
            ["name"],
            buckets=SECONDS,
            registry=kept,
        )
        self._events = Counter(
            "mainspring_events", "Events by what became of them", ["source", "state"], registry=kept
        )
        kept.register(_State(service))

    def ended(self, name: str, status: int, seconds: float | None = None) -> None:
        """Counts a request to an endpoint or a source, and its time if it was answered.

        Args:
            name: empty for an endpoint or source that there is not.
        """
        self._requests.labels(name, status).inc()
        if seconds is not None:
            self._seconds.labels(name).observe(seconds)

    def answered(self, endpoint: str, roles: Iterable[str]) -> None:
        """Counts the answers of a request."""
        for role in roles:
            self._answers.labels(endpoint, role).inc()

    def took(self, source: str, taken: int, held: int) -> None:
        """Counts events that were taken, and those that went to quarantine."""
        self._events.labels(source, "taken").inc(taken)
        self._events.labels(source, "held").inc(held)

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry)


class _State(Collector):
    """What is looked up when it is asked for: nothing keeps it up to date meanwhile."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        stream, now = self._service.stream, self._service.clock.now()
        about = "Records in the log that are not in the features yet"
        yield GaugeMetricFamily("mainspring_stream_behind_records", about, stream.behind)
        about = "The offset in the log up to which all is in the features"
        yield GaugeMetricFamily("mainspring_stream_applied_offset", about, stream.applied)
        yield _histogram(stream.freshness)
        lag, about = (now - stream.known_at()) / SECOND, "How old the features are that answers use"
        yield GaugeMetricFamily("mainspring_feature_lag_seconds", about, max(lag, 0.0))
        yield from self._versions()
        yield from self._audits()

    def _versions(self) -> Iterator[Metric]:
        versions = GaugeMetricFamily(
            "mainspring_version", "The version in each role", labels=["endpoint", "role"]
        )
        shares = GaugeMetricFamily(
            "mainspring_share", "The canary's share of the requests", labels=["endpoint"]
        )
        for name, roster in self._service.rosters.items():
            for role, alias in roster.aliases.items():
                versions.add_metric([name, role], alias.number)
            canary = roster.aliases.get("canary")
            shares.add_metric([name], 0.0 if canary is None else canary.share)
        yield from (versions, shares)

    def _audits(self) -> Iterator[Metric]:
        """What the loop's audits have counted so far."""
        audited = CounterMetricFamily(
            "mainspring_audited", "Answers whose features were computed anew", labels=["endpoint"]
        )
        skewed = CounterMetricFamily(
            "mainspring_skewed", "Values that differed then", labels=["endpoint", "feature"]
        )
        with self._service.home.metadata.read() as snapshot:
            counted = {row["name"]: row["value"] for row in snapshot.select("counter")}
        for endpoint in self._service.endpoints:
            audited.add_metric([endpoint], counted.get(AUDITED + endpoint, 0))
            own = f"{SKEWED}{endpoint}/"
            for name in filter(lambda name: name.startswith(own), counted):
                skewed.add_metric([endpoint, name.removeprefix(own)], counted[name])
        yield from (audited, skewed)


def _histogram(freshness: Freshness) -> Metric:
    about = "Real seconds from an event's acknowledgement until a read has it"
    cells = [(str(bound), float(upto)) for bound, upto in freshness.upto()]
    cells.append(("+Inf", float(freshness.events)))
    return HistogramMetricFamily(
        "mainspring_feature_freshness_seconds", about, cells, freshness.seconds
    )
