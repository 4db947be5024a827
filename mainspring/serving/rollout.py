"""Rollout: how a version that met its gates takes over, step by step, and what takes it back.

First it answers silently as shadow, then for growing shares of the requests as canary, then it is
champion. All the while its scores are logged beside the champion's, so before each step the guards
see both on the same requests: failures, scores unlike those that the version was judged on, and
quality where outcomes have matured. The error of the guard on quality is shared among the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from mainspring.models.evaluate import Comparison, compare
from mainspring.models.metrics import METRICS, Metric
from mainspring.models.registry import Alias, Role, aliases, assign, decide
from mainspring.serving.endpoint import Canary, Endpoint
from mainspring.serving.prediction_log import Logged
from mainspring.stores.base import Transaction
from mainspring.vectors import Vector
from mainspring.windows import microseconds

MIN_ANSWERS = 200
"""Fewer answers, or labels of answers, say nothing."""

SCORES_MOVED = 0.25
"""How far, as a population stability index, a version's scores may be from those it was judged on,
beyond the champion's from its own, if they are as far from the champion's on the same requests. A
stormy day moves the scores of both, and a better version differs from the champion; only what is
broken does both."""

ERROR = 0.025
"""The chance that a rollout takes a version back that is as good as the champion."""

CHAMPION = "champion"
"""In a decision's evidence: the version that is champion from then on."""

_HALF_WIDTH = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Pair:
    """What champion and challenger said to the same requests, in order of time.

    Attributes:
        ids, at: the requests.
        champion: NaN where the challenger answered in its place.
        challenger: NaN where it failed.
    """

    ids: Vector
    at: Vector
    champion: Vector
    challenger: Vector

    @classmethod
    def of(cls, logged: Logged, number: int) -> Pair:
        """The logged answers at which version `number` was silent or answered."""
        mine = logged.silent_version["shadow"] == number
        champion = np.where(logged.role == "champion", logged.score, np.nan)
        challenger = logged.silent["shadow"]
        return cls(logged.ids[mine], logged.at[mine], champion[mine], challenger[mine])

    def since(self, start: int) -> Pair:
        """The requests from a time on."""
        later = self.at >= start
        columns = (self.ids, self.at, self.champion, self.challenger)
        return Pair(*(column[later] for column in columns))

    @property
    def both(self) -> Vector:
        """Where both said something."""
        known: Vector = ~np.isnan(self.champion) & ~np.isnan(self.challenger)
        return known

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the guards saw: the reason to take the version back, if any, and the evidence."""

    broken: str | None
    evidence: Mapping[str, Any]


def enter(
    endpoint: Endpoint,
    roles: Mapping[Role, Alias],
    number: int,
    now: int,
    transaction: Transaction,
) -> None:
    """A version that met its gates begins its rollout; the first ever answers at once."""
    _leave(endpoint, roles, number, now, transaction)
    if "champion" not in roles:
        assign(transaction, endpoint.name, "frozen", number, now)
        _crown(endpoint, number, now, "the first version that met its gates", {}, transaction)
    elif endpoint.rollout is None:
        _crown(endpoint, number, now, "the endpoint declares no rollout", {}, transaction)
    else:
        assign(transaction, endpoint.name, "shadow", number, now)
        reason, evidence = f"v{number} answers silently", {"version": number}
        decide(transaction, now, endpoint.name, "shadow", reason, evidence)


def _leave(
    endpoint: Endpoint,
    roles: Mapping[Role, Alias],
    number: int,
    now: int,
    transaction: Transaction,
) -> None:
    """A version on its way is overtaken by a newer one."""
    if alias := moving(roles):
        transaction.delete("alias", subject=endpoint.name, role=alias.role)
        reason, evidence = f"v{alias.number} gives way to v{number}", {"version": alias.number}
        decide(transaction, now, endpoint.name, "superseded", reason, evidence)


def moving(roles: Mapping[Role, Alias]) -> Alias | None:
    """The version on its way to be champion, if there is one."""
    return roles.get("canary") or roles.get("shadow")


def due(endpoint: Endpoint, roles: Mapping[Role, Alias]) -> int | None:
    """When the version on its way is to be looked at next; None if none is."""
    alias = moving(roles)
    if alias is None:
        return None
    return alias.at + (microseconds(endpoint.rollout.bake) if endpoint.rollout else 0)


def guard(
    pair: Pair,
    now: Pair,
    labels: Vector,
    moved: float,
    metric: Metric,
    *,
    looks: int,
    seed: int,
) -> Guarded:
    """What the guards see.

    Args:
        pair: the answers since the rollout began.
        now: those of its present step.
        labels: the matured labels of `pair`, NaN where there is none.
        moved: how much farther than the champion's the version's scores are from those it was
            judged on, as a population stability index.
        looks: how often a rollout is looked at.
    """
    failed, apart = int(np.isnan(now.challenger).sum()), _apart(now)
    evidence: dict[str, Any] = {"answers": len(now), "failed": failed}
    evidence |= {"moved": round(moved, 4), "apart": round(apart, 4)}
    if failed:
        return Guarded(f"{failed:,} of {len(now):,} answers failed", evidence)
    if len(now) >= MIN_ANSWERS and min(moved, apart) > SCORES_MOVED:
        return Guarded(f"its scores moved by PSI {moved:.2f} since it was judged", evidence)
    return _quality(pair, labels, metric, looks, seed, evidence)


def _apart(pair: Pair) -> float:
    """The stability index of both scores on the same requests, over the champion's deciles."""
    champion, challenger = pair.champion[pair.both], pair.challenger[pair.both]
    if not len(champion):
        return 0.0
    edges = np.unique(np.quantile(champion, np.linspace(0.1, 0.9, 9)))
    cells = (np.searchsorted(edges, scores) for scores in (champion, challenger))
    p, q = (np.bincount(cell, minlength=len(edges) + 1) + 0.5 for cell in cells)
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def _quality(
    pair: Pair, labels: Vector, metric: Metric, looks: int, seed: int, evidence: dict[str, Any]
) -> Guarded:
    known = pair.both & ~np.isnan(labels)
    evidence["labelled"] = int(known.sum())
    if evidence["labelled"] < MIN_ANSWERS:
        return Guarded(None, evidence)
    y, challenger, champion = labels[known], pair.challenger[known], pair.champion[known]
    found = compare(metric, y, challenger, champion, seed=seed)
    evidence |= {
        "metric": metric.name,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
    }
    difference = f"its {metric.name} is worse by {abs(found.difference):.4f}"
    return Guarded(difference if _is_worse(found, metric, looks) else None, evidence)


