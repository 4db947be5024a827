"""Rollout: how a version that met its gates takes over, step by step, and what takes it back.

First it answers silently as shadow, then for growing shares of the requests as canary, then it is champion. Before each step its guards are
looked at over the time since the last one: failures, the distribution of its scores, and quality where labels have arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainspring.models.evaluate import compare
from mainspring.models.metrics import METRICS, Metric
from mainspring.models.registry import Alias, Role, assign, decide
from mainspring.serving.endpoint import Canary, Endpoint
from mainspring.serving.prediction_log import Logged
from mainspring.stores.base import Transaction
from mainspring.vectors import Vector
from mainspring.windows import microseconds

MIN_LABELS = 200
"""Fewer labelled answers say nothing about quality."""

SCORES_MOVED = 0.25
"""The population stability index between the challenger's and the champion's scores that takes the challenger back."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the guards saw: the reason to take the version back, if any, and the evidence."""

    broken: str | None
    evidence: Mapping[str, Any]


def enter(
    endpoint: Endpoint,
    aliases: Mapping[Role, Alias],
    number: int,
    now: int,
    transaction: Transaction,
) -> None:
    """A version that met its gates begins its rollout; the first one ever answers at once and is kept for comparison."""
    if "champion" not in aliases:
        assign(transaction, endpoint.name, "frozen", number, now)
        _crown(endpoint, number, now, "the first version that met its gates", {}, transaction)
    elif endpoint.rollout is None:
        _crown(endpoint, number, now, "the endpoint declares no rollout", {}, transaction)
    else:
        _leave(endpoint, aliases, number, now, transaction)
        assign(transaction, endpoint.name, "shadow", number, now)
        decide(
            transaction,
            now,
            endpoint.name,
            "shadow",
            f"v{number} answers silently",
            {"version": number},
        )


def _leave(
    endpoint: Endpoint,
    aliases: Mapping[Role, Alias],
    number: int,
    now: int,
    transaction: Transaction,
) -> None:
    """A version on its way is overtaken by a newer one."""
    for role in ("shadow", "canary"):
        if role in aliases:
            transaction.delete("alias", subject=endpoint.name, role=role)
            reason = f"v{aliases[role].number} gives way to v{number}"
            evidence = {"version": aliases[role].number}
            decide(transaction, now, endpoint.name, "superseded", reason, evidence)


def due(endpoint: Endpoint, aliases: Mapping[Role, Alias]) -> int | None:
    """When the version on its way is to be looked at next; None if none is."""
    moving = aliases.get("canary") or aliases.get("shadow")
    return (
        None
        if moving is None or endpoint.rollout is None
        else moving.at + microseconds(endpoint.rollout.bake)
    )


def guard(moving: Alias, logged: Logged, labels: Vector, output: str, seed: int = 0) -> Guarded:
    """What the guards see in the answers since the last step.

    Args:
        moving: the version on its way: shadow or canary.
        logged: the answers since its step began.
        labels: their labels, NaN where not known.
    """
    champion, challenger, paired = _two(moving, logged)
    failed = int(np.isnan(challenger).sum())
    if not len(challenger):
        return Guarded(None, {"version": moving.number, "answers": 0})
    moved = _stability(champion, challenger)
    evidence: dict[str, Any] = {
        "version": moving.number,
        "answers": len(challenger),
        "failed": failed,
        "psi": round(moved, 4),
    }
    if failed:
        return Guarded(f"{failed} of {len(challenger)} answers failed", evidence)
    if len(challenger) >= MIN_LABELS and moved > SCORES_MOVED:
        return Guarded(f"its scores moved by PSI {moved:.2f} from the champion's", evidence)
    return _quality(paired, labels, output, evidence, seed)


def _two(moving: Alias, logged: Logged) -> tuple[Vector, Vector, tuple[Vector, Vector]]:
    """The champion's scores, the challenger's, and both on the rows where both are known."""
    if moving.role == "shadow":
        mine = logged.silent_version["shadow"] == moving.number
        pair = logged.score, np.where(mine, logged.silent["shadow"], np.nan)
        return logged.score[mine], logged.silent["shadow"][mine], pair
    mine, theirs = logged.version == moving.number, logged.role == "champion"
    nothing = np.full(len(logged), np.nan)
    return logged.score[theirs], logged.score[mine], (nothing, nothing)


