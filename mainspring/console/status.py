"""An endpoint as it is now: who answers, who is on the way, and how well it went lately."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mainspring.console.history import Compared, compared
from mainspring.models.metrics import Metric
from mainspring.models.registry import Alias, Role, Version, aliases
from mainspring.models.rule import Rule
from mainspring.serving.endpoint import Endpoint
from mainspring.stores.base import Snapshot


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a rollout: `done`, `now` or `ahead`."""

    name: str
    state: str


def rollout_steps(endpoint: Endpoint, roles: Mapping[Role, Alias]) -> list[Step]:
    """Where the version on its way stands: shadow, each share, champion. Empty while none is."""
    moving = roles.get("canary") or roles.get("shadow")
    if moving is None or endpoint.rollout is None:
        return []
    shares = [0.0, *endpoint.rollout.steps]
    names = ["shadow", *(f"{s:.0%}" for s in shares[1:-1]), "champion"]
    at = max(i for i, share in enumerate(shares) if share <= moving.share)
    states = ("done" if i < at else "now" if i == at else "ahead" for i in range(len(shares)))
    return [Step(name, state) for name, state in zip(names, states, strict=True)]


@dataclass(frozen=True, slots=True)
class Status:
    """An endpoint now: who answers, who is on the way, and how well it went lately."""

    endpoint: Endpoint
    roles: Mapping[Role, Alias]
    champion: Version | None
    moving: Version | None
    steps: list[Step]
    recent: list[Compared]

    @property
    def ruled(self) -> bool:
        """Whether a rule answers, which is never trained."""
        return isinstance(self.endpoint.model, Rule)


RECENT = 7


def status(snapshot: Snapshot, endpoint: Endpoint, metrics: Iterable[Metric]) -> Status:
    """An endpoint as it is in one snapshot."""
    roles = aliases(snapshot, endpoint.name)
    moving = roles.get("canary") or roles.get("shadow")
    found = (compared(snapshot, endpoint.name, m, RECENT) for m in metrics)
    return Status(
        endpoint,
        roles,
        _version(snapshot, endpoint, roles.get("champion")),
        _version(snapshot, endpoint, moving),
        rollout_steps(endpoint, roles),
        [c for c in found if c is not None],
    )


def _version(snapshot: Snapshot, endpoint: Endpoint, alias: Alias | None) -> Version | None:
    if alias is None:
        return None
    row: Any = snapshot.one("version", model=endpoint.model.name, number=alias.number)
    return None if row is None else Version.of(row)


def known_until(snapshot: Snapshot) -> int:
    """How far a home's metadata tells, in the system's time; 0 for an empty one."""
    last = (
        snapshot.select("decision", order="-at", limit=1)
        + snapshot.select("run", order="-at", limit=1)
        + snapshot.select("alias", order="-at", limit=1)
    )
    cursors = snapshot.select("cursor")
    watched = (c["value"] for c in cursors if c["name"].startswith("watched/"))
    times: list[int] = [0, *(r["at"] for r in last), *(w or 0 for w in watched)]
    return max(times)