def _is_worse(found: Comparison, metric: Metric, looks: int) -> bool:
    """Whether a loss is no chance, at one of several looks (Bonferroni)."""
    loss = found.difference if metric.better == "lower" else -found.difference
    error = (found.high - found.low) / 2 / _HALF_WIDTH
    return loss > NormalDist().inv_cdf(1 - ERROR / looks) * error


def headline_metric(output: str) -> Metric:
    """The metric that rollout and charts go by: a proper score.

    Example:
        >>> headline_metric("probability").name
        'log_loss'
    """
    return METRICS["log_loss" if output == "probability" else "rmse"]


def advance(
    endpoint: Endpoint, alias: Alias, guarded: Guarded, now: int, transaction: Transaction
) -> None:
    """The next step of the version on its way, or the way back.

    Nothing happens if someone has decided otherwise since the guards looked.
    """
    if moving(aliases(transaction, endpoint.name)) != alias:
        return
    transaction.delete("alias", subject=endpoint.name, role=alias.role)
    share, number = _next_share(endpoint.rollout, alias), alias.number
    evidence = {"version": number, **guarded.evidence}
    if guarded.broken:
        reason = f"v{number} is taken back: {guarded.broken}"
        decide(transaction, now, endpoint.name, "rolled_back", reason, evidence)
    elif share >= 1.0:
        _crown(endpoint, number, now, _passed(endpoint), evidence, transaction)
    else:
        assign(transaction, endpoint.name, "canary", number, now, share)
        reason = f"v{number} answers {share:.0%} of the requests"
        decide(transaction, now, endpoint.name, "canary", reason, evidence)


def _next_share(rollout: Canary | None, alias: Alias) -> float:
    steps = rollout.steps if rollout else [1.0]
    return next(s for s in steps if s > alias.share or s == 1.0)


def _passed(endpoint: Endpoint) -> str:
    held = "every guard held through the rollout"
    return held if endpoint.rollout else "the endpoint declares no rollout any more"


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
    known = {"version": number, CHAMPION: number, **evidence}
    decide(transaction, now, endpoint.name, "promoted", told, known)


def crown_by_hand(
    endpoint: Endpoint,
    roles: Mapping[Role, Alias],
    number: int,
    now: int,
    transaction: Transaction,
    *,
    kind: Literal["promoted", "rolled_back"],
) -> None:
    """Makes a version champion at once because a person says so, and stops any rollout."""
    for role in ("shadow", "canary"):
        if role in roles:
            transaction.delete("alias", subject=endpoint.name, role=role)
    assign(transaction, endpoint.name, "champion", number, now, 1.0)
    evidence = {"version": number, CHAMPION: number}
    reason = f"v{number} is champion: {kind.replace('_', ' ')} by hand"
    decide(transaction, now, endpoint.name, kind, reason, evidence)
