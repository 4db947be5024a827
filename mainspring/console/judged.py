"""Versions as they were judged: beside each other and simple models; what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mainspring.models.metrics import Metric
from mainspring.models.registry import Version, aliases
from mainspring.serving.endpoint import Endpoint
from mainspring.stores.base import Snapshot


@dataclass(frozen=True, slots=True)
class Rung:
    """A simple model of the ladder, or the version itself, with its loss.

    Attributes:
        gain: the share of the constant model's loss that it takes away.
    """

    name: str
    value: float
    gain: float


@dataclass(frozen=True, slots=True)
class Ladder:
    """A version beside the simple models that were fitted with it."""

    metric: str
    number: int
    rungs: tuple[Rung, ...]

    @property
    def name(self) -> str:
        """What the version's own bar is called."""
        return f"v{self.number}"


def ladder(version: Version, metric: str) -> Ladder | None:
    """The ladder of a version in a loss; None where there is no constant model."""
    values = {rung: found.get(metric) for rung, found in version.ladder.items()}
    values[f"v{version.number}"] = version.metrics.get(metric, {}).get("value")
    constant = values.get("constant")
    if not constant:
        return None
    known = {rung: value for rung, value in values.items() if value is not None}
    rungs = tuple(Rung(name, v, 1 - v / constant) for name, v in known.items())
    return Ladder(metric, version.number, rungs)


@dataclass(frozen=True, slots=True)
class Judged:
    """A version's metric on its judge rows with its interval, and the best simple model's there."""

    number: int
    state: str
    value: float
    low: float
    high: float
    baseline: float | None


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a model in one metric."""

    metric: str
    judged: tuple[Judged, ...]


def versions(found: Iterable[Version], metric: Metric) -> Versions:
    """The versions of a model in one metric, the oldest first."""
    shown = (_judged(v, metric) for v in found if metric.name in v.metrics)
    return Versions(metric.name, tuple(shown))


def _judged(version: Version, metric: Metric) -> Judged:
    own = version.metrics[metric.name]
    rungs = [r[metric.name] for r in version.ladder.values() if r.get(metric.name) is not None]
    best = min(rungs, default=None) if metric.better == "lower" else max(rungs, default=None)
    return Judged(version.number, version.state, own["value"], own["low"], own["high"], best)


def versions_of(snapshot: Snapshot, model: str) -> list[Version]:
    """The versions of a model in one snapshot, the oldest first."""
    return [Version.of(r) for r in snapshot.select("version", order="number", model=model)]


def roles_of(snapshot: Snapshot, endpoints: Iterable[Endpoint]) -> dict[int, list[str]]:
    """The roles that versions have at endpoints of one model."""
    roles: dict[int, list[str]] = {}
    for endpoint in endpoints:
        for role, alias in aliases(snapshot, endpoint.name).items():
            roles.setdefault(alias.number, []).append(role)
    return roles


def fates(snapshot: Snapshot, endpoint: str) -> dict[int, str]:
    """What became of versions on their way to an endpoint: `rolled_back` or `superseded`."""
    ended = (
        d
        for kind in ("superseded", "rolled_back")
        for d in snapshot.select("decision", order="number", subject=endpoint, kind=kind)
    )
    return {d["evidence"]["version"]: d["kind"] for d in ended if "version" in d["evidence"]}


def warnings(snapshot: Snapshot, model: str) -> dict[int, list[dict[str, str]]]:
    """What the training of each version said of single features, by the version's number."""
    trained = snapshot.select("decision", subject=model, kind="trained")
    said = ((d["evidence"].get("version"), d["evidence"].get("warnings", [])) for d in trained)
    return {number: found for number, found in said if number is not None}
