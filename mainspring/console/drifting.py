"""What monitors found: how far each feature was off over time, and the incidents."""

from __future__ import annotations

from dataclasses import dataclass

from mainspring.console.history import INCIDENT, Event, ended
from mainspring.features.audit import AUDITED, SKEWED
from mainspring.monitoring.skew import skew_of
from mainspring.stores.base import Row, Snapshot


@dataclass(frozen=True, slots=True)
class Cell:
    """How far one feature was off over one stretch: its PSI, and what of it is beyond the usual."""

    at: int
    until: int
    feature: str
    psi: float
    excess: float


@dataclass(frozen=True, slots=True)
class Drift:
    """What one monitor found over time, by feature, the farthest off lately first."""

    monitor: str
    features: tuple[str, ...]
    cells: tuple[Cell, ...]
    incidents: tuple[Event, ...]

    @property
    def start(self) -> int:
        """The first moment shown."""
        return min((c.at for c in self.cells), default=0)

    @property
    def end(self) -> int:
        """The last moment shown."""
        return max((c.until for c in self.cells), default=0)

    @property
    def latest(self) -> list[Cell]:
        """The last stretch of each feature."""
        last = {c.feature: c for c in self.cells}
        return [last[name] for name in self.features]


CELLS = 130
"""How many stretches a drift chart shows at most; a longer past is shown by the worst of each."""


def drift(snapshot: Snapshot, monitor: str, every: int, now: int, since: int = 0) -> Drift:
    """What a monitor found since a time, in at most `CELLS` stretches per feature."""
    rows = snapshot.select(
        "measurement", order="at", series=f"drift/{monitor}", at_least={"at": since}
    )
    first = rows[0]["at"] if rows else 0
    step = every * (1 + (now - first) // (every * CELLS))
    worst: dict[tuple[int, str], Cell] = {}
    for row in rows:
        start = first + (row["at"] - first) // step * step
        cell = Cell(start, start + step, row["variant"], row["value"] or 0.0, row["low"] or 0.0)
        kept = worst.get((start, cell.feature))
        worst[start, cell.feature] = max(kept or cell, cell, key=lambda c: c.excess)
    cells = tuple(worst.values())
    recent = {c.feature: c.excess for c in cells}
    features = tuple(sorted(recent, key=lambda name: -recent[name]))
    known = snapshot.select("incident", order="number", monitor=monitor)
    opened = (Event(i["opened_at"], ended(i, now), INCIDENT, i["subject"]) for i in known)
    return Drift(monitor, features, cells, tuple(e for e in opened if e.at >= first))


@dataclass(frozen=True, slots=True)
class Skew:
    """What the audits of an endpoint found: how many answers, and how many values of them differed.

    Attributes:
        name: what its incidents go by.
        last: when the last audit was; None before the first.
    """

    name: str
    endpoint: str
    answers: int
    differ: int
    last: int | None
    incidents: tuple[Row, ...]


def skew(snapshot: Snapshot, endpoint: str) -> Skew:
    """What the audits of an endpoint found so far."""
    name = skew_of(endpoint)
    last = snapshot.select("measurement", order="-at", limit=1, series=name, variant="")
    incidents = tuple(snapshot.select("incident", order="-number", monitor=name))
    counted = {row["name"]: row["value"] for row in snapshot.select("counter")}
    differ = sum(n for of, n in counted.items() if of.startswith(f"{SKEWED}{endpoint}/"))
    at = last[0]["at"] if last else None
    return Skew(name, endpoint, counted.get(AUDITED + endpoint, 0), differ, at, incidents)


def open_incidents(snapshot: Snapshot) -> list[Row]:
    """The incidents that have not been closed, the newest first."""
    every = snapshot.select("incident", order="-number")
    return [i for i in every if i["closed_at"] is None]


def closed_incidents(snapshot: Snapshot, last: int) -> list[Row]:
    """The last incidents that have been closed, the newest first."""
    every = snapshot.select("incident", order="-number")
    return [i for i in every if i["closed_at"] is not None][:last]
