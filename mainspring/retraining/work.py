"""The work of the loop's steps: each gives what it found, and the effects that make it count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mainspring.errors import MainspringError, NoTrainingRows, SignatureMismatch
from mainspring.models.model import Model
from mainspring.models.registry import Alias, aliases, check_signature, decide
from mainspring.monitoring.drift import Verdict
from mainspring.monitoring.monitor import Monitor
from mainspring.monitoring.performance import measure
from mainspring.monitoring.watch import (
    HISTORY,
    SCORE,
    Reference,
    evaluate,
    score_shift,
    settle,
)
from mainspring.retraining.journal import Effects
from mainspring.retraining.past import Past, move
from mainspring.retraining.reason import DAY
from mainspring.retraining.train import Trained, register, train, write_profile
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.rollout import Guarded, Pair, advance, enter, guard, headline_metric
from mainspring.stores.base import Transaction
from mainspring.vectors import Vector

Output = tuple[dict[str, Any], Effects]
"""What the work of a step gives the journal."""


def measured(past: Past, endpoint: Endpoint, model: Model, day: int, now: int) -> Output:
    """Every metric of the answers of one day, whose outcomes have come."""
    logged = past.answered(endpoint).read(day, day + DAY)
    known = past.outcomes(model, day, day + DAY, now)
    found = list(measure(model.output, logged, known))

    def effects(transaction: Transaction) -> None:
        for m in found:
            key = {"series": f"{endpoint.name}/{m.metric}", "at": day, "variant": m.variant}
            bounds = {"low": m.low, "high": m.high, "rows": m.rows}
            transaction.upsert("measurement", key, value=m.value, **bounds)
        move(transaction, f"measured/{endpoint.name}", day + DAY)

    return {"rows": len(logged), **known.counts()}, effects


def watched(past: Past, monitor: Monitor, endpoint: Endpoint, champion: Alias, now: int) -> Output:
    """What a monitor finds, compared with what the champion of an endpoint was trained on."""
    reference = past.reference(endpoint.model.name, champion.number)
    columns, at = _watched_columns(past, monitor, endpoint, champion, now)
    verdicts = evaluate(monitor, reference, columns, at, now)
    pages = [name for name, v in verdicts.items() if v.level == "page"]
    return {"pages": pages}, partial(_settled, monitor, verdicts, pages, reference, now)


def _watched_columns(
    past: Past, monitor: Monitor, endpoint: Endpoint, champion: Alias, now: int
) -> tuple[Mapping[str, Vector], Vector]:
    if isinstance(monitor.watch, Endpoint):
        scores, at = past.scores(endpoint, champion, now - HISTORY, now)
        return {SCORE: scores}, at
    rows, own = past.requests(endpoint).read(now - HISTORY, now), f"{monitor.watch.__view__.id}."
    return {n: v for n, v in rows.columns.items() if n.startswith(own)}, rows.at


def _settled(
    monitor: Monitor,
    verdicts: Mapping[str, Verdict],
    pages: Sequence[str],
    reference: Reference,
    now: int,
    transaction: Transaction,
) -> None:
    outcome = settle(monitor, verdicts, reference, now, transaction)
    if outcome in ("opened", "closed"):
        told = "; ".join(f"{name}: {verdicts[name].reason}" for name in pages[:3])
        kind, reason = f"incident_{outcome}", told or "back to usual"
        decide(transaction, now, monitor.name, kind, reason, {"pages": pages})
    move(transaction, f"watched/{monitor.name}", now)


def rolled_out(
    past: Past, endpoint: Endpoint, model: Model, alias: Alias, champion: int, now: int
) -> Output:
    """The next step of the version on its way, or the way back."""
    guarded = _guarded(past, endpoint, model, alias, champion, now)
    return dict(guarded.evidence), partial(advance, endpoint, alias, guarded, now)


def _guarded(
    past: Past, endpoint: Endpoint, model: Model, alias: Alias, champion: int, now: int
) -> Guarded:
    signature = past.registry.predictor(model.name, alias.number).signature
    try:
        check_signature(model, alias.number, signature, f"endpoint {endpoint.name!r}", model.at)
    except SignatureMismatch as error:
        return Guarded(error.subject, {})
    began = past.registry.version(model.name, alias.number).at
    pair = Pair.of(past.answered(endpoint).read(began, now), alias.number)
    step, labels = pair.since(alias.at), past.matured(model, began, now).labels(pair.ids, pair.at)
    return guard(
        pair,
        step,
        labels,
        _moved(past, model.name, alias.number, champion, step),
        headline_metric(model.output),
        looks=len(endpoint.rollout.steps) if endpoint.rollout else 1,
        seed=model.seed,
    )


def _moved(past: Past, model: str, challenger: int, champion: int, step: Pair) -> float:
    """How much farther the challenger's scores are from those it was judged on than the champion's
    from its own: what the hour and the season do to both is no fault of one."""
    both = step.both
    theirs = score_shift(past.reference(model, champion), step.champion[both])
    return score_shift(past.reference(model, challenger), step.challenger[both]) - theirs


def trained(
    past: Past,
    model: Model,
    endpoints: Sequence[Endpoint],
    now: int,
    reason: str,
    *,
    told_again: bool = False,
) -> Output:
    """A new version of a model, or why there is none.

    Args:
        told_again: whether it is written down again that there are too few rows.
    """
    roles = [past.registry.aliases(e.name) for e in endpoints]
    champions = sorted({r["champion"].number for r in roles if "champion" in r})
    try:
        made = train(model, now, past.requests(model), past.home, past.registry, champions)
    except MainspringError as error:
        effects = partial(not_trained, model, now, error, told_again=told_again)
        return {"error": error.code}, effects
    write_profile(made, past.home.path("profiles"))
    effects = partial(_registered, made, endpoints, now, reason)
    return {"sha256": made.fitted.sha256}, effects


def _registered(
    made: Trained, endpoints: Sequence[Endpoint], now: int, reason: str, transaction: Transaction
) -> None:
    """A version enters the registry, and its rollout if it met its gates."""
    number = register(made, now, reason, transaction)
    for endpoint in endpoints:
        if made.passed:
            enter(endpoint, aliases(transaction, endpoint.name), number, now, transaction)
    move(transaction, f"trained/{made.model.name}", now)
    move(transaction, f"tried/{made.model.name}", 0)


def not_trained(
    model: Model,
    now: int,
    error: MainspringError,
    transaction: Transaction,
    *,
    told_again: bool = False,
) -> None:
    """A training that could not be: written down, and tried again a day later; that there are too
    few rows is written down once."""
    kind = "waiting" if isinstance(error, NoTrainingRows) else "training_failed"
    told = transaction.select("decision", limit=1, subject=model.name, kind=kind)
    if kind != "waiting" or not told or told_again:
        decide(transaction, now, model.name, kind, error.subject, {"error": error.code})
    move(transaction, f"tried/{model.name}", now)
