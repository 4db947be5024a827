"""Skew: what audits of an endpoint's answers found, and the incident that it opens or closes."""

from __future__ import annotations

from typing import Any

from mainspring.features.audit import AUDITED, SKEWED, Parity
from mainspring.features.explain import Explanation
from mainspring.features.parity import Compared
from mainspring.stores.base import Transaction

CALM = 12
"""Audits in a row without a difference, after which an incident is closed: one that finds nothing
may just not have drawn what is broken."""


def skew_of(endpoint: str) -> str:
    """What measurements and incidents of an endpoint's skew go by.

    Example:
        >>> skew_of("risk")
        'skew/risk'
    """
    return f"skew/{endpoint}"


def settle_skew(endpoint: str, found: Parity, now: int, transaction: Transaction) -> str:
    """Writes what an audit found: its measurements, its counts, and an incident that opens with the
    first value that differs and closes after `CALM` audits without one.

    Returns:
        `opened`, `open`, `closed` or `quiet`.
    """
    differ = [c for c in found.features if c.differ]
    _measure(endpoint, found, differ, now, transaction)
    known = _open_incident(endpoint, transaction)
    if differ and known is None:
        _open(endpoint, found, differ, now, transaction)
        return "opened"
    if known is not None and not differ and _calm(endpoint, known, transaction):
        transaction.update("incident", {"number": known["number"]}, closed_at=now)
        return "closed"
    return "quiet" if known is None else "open"


def reason(found: Parity) -> str:
    """What differs and why, in a line."""
    differ = [c for c in found.features if c.differ]
    told = ", ".join(f"{c.name} in {c.differ:,} of {c.rows:,} answers" for c in differ[:3])
    more = f" and {len(differ) - 3:,} more" if len(differ) > 3 else ""
    why = f": {found.explanations[0].cause}" if found.explanations else ""
    return f"skew of {told}{more}{why}"


def _measure(
    endpoint: str, found: Parity, differ: list[Compared], now: int, transaction: Transaction
) -> None:
    """One row for all features, and one for each that differs."""
    every = {"": sum(c.differ for c in differ)} | {c.name: c.differ for c in differ}
    for variant, value in every.items():
        key = {"series": skew_of(endpoint), "at": now, "variant": variant}
        bounds = {"low": None, "high": None, "rows": found.requests}
        transaction.upsert("measurement", key, value=value, **bounds)
    _count(AUDITED + endpoint, found.requests, transaction)
    for c in differ:
        _count(f"{SKEWED}{endpoint}/{c.name}", c.differ, transaction)


def _count(name: str, more: int, transaction: Transaction) -> None:
    row = transaction.one("counter", name=name)
    transaction.upsert("counter", {"name": name}, value=more + (row["value"] if row else 0))


def _open_incident(endpoint: str, transaction: Transaction) -> dict[str, Any] | None:
    known = transaction.select("incident", monitor=skew_of(endpoint), order="-number", limit=1)
    return known[0] if known and known[0]["closed_at"] is None else None


def _calm(endpoint: str, incident: dict[str, Any], transaction: Transaction) -> bool:
    since = {"at": incident["opened_at"] + 1}
    lately = transaction.select(
        "measurement",
        order="-at",
        limit=CALM,
        series=skew_of(endpoint),
        variant="",
        at_least=since,
    )
    return len(lately) == CALM and not any(audit["value"] for audit in lately)


def _open(
    endpoint: str, found: Parity, differ: list[Compared], now: int, transaction: Transaction
) -> None:
    explained = {e.feature: e for e in found.explanations}
    transaction.insert(
        "incident",
        number=transaction.next_number("incident"),
        monitor=skew_of(endpoint),
        opened_at=now,
        closed_at=None,
        level="page",
        subject=differ[0].name,
        evidence={c.name: _evidence(c, explained.get(c.name)) for c in differ},
    )


def _evidence(differing: Compared, why: Explanation | None) -> dict[str, Any]:
    c, told = differing, f"{differing.differ:,} of {differing.rows:,} answers differ"
    if why is not None:
        told += f"; {why.request}: served {why.served}, history gives {why.history}; {why.cause}"
    found = {"reason": told, "differ": c.differ, "rows": c.rows, "worst": min(c.worst, 1e300)}
    return found | {"explanation": [] if why is None else list(why.lines())}