def _quality(
    pair: tuple[Vector, Vector], labels: Vector, output: str, evidence: dict[str, Any], seed: int
) -> Guarded:
    champion, challenger = pair
    known = ~np.isnan(labels) & ~np.isnan(champion) & ~np.isnan(challenger)
    evidence["labelled"] = int(known.sum())
    if evidence["labelled"] < MIN_LABELS:
        return Guarded(None, evidence)
    metric = headline_metric(output)
    found = compare(metric, labels[known], challenger[known], champion[known], seed=seed)
    evidence |= {
        "metric": metric.name,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
    }
    worse = found.low > 0 if metric.better == "lower" else found.high < 0
    return Guarded(
        f"its {metric.name} is worse by {abs(found.difference):.4f}" if worse else None, evidence
    )


def headline_metric(output: str) -> Metric:
    """The metric that rollout and charts go by: a proper score."""
    return METRICS["log_loss" if output == "probability" else "rmse"]


def _stability(champion: Vector, challenger: Vector) -> float:
    """The population stability index of two sets of scores over the champion's deciles."""
    a, b = champion[~np.isnan(champion)], challenger[~np.isnan(challenger)]
    if len(a) < 2 or not len(b):
        return 0.0
    edges = np.unique(np.quantile(a, np.linspace(0.1, 0.9, 9)))
    p, q = (np.bincount(np.searchsorted(edges, s), minlength=len(edges) + 1) + 0.5 for s in (a, b))
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def advance(
    endpoint: Endpoint,
    aliases: Mapping[Role, Alias],
    guarded: Guarded,
    now: int,
    transaction: Transaction,
) -> str:
    """The next step of the version on its way, or the way back; gives the decision's kind."""
    rollout, moving = endpoint.rollout, aliases.get("canary") or aliases.get("shadow")
    if rollout is None or moving is None:
        return "none"
    transaction.delete("alias", subject=endpoint.name, role=moving.role)
    if guarded.broken:
        reason = f"v{moving.number} is taken back: {guarded.broken}"
        decide(transaction, now, endpoint.name, "rolled_back", reason, guarded.evidence)
        return "rolled_back"
    share = _next_share(rollout, moving)
    if share >= 1.0:
        reason = "every guard held through the rollout"
        _crown(endpoint, moving.number, now, reason, guarded.evidence, transaction)
        return "promoted"
    assign(transaction, endpoint.name, "canary", moving.number, now, share)
    reason = f"v{moving.number} answers {share:.0%} of the requests"
    decide(transaction, now, endpoint.name, "canary", reason, guarded.evidence)
    return "canary"


def _next_share(rollout: Canary, moving: Alias) -> float:
    return next(s for s in rollout.steps if s > moving.share or s == 1.0)


def _crown(
    endpoint: Endpoint,
    number: int,
    now: int,
    reason: str,
    evidence: Mapping[str, Any],
    transaction: Transaction,
) -> None:
    assign(transaction, endpoint.name, "champion", number, now, 1.0)
    transaction.update("version", {"model": endpoint.model.name, "number": number}, state="live")
    told = f"v{number} is champion: {reason}"
    decide(transaction, now, endpoint.name, "promoted", told, {"version": number, **evidence})


def roll_back(
    endpoint: Endpoint,
    aliases: Mapping[Role, Alias],
    to: int,
    now: int,
    reason: str,
    transaction: Transaction,
) -> None:
    """Makes an earlier version champion again at once, and stops any rollout."""
    for role in ("shadow", "canary"):
        if role in aliases:
            transaction.delete("alias", subject=endpoint.name, role=role)
    assign(transaction, endpoint.name, "champion", to, now, 1.0)
    decide(transaction, now, endpoint.name, "rolled_back", reason, {"version": to})
