"""The closed loop: measure, watch, train, roll out; each thing that happens is a durable step with a reason.

`tick` does what is due at the clock's time, and says what it did; `next_due` says when there is something to do again. Live and replay run this
very code: they differ in the clock, and in who answers the requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mainspring.clock import Clock, SystemClock
from mainspring.errors import MainspringError, NoTrainingRows
from mainspring.features.backfill import Backfill
from mainspring.features.view import FeatureView
from mainspring.graph import Graph
from mainspring.models.model import Model
from mainspring.models.registry import Alias, Registry, Role, decide
from mainspring.monitoring.monitor import Monitor
from mainspring.monitoring.performance import labels_of, measure
from mainspring.monitoring.watch import HISTORY, Reference, evaluate, settle
from mainspring.retraining.journal import Effects, Journal
from mainspring.retraining.train import SCORE, Trained, output_of, register, train, write_profile
from mainspring.retraining.trigger import Drifted, Every, NewLabels, Retraining, Trigger, Worse
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import PredictionLog
from mainspring.serving.rollout import advance, due, enter, guard
from mainspring.sources.home import Home
from mainspring.stores.base import Transaction
from mainspring.training.outcomes import outcomes
from mainspring.vectors import Vector
from mainspring.windows import microseconds

DAY = 86_400_000_000
RETRY = DAY
"""How long to wait after a training that found too few rows."""

RECENT = 7 * DAY
"""How much of the measured past `ms.worse` looks at."""


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
    """

    def __init__(self, system: Graph, home: Home, clock: Clock, *, sync: bool = True) -> None:
        self.system, self.home, self.clock = system, home, clock
        self.registry = Registry(home.metadata, home.path("versions"))
        self._journal = Journal(
            home.metadata,
            clock=clock,
            wall=SystemClock(),
            owner="loop",
            lease=timedelta(seconds=30),
            sync=sync,
        )
        self._endpoints: list[Endpoint] = system.of_kind(Endpoint)
        self._monitors: list[Monitor] = system.of_kind(Monitor)
        self._retrainings: list[Retraining] = system.of_kind(Retraining)
        self._backfills = {e.name: self._backfill(e) for e in self._endpoints}

    def tick(self) -> list[Happened]:
        """Does what is due now, in order: measurements, monitors, trainings, rollouts."""
        now, before = self.clock.now(), self._last_decision()
        for endpoint in self._endpoints:
            self._measure(endpoint, now)
        for monitor in self._monitors:
            if self._cursor(f"watched/{monitor.name}") + microseconds(monitor.every) <= now:
                self._watch(monitor, now)
        for retraining in self._retrainings:
            reason = self._reason_to_train(retraining, now)
            if reason:
                self._train(retraining.model, now, reason)
        for endpoint in self._endpoints:
            self._roll_out(endpoint, now)
        return list(self._decisions_after(before))

    def next_due(self, now: int) -> int:
        """The next time after `now` at which something may be due."""
        candidates = list(self._dues(now))
        return min((t for t in candidates if t > now), default=now + DAY)

    def answered(self, endpoint: Endpoint) -> PredictionLog:
        """The prediction log of an endpoint."""
        return PredictionLog(endpoint, self.home.tables, self.home.engine)

    def backfill(self, endpoint: Endpoint) -> Backfill:
        """The features of the past requests of an endpoint."""
        return self._backfills[endpoint.name]

    def _backfill(self, endpoint: Endpoint) -> Backfill:
        return Backfill(
            self.home.path("features"),
            endpoint.feature_set,
            self.identity(endpoint),
            self.home.table,
            self.home.engine,
        )

    def identity(self, endpoint: Endpoint) -> str:
        """The column that names a request of an endpoint."""
        if isinstance(endpoint.model, Model):
            return endpoint.model.rows.label.of.name
        unique = endpoint.feature_set.request.__schema__.unique
        return endpoint.feature_set.columns[0].name if unique is None else unique.name

    def _dues(self, now: int) -> Iterator[int]:
        for endpoint in self._endpoints:
            if isinstance(endpoint.model, Model):
                measured = self._cursor(f"measured/{endpoint.name}") or now // DAY * DAY
                yield measured + DAY + endpoint.model.rows.label.maturity + 1
            step = due(endpoint, self.registry.aliases(endpoint.name))
            if step is not None:
                yield step
        for monitor in self._monitors:
            yield self._cursor(f"watched/{monitor.name}") + microseconds(monitor.every)
        for retraining in self._retrainings:
            tried = self._cursor(f"tried/{retraining.name}")
            yield tried + RETRY
            periods = [t.period for t in retraining.when if isinstance(t, Every)]
            yield from (
                self._cursor(f"trained/{retraining.name}") + microseconds(p) for p in periods
            )

    def _measure(self, endpoint: Endpoint, now: int) -> None:
        """Measures each day of requests that has matured, once."""
        if not isinstance(endpoint.model, Model):
            return
        label, name = endpoint.model.rows.label, f"measured/{endpoint.name}"
        last = (now - label.maturity) // DAY * DAY
        start = self._cursor(name) or self._first_answer(endpoint, last)
        for day in range(start, last, DAY):
            self._journal.run(
                f"{name}/{day}", "measure", lambda day=day: self._measured(endpoint, day, now)
            )

    def _measured(self, endpoint: Endpoint, day: int, now: int) -> tuple[dict[str, Any], Effects]:
        model = endpoint.model
        assert isinstance(model, Model)
        logged = self.answered(endpoint).read(day, day + DAY)
        known = outcomes(model.rows.label, day, day + DAY, now, self.home.table, self.home.engine)
        found = list(measure(output_of(model), logged, known))

        def effects(transaction: Transaction) -> None:
            for m in found:
                key = {"series": f"{endpoint.name}/{m.metric}", "at": day, "variant": m.variant}
                transaction.upsert(
                    "measurement", key, value=m.value, low=m.low, high=m.high, rows=m.rows
                )
            self._move(transaction, f"measured/{endpoint.name}", day + DAY)

        return {"rows": len(logged), **known.counts()}, effects

    def _first_answer(self, endpoint: Endpoint, otherwise: int) -> int:
        with self.home.metadata.read() as snapshot:
            rows = snapshot.select(
                "decision", order="at", limit=1, subject=endpoint.name, kind="promoted"
            )
        return rows[0]["at"] // DAY * DAY if rows else otherwise

    def _watch(self, monitor: Monitor, now: int) -> None:
        endpoint = self._watched_endpoint(monitor)
        champion = self.registry.aliases(endpoint.name).get("champion")
        if champion is None or not isinstance(endpoint.model, Model):
            return
        sha256 = self.registry.version(endpoint.model.name, champion.number).sha256
        reference = Reference.read(self.home.path("profiles"), sha256)
        key = f"watch/{monitor.name}/{now}"
        self._journal.run(key, "watch", lambda: self._watched(monitor, endpoint, reference, now))

    def _watched_endpoint(self, monitor: Monitor) -> Endpoint:
        if isinstance(monitor.watch, Endpoint):
            return monitor.watch
        view = monitor.watch
        serving = [e for e in self._endpoints if view in e.feature_set.views]
        return serving[0]

    def _watched(
        self, monitor: Monitor, endpoint: Endpoint, reference: Reference, now: int
    ) -> tuple[dict[str, Any], Effects]:
        columns, at = self._watched_columns(monitor, endpoint, now)
        verdicts = evaluate(monitor, reference, columns, at, now)
        output = {"pages": [name for name, v in verdicts.items() if v.level == "page"]}

        def effects(transaction: Transaction) -> None:
            outcome = settle(monitor, verdicts, reference, now, transaction)
            if outcome in ("opened", "closed"):
                reason = (
                    "; ".join(f"{n}: {verdicts[n].reason}" for n in output["pages"][:3])
                    or "back to usual"
                )
                decide(transaction, now, monitor.name, f"incident_{outcome}", reason, output)
            self._move(transaction, f"watched/{monitor.name}", now)

        return output, effects

    def _watched_columns(
        self, monitor: Monitor, endpoint: Endpoint, now: int
    ) -> tuple[dict[str, Vector], Vector]:
        if isinstance(monitor.watch, Endpoint):
            logged = self.answered(endpoint).read(now - HISTORY, now)
            return {SCORE: logged.score}, logged.at
        rows = self.backfill(endpoint).read(now - HISTORY, now)
        return {n: v for n, v in rows.columns.items() if _belongs(n, monitor.watch)}, rows.at

    def _reason_to_train(self, retraining: Retraining, now: int) -> str | None:
        model = retraining.model.name
        trained, tried = self._cursor(f"trained/{model}"), self._cursor(f"tried/{model}")
        if tried and now < tried + RETRY:
            return None
        if not trained:
            return "first training"
        reasons = (
            self._reason(trigger, retraining.model, trained, now) for trigger in retraining.when
        )
        return next((reason for reason in reasons if reason), None)

    def _reason(self, trigger: Trigger, model: Model, trained: int, now: int) -> str | None:
        match trigger:
            case Every(period):
                return (
                    f"scheduled every {_days(period)}"
                    if trained + microseconds(period) <= now
                    else None
                )
            case Drifted(monitor):
                return self._drifted(monitor, trained)
            case Worse():
                return self._worse(trigger, trained, now)
            case NewLabels(rows):
                return self._new_labels(model, rows, trained, now)

    def _drifted(self, monitor: Monitor, trained: int) -> str | None:
        with self.home.metadata.read() as snapshot:
            found = snapshot.select(
                "incident", monitor=monitor.name, at_least={"opened_at": trained + 1}
            )
        return f"drift: {found[0]['subject']} in {monitor.name}" if found else None

    def _worse(self, trigger: Worse, trained: int, now: int) -> str | None:
        endpoint = trigger.endpoint
        champion = self.registry.aliases(endpoint.name).get("champion")
        if champion is None or champion.at <= trained:
            return None
        series = f"{endpoint.name}/{trigger.metric.name}"
        since = max(champion.at, now - RECENT)
        with self.home.metadata.read() as snapshot:
            days = snapshot.select(
                "measurement", series=series, variant="served", at_least={"at": since}
            )
        rows = sum(d["rows"] for d in days)
        if rows < 300:
            return None
        value = sum(d["value"] * d["rows"] for d in days) / rows
        judged = self.registry.version(endpoint.model.name, champion.number).metrics[
            trigger.metric.name
        ]["value"]
        loss = value - judged if trigger.metric.better == "lower" else judged - value
        told = f"{trigger.metric.name} {value:.4f} on {rows:,} answers is worse by {loss:.4f} than v{champion.number} was judged"
        return told if loss >= trigger.by else None

    def _new_labels(self, model: Model, wanted: int, trained: int, now: int) -> str | None:
        label = model.rows.label
        known = outcomes(
            label, trained - label.maturity, now, now, self.home.table, self.home.engine
        )
        fresh = int((known.labelled & (known.known_at >= trained)).sum())
        return f"{fresh:,} new labels" if fresh >= wanted else None

    def _train(self, model: Model, now: int, reason: str) -> None:
        self._journal.run(
            f"train/{model.name}/{now}", "train", lambda: self._trained(model, now, reason)
        )

    def _trained(self, model: Model, now: int, reason: str) -> tuple[dict[str, Any], Effects]:
        endpoints = [e for e in self._endpoints if e.model is model]
        aliases = self.registry.aliases(endpoints[0].name) if endpoints else {}
        champion = aliases["champion"].number if "champion" in aliases else None
        try:
            trained = train(
                model,
                now,
                self.backfill(endpoints[0]),
                self.home.table,
                self.home.engine,
                self.registry,
                champion,
                self.home.path("versions"),
            )
        except MainspringError as error:
            return self._not_trained(model, now, error)
        write_profile(trained, self.home.path("profiles"))
        return {"sha256": trained.fitted.sha256}, lambda tx: self._registered(
            trained, endpoints, now, reason, tx
        )

    def _registered(
        self,
        trained: Trained,
        endpoints: list[Endpoint],
        now: int,
        reason: str,
        transaction: Transaction,
    ) -> None:
        number = register(trained, now, reason, transaction)
        for endpoint in endpoints:
            if trained.passed:
                enter(endpoint, _aliases(transaction, endpoint), number, now, transaction)
        self._move(transaction, f"trained/{trained.model.name}", now)
        self._move(transaction, f"tried/{trained.model.name}", 0)

    def _not_trained(
        self, model: Model, now: int, error: MainspringError
    ) -> tuple[dict[str, Any], Effects]:
        """A training that could not be: written down, and tried again a day later."""

        def effects(transaction: Transaction) -> None:
            kind = "waiting" if isinstance(error, NoTrainingRows) else "training_failed"
            if kind != "waiting" or not transaction.select(
                "decision", limit=1, subject=model.name, kind=kind
            ):
                decide(transaction, now, model.name, kind, error.subject, {"error": error.code})
            self._move(transaction, f"tried/{model.name}", now)

        return {"error": error.code}, effects

    def _roll_out(self, endpoint: Endpoint, now: int) -> None:
        aliases = self.registry.aliases(endpoint.name)
        at = due(endpoint, aliases)
        if at is None or at > now or not isinstance(endpoint.model, Model):
            return
        moving = aliases.get("canary") or aliases["shadow"]
        key = f"rollout/{endpoint.name}/{moving.number}/{moving.role}/{moving.share}"
        self._journal.run(key, "rollout", lambda: self._rolled_out(endpoint, aliases, moving, now))

    def _rolled_out(
        self, endpoint: Endpoint, aliases: dict[Role, Alias], moving: Alias, now: int
    ) -> tuple[dict[str, Any], Effects]:
        model = endpoint.model
        assert isinstance(model, Model)
        logged = self.answered(endpoint).read(moving.at, now)
        known = outcomes(model.rows.label, moving.at, now, now, self.home.table, self.home.engine)
        guarded = guard(moving, logged, labels_of(logged, known), output_of(model), model.seed)
        return dict(guarded.evidence), lambda tx: _discard(
            advance(endpoint, aliases, guarded, now, tx)
        )

    def _cursor(self, name: str) -> int:
        with self.home.metadata.read() as snapshot:
            row = snapshot.one("cursor", name=name)
        return 0 if row is None else row["value"]

    @staticmethod
    def _move(transaction: Transaction, name: str, to: int) -> None:
        transaction.upsert("cursor", {"name": name}, value=to)

    def _last_decision(self) -> int:
        with self.home.metadata.read() as snapshot:
            rows = snapshot.select("decision", order="-number", limit=1)
        return rows[0]["number"] if rows else 0

    def _decisions_after(self, number: int) -> Iterator[Happened]:
        with self.home.metadata.read() as snapshot:
            for row in snapshot.select("decision", order="number", at_least={"number": number + 1}):
                yield Happened(row["at"], row["subject"], row["kind"], row["reason"])


def _aliases(transaction: Transaction, endpoint: Endpoint) -> dict[Role, Alias]:
    rows = transaction.select("alias", subject=endpoint.name)
    return {r["role"]: Alias(r["role"], r["number"], r["share"], r["at"]) for r in rows}


def _belongs(name: str, view: type[FeatureView]) -> bool:
    return name.startswith(f"{view.__view__.id}.")


def _days(period: timedelta) -> str:
    return f"{period.days} days" if period.days and not period.seconds else str(period)


def _discard(value: object) -> None:
    del value
