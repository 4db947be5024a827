"""The closed loop: measure, watch, roll out, train; each thing that happens is a durable step with
a reason.

`tick` does what is due at the clock's time, and says what it did; `next_due` says when there is
something to do again. Live and replay run this very code: they differ in the clock, and in who
answers the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from mainspring.clock import Clock, SystemClock
from mainspring.errors import InvalidDeclaration, StepFailed
from mainspring.features.backfill import Backfill
from mainspring.graph import Graph
from mainspring.models.model import Model
from mainspring.models.registry import Alias, decide
from mainspring.monitoring.monitor import Monitor
from mainspring.retraining import work
from mainspring.retraining.auditing import Audits
from mainspring.retraining.journal import Journal
from mainspring.retraining.past import Past, move
from mainspring.retraining.reason import DAY, Reasons
from mainspring.retraining.trigger import Retraining
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import PredictionLog
from mainspring.serving.rollout import due, moving
from mainspring.sources.home import Home
from mainspring.windows import microseconds

HOUR = 3_600_000_000
"""How long to leave alone what failed, other than a training."""


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that the loop did: for the timeline and the log."""

    at: int
    subject: str
    kind: str
    reason: str


class Loop:
    """The closed loop of one system.

    Args:
        system: what is declared.
        home: where its state is.
        clock: the system's clock; leases of steps go by the time of day.
        sync: whether steps wait for the disk; a replay can be done again and need not.
        audits: what compares served features with history's; a replay has nothing to compare.

    Raises:
        InvalidDeclaration: a monitor watches what no model answers from.
    """

    def __init__(
        self,
        system: Graph,
        home: Home,
        clock: Clock,
        *,
        sync: bool = True,
        audits: Audits | None = None,
    ) -> None:
        self.system, self.home, self.clock, self._audits = system, home, clock, audits
        self._past = Past(home)
        self.registry = self._past.registry
        self._journal = Journal(
            home.metadata,
            clock=clock,
            wall=SystemClock(),
            owner="loop",
            lease=timedelta(seconds=30),
            sync=sync,
        )
        self._endpoints: list[Endpoint] = system.of_kind(Endpoint)
        self._models: list[Model] = system.of_kind(Model)
        self._retrainings: list[Retraining] = system.of_kind(Retraining)
        monitors: list[Monitor] = system.of_kind(Monitor)
        self._monitors = [(m, self._watched_by(m)) for m in monitors]
        self._reasons = Reasons(self._past, self._endpoints)

    def tick(self) -> list[Happened]:
        """Does what is due now, in order: measurements, monitors, audits, rollouts, trainings.

        What fails is written down and left alone for a while; the rest goes on.
        """
        now, before = self.clock.now(), self._last_decision()
        for endpoint in self._endpoints:
            self._try(f"measuring {endpoint.name}", now, partial(self._measure, endpoint, now))
        for monitor, endpoints in self._monitors:
            self._try(monitor.name, now, partial(self._watch, monitor, endpoints, now))
        for endpoint in self._endpoints if self._audits else ():
            self._try(f"auditing {endpoint.name}", now, partial(self._audit, endpoint, now))
        for endpoint in self._endpoints:
            self._try(endpoint.name, now, partial(self._roll_out, endpoint, now))
        for retraining in self._retrainings:
            reason = self._reasons.to_train(retraining, now)
            if reason:
                self._train(retraining.model, now, reason)
        return list(self.happened(before))

    def train_now(self, reason: str) -> list[Happened]:
        """Trains every model, whatever its triggers say; what cannot be trained is told again."""
        before = self._last_decision()
        for model in self._models:
            self._train(model, self.clock.now(), reason, told_again=True)
        return list(self.happened(before))

    def next_due(self, now: int) -> int:
        """The next time after `now` at which something may be due; a day later at the latest."""
        return min((t for t in self._dues(now) if t > now), default=now + DAY)

    def answered(self, endpoint: Endpoint) -> PredictionLog:
        """The prediction log of an endpoint."""
        return self._past.answered(endpoint)

    def backfill(self, endpoint: Endpoint) -> Backfill:
        """The features of the past requests of an endpoint."""
        return self._past.requests(endpoint)

    def happened(self, after: int = 0) -> Iterator[Happened]:
        """What was decided, after the decision of a number."""
        with self.home.metadata.read() as snapshot:
            for row in snapshot.select("decision", order="number", at_least={"number": after + 1}):
                yield Happened(row["at"], row["subject"], row["kind"], row["reason"])

    def _dues(self, now: int) -> Iterator[int]:
        yield now + DAY
        for endpoint in self._endpoints:
            start = self._unmeasured(endpoint)
            if start is not None and isinstance(endpoint.model, Model):
                yield start + DAY + endpoint.model.rows.label.settled_after + 1
            step = due(endpoint, self.registry.aliases(endpoint.name))
            if step is not None:
                yield step
        for monitor, endpoints in self._monitors:
            if champion := self._champion_of(endpoints):
                yield self._watch_due(monitor, champion[1])
        for retraining in self._retrainings:
            yield from self._reasons.dues(retraining, now)
        with self.home.metadata.read() as snapshot:
            failed = (c for c in snapshot.select("cursor") if c["name"].startswith("failed/"))
            yield from (cursor["value"] + HOUR for cursor in failed)

    def _try(self, subject: str, now: int, do: Callable[[], None]) -> None:
        """Does one thing of a tick, unless it failed a moment ago; a failure is told once a day."""
        name = f"failed/{subject}"
        failed = self._past.cursor(name)
        if failed and now < failed + HOUR:
            return
        try:
            do()
        except StepFailed as error:
            self._journal.retry(error.key)
            with self.home.metadata.begin() as transaction:
                kind, lately = "step_failed", {"at": now - DAY + 1}
                if not transaction.select("decision", at_least=lately, subject=subject, kind=kind):
                    decide(transaction, now, subject, kind, error.subject, {"step": error.key})
                move(transaction, name, now)

    def _unmeasured(self, endpoint: Endpoint) -> int | None:
        """The first day of answers that is not measured; None while nothing was answered."""
        measured = self._past.cursor(f"measured/{endpoint.name}")
        if measured:
            return measured
        with self.home.metadata.read() as snapshot:
            crowned = (
                snapshot.one("decision", subject=endpoint.name, kind=kind)
                for kind in ("promoted", "rolled_back")
            )
            first = min((c["at"] for c in crowned if c), default=None)
        return None if first is None else first // DAY * DAY

    def _measure(self, endpoint: Endpoint, now: int) -> None:
        """Measures each day of requests that has matured, once."""
        model, start = endpoint.model, self._unmeasured(endpoint)
        if not isinstance(model, Model) or start is None:
            return
        last = (now - 1 - model.rows.label.settled_after) // DAY * DAY
        for day in range(start, last, DAY):
            do = partial(work.measured, self._past, endpoint, model, day, now)
            self._journal.run(f"measured/{endpoint.name}/{day}", "measure", do)

    def _watch_due(self, monitor: Monitor, champion: Alias) -> int:
        """The next whole `every` since the last look, or since there is what to compare with."""
        seen, every = self._past.cursor(f"watched/{monitor.name}"), microseconds(monitor.every)
        return (max(seen, champion.at) // every + 1) * every

    def _watch(self, monitor: Monitor, endpoints: list[Endpoint], now: int) -> None:
        """Watches; while there is no champion, nothing says what is usual."""
        found = self._champion_of(endpoints)
        if found and self._watch_due(monitor, found[1]) <= now:
            do = partial(work.watched, self._past, monitor, *found, now)
            self._journal.run(f"watch/{monitor.name}/{now}", "watch", do)

    def _audit(self, endpoint: Endpoint, now: int) -> None:
        if self._audits is not None:
            self._audits.run(endpoint, now, self._journal)

    def _champion_of(self, endpoints: list[Endpoint]) -> tuple[Endpoint, Alias] | None:
        """The first of several champions that there is."""
        for endpoint in endpoints:
            if champion := self.registry.aliases(endpoint.name).get("champion"):
                return endpoint, champion
        return None

    def _watched_by(self, monitor: Monitor) -> list[Endpoint]:
        """The endpoints of which the first with a champion gives a monitor its reference."""
        found = [
            e
            for e in self._endpoints
            if isinstance(e.model, Model)
            and (monitor.watch is e or monitor.watch in e.feature_set.views)
        ]
        if not found:
            raise InvalidDeclaration(
                subject_name=f"monitor {monitor.name!r}",
                problem="what it watches is read by no endpoint with a model",
                at=monitor.at,
                remedy="watch a view that a served model reads, or an endpoint with a model",
            )
        return found

    def _train(self, model: Model, now: int, reason: str, *, told_again: bool = False) -> None:
        endpoints = [e for e in self._endpoints if e.model is model]
        do = partial(work.trained, self._past, model, endpoints, now, reason, told_again=told_again)
        try:
            self._journal.run(f"train/{model.name}/{now}", "train", do)
        except StepFailed as error:
            with self.home.metadata.begin() as transaction:
                work.not_trained(model, now, error, transaction)

    def _roll_out(self, endpoint: Endpoint, now: int) -> None:
        model, roles = endpoint.model, self.registry.aliases(endpoint.name)
        alias, at = moving(roles), due(endpoint, roles)
        if alias is None or at is None or at > now or not isinstance(model, Model):
            return
        key = f"rollout/{endpoint.name}/{alias.number}/{alias.role}/{alias.share}"
        champion = roles["champion"].number
        do = partial(work.rolled_out, self._past, endpoint, model, alias, champion, now)
        self._journal.run(key, "rollout", do)

    def _last_decision(self) -> int:
        with self.home.metadata.read() as snapshot:
            rows = snapshot.select("decision", order="-number", limit=1)
        return rows[0]["number"] if rows else 0
