"""Auditing: the live loop compares, every few minutes, what serving used with what history gives.

A replay answers from what an audit would compute, so it has nothing to compare and does not do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from mainspring.features.audit import Parity, audited
from mainspring.features.key_rows import Evidence
from mainspring.features.online import OnlineFeatures
from mainspring.models.registry import decide
from mainspring.monitoring.skew import reason, settle_skew, skew_of
from mainspring.retraining.journal import Effects, Journal
from mainspring.retraining.past import FOLDED, Past, move
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.request import identity_of
from mainspring.stores.base import Row, Transaction
from mainspring.windows import microseconds, minutes

ANSWERS = 200
"""How many answers an audit takes at most."""

EVERY = minutes(5)
"""How often each endpoint is audited, by the system's clock."""


@dataclass(frozen=True, slots=True)
class Audits:
    """The continuous audit of a system's endpoints.

    Args:
        online: what serving reads.
        every: how often each endpoint is audited.
    """

    past: Past
    online: OnlineFeatures
    every: timedelta = EVERY

    def run(self, endpoint: Endpoint, now: int, journal: Journal) -> None:
        """Audits the answers since the last time, if it is due, as one durable step.

        Args:
            now: the time before which every answer is in the tables, and every row that was there
                when it was made.
        """
        start = self._start(endpoint, now)
        if not endpoint.feature_set.aggregates or now < start + microseconds(self.every):
            return
        key = f"audit/{endpoint.name}/{now}"
        journal.run(key, "audit", partial(self._audit, endpoint, start, now))

    def _audit(self, endpoint: Endpoint, start: int, now: int) -> tuple[Row, Effects]:
        served = self.past.answered(endpoint).features(start, now, ANSWERS, seed=now)
        home = self.past.home
        folder, folded = home.path("log"), self.past.cursor(FOLDED)
        evidence = Evidence(home.table, home.engine, self.online, folder, folded)
        past, identity = self.past.requests(endpoint), identity_of(endpoint).name
        found = audited(endpoint.feature_set, identity, served, past, lambda: evidence)
        output = {"requests": found.requests, "missing": found.missing, "first": found.first}
        return output, partial(_settled, endpoint, found, now)

    def _start(self, endpoint: Endpoint, now: int) -> int:
        """Where the last audit ended; not before the plan of now: an answer that was made under
        another definition of a feature differs rightly."""
        with self.past.home.metadata.read() as snapshot:
            plans = snapshot.select("plan", order="-number", limit=1)
        applied = plans[0]["at"] if plans else 0
        begun = self.past.cursor(f"audited/{endpoint.name}")
        return max(applied, begun or now - microseconds(self.every))


def _settled(endpoint: Endpoint, found: Parity, now: int, transaction: Transaction) -> None:
    if found.requests:
        outcome = settle_skew(endpoint.name, found, now, transaction)
        if outcome in ("opened", "closed"):
            told = reason(found) if outcome == "opened" else "served features are history's again"
            evidence = {"first": found.first, "requests": found.requests}
            subject = skew_of(endpoint.name)
            decide(transaction, now, subject, f"incident_{outcome}", told, evidence)
    move(transaction, f"audited/{endpoint.name}", now)
