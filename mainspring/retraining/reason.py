"""Reasons: why a model is to be trained now, if it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from mainspring.models.model import Model
from mainspring.models.registry import Alias, Role
from mainspring.retraining.past import Past, move
from mainspring.retraining.trigger import Drifted, Every, NewLabels, Retraining, Trigger, Worse
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.rollout import moving
from mainspring.stores.base import Row
from mainspring.windows import microseconds

DAY = 86_400_000_000
RETRY = DAY
"""How long to wait after a training that could not be, or while no version has met its gates."""

RECENT = 7 * DAY
"""How much of the measured past `ms.worse` looks at."""

MIN_ANSWERS, MIN_DAYS = 300, 3
"""On less a champion is not found worse: one bad day may be the weather."""


class Reasons:
    """Why the models of a system are to be trained.

    A training is asked for by a trigger; before any, because there is none; and again every day
    until a version meets its gates. While a version is on its way to be champion no other is
    trained: it would be overtaken time and again.

    Args:
        past: what is known.
        endpoints: the endpoints of the system.
    """

    def __init__(self, past: Past, endpoints: Sequence[Endpoint]) -> None:
        self._past, self._endpoints = past, endpoints

    def to_train(self, retraining: Retraining, now: int) -> str | None:
        """The reason to train now; None if there is none."""
        model = retraining.model
        trained = self._past.cursor(f"trained/{model.name}")
        tried = self._past.cursor(f"tried/{model.name}")
        if tried and now < tried + RETRY:
            return None
        if not trained:
            return "first training"
        roles = self._roles(model)
        if any(map(moving, roles)):
            return None
        if _unserved(roles) and trained + RETRY <= now:
            return "no version has met its gates yet"
        reasons = (self._of(t, model, trained, now) for t in retraining.when)
        return next((reason for reason in reasons if reason), None)

    def dues(self, retraining: Retraining, now: int) -> Iterator[int]:
        """When there may be a reason next, as far as it goes by the clock."""
        name = retraining.model.name
        trained = self._past.cursor(f"trained/{name}")
        yield self._past.cursor(f"tried/{name}") + RETRY
        if _unserved(self._roles(retraining.model)):
            yield trained + RETRY
        for trigger in retraining.when:
            if isinstance(trigger, Every):
                yield trained + microseconds(trigger.period)
            if isinstance(trigger, NewLabels):
                yield (now // DAY + 1) * DAY

    def _roles(self, model: Model) -> list[dict[Role, Alias]]:
        """Who has which role, at each endpoint of a model."""
        serving = (e for e in self._endpoints if e.model is model)
        return [self._past.registry.aliases(e.name) for e in serving]

    def _of(self, trigger: Trigger, model: Model, trained: int, now: int) -> str | None:
        match trigger:
            case Every(period):
                is_due = trained + microseconds(period) <= now
                return f"scheduled every {told(period)}" if is_due else None
            case Drifted():
                return self._drifted(trigger, trained)
            case Worse():
                return self._worse(trigger, trained, now)
            case NewLabels():
                return self._new_labels(trigger, model, trained, now)

    def _drifted(self, trigger: Drifted, trained: int) -> str | None:
        """An incident that was opened since the last training."""
        name, since = trigger.monitor.name, {"opened_at": trained + 1}
        with self._past.home.metadata.read() as snapshot:
            found = snapshot.select("incident", order="number", monitor=name, at_least=since)
        return f"drift: {found[0]['subject']} in {name}" if found else None

    def _worse(self, trigger: Worse, trained: int, now: int) -> str | None:
        """The measured days since the champion came, and since the last training: one that was
        refused is not to be repeated on the same evidence."""
        endpoint, metric = trigger.endpoint, trigger.metric
        champion = self._past.registry.aliases(endpoint.name).get("champion")
        if champion is None:
            return None
        days = self._measured(f"{endpoint.name}/{metric.name}", champion, trained, now)
        rows = sum(day["rows"] for day in days)
        version = self._past.registry.version(endpoint.model.name, champion.number)
        judged = version.metrics[metric.name]["value"]
        if rows < MIN_ANSWERS or len(days) < MIN_DAYS or judged is None:
            return None
        value = sum(day["value"] * day["rows"] for day in days) / rows
        loss = value - judged if metric.better == "lower" else judged - value
        if loss < trigger.by:
            return None
        measured = f"{metric.name} {value:.4f} on {rows:,} answers"
        return f"{measured}, worse by {loss:.4f} than v{champion.number} was judged"

    def _measured(self, series: str, champion: Alias, trained: int, now: int) -> list[Row]:
        since = {"at": max(champion.at, trained, now - RECENT)}
        with self._past.home.metadata.read() as snapshot:
            days = snapshot.select("measurement", series=series, variant="served", at_least=since)
        return [day for day in days if day["value"] is not None]

    def _new_labels(self, trigger: NewLabels, model: Model, trained: int, now: int) -> str | None:
        """Labels that a training now would read and the last one could not; counted once a day,
        until there are enough."""
        counted = f"counted/{model.name}"
        if now // DAY == self._past.cursor(counted) // DAY:
            return None
        before = trained - model.rows.label.settled_after
        known = self._past.matured(model, now - microseconds(model.rows.lookback), now)
        unseen = (known.at >= before) | (known.known_at >= trained)
        fresh = int((known.labelled & unseen).sum())
        if fresh >= trigger.rows:
            return f"{fresh:,} new labels"
        with self._past.home.metadata.begin() as transaction:
            move(transaction, counted, now)
        return None


def _unserved(roles: Sequence[dict[Role, Alias]]) -> bool:
    """Whether a model has endpoints, and none of them a champion."""
    return bool(roles) and not any("champion" in r for r in roles)


def told(period: timedelta) -> str:
    """A period as a person says it.

    Example:
        >>> told(timedelta(days=7)), told(timedelta(days=1)), told(timedelta(hours=6))
        ('7 days', 'day', '6:00:00')
    """
    if period % timedelta(days=1):
        return str(period)
    return "day" if period.days == 1 else f"{period.days} days"
