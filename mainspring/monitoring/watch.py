"""Watching: one monitor's evaluation, and the incident it opens, keeps open or closes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mainspring.monitoring.drift import (
    Counts,
    DriftSettings,
    Verdict,
    corrected_psi,
    judge,
    rank,
)
from mainspring.monitoring.monitor import Monitor
from mainspring.monitoring.profile import Cells, profile
from mainspring.stores.base import Transaction
from mainspring.vectors import Vector, Vectors

SCORE = "score"
"""The name under which a version's reference keeps its own predictions."""

HOUR = 3_600_000_000
HISTORY = 28 * 24 * HOUR
"""How much of the past a drift check sees; it needs seventeen days to know what is usual."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a version was trained on: per feature its cells and counts, and its importance."""

    features: Mapping[str, tuple[Cells, Counts]]
    importance: Mapping[str, float]

    @classmethod
    def read(cls, folder: Path, sha256: str) -> Reference:
        """The reference of a version, as its training wrote it."""
        content = json.loads((folder / f"{sha256}.json").read_text())
        features = {
            name: (Cells.from_json(kept["cells"]), np.array(kept["counts"], np.int64))
            for name, kept in content["features"].items()
        }
        return cls(features, content["importance"])


def evaluate(
    monitor: Monitor, reference: Reference, columns: Vectors, at: Vector, now: int
) -> dict[str, Verdict]:
    """The verdict on each watched column.

    Args:
        columns: the watched values of the requests of the last four weeks, by name.
        at: the time of each request.
    """
    check = monitor.check
    settings = DriftSettings(
        min_rows=check.min_rows,
        effect=check.effect,
        urgent=check.urgent,
        false_pages_per_month=check.false_pages_per_month,
    )
    hours = HISTORY // HOUR
    first = now // HOUR - hours
    found: dict[str, Verdict] = {}
    for name, values in columns.items():
        if name in reference.features:
            cells, counts = reference.features[name]
            history = profile(values, at, cells, HOUR, first, hours)
            found[name] = judge(counts, history, settings, len(columns))
    return found


def score_shift(reference: Reference, scores: Vector) -> float:
    """How far a version's scores are from those that it was judged on: a population stability
    index, corrected for the number of rows."""
    cells, counts = reference.features[SCORE]
    if not len(scores) or not counts.sum():
        return 0.0
    return float(corrected_psi(cells.count(scores)[None], counts)[0])


def settle(
    monitor: Monitor,
    verdicts: Mapping[str, Verdict],
    reference: Reference,
    now: int,
    transaction: Transaction,
) -> str:
    """Writes what a monitor found: its measurements, and an incident that opens with a page and
    closes without.

    Returns:
        `opened`, `open`, `closed` or `quiet`.
    """
    worst = rank(dict(verdicts), dict(reference.importance))
    for name, verdict in verdicts.items():
        key = {"series": f"drift/{monitor.name}", "at": now, "variant": name}
        transaction.upsert(
            "measurement", key, value=verdict.psi, low=verdict.excess, high=None, rows=verdict.rows
        )
    pages = [name for name in worst if verdicts[name].level == "page"]
    known = [
        i for i in transaction.select("incident", monitor=monitor.name) if i["closed_at"] is None
    ]
    if pages and not known:
        _open(monitor, pages, verdicts, now, transaction)
        return "opened"
    if known and not pages:
        transaction.update("incident", {"number": known[0]["number"]}, closed_at=now)
        return "closed"
    return "open" if known else "quiet"


def _open(
    monitor: Monitor,
    pages: list[str],
    verdicts: Mapping[str, Verdict],
    now: int,
    transaction: Transaction,
) -> None:
    evidence: dict[str, Any] = {name: _evidence(verdicts[name]) for name in pages}
    transaction.insert(
        "incident",
        number=transaction.next_number("incident"),
        monitor=monitor.name,
        opened_at=now,
        closed_at=None,
        level="page",
        subject=pages[0],
        evidence=evidence,
    )


def _evidence(verdict: Verdict) -> dict[str, Any]:
    kept = ("psi", "excess", "p_value", "window_hours", "rows", "reason", "urgent")
    return {name: getattr(verdict, name) for name in kept}
