"""Performance: what was answered against what came, per day of requests that have matured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mainspring.models.evaluate import evaluate, interval
from mainspring.models.metrics import METRICS, Metric
from mainspring.serving.prediction_log import Logged
from mainspring.training.outcomes import Outcomes
from mainspring.vectors import Vector


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric of one variant on one stretch of requests, with its 95 % bootstrap interval."""

    metric: str
    variant: str
    value: float
    low: float
    high: float
    rows: int


def measure(output: str, logged: Logged, known: Outcomes, seed: int = 0) -> Iterator[Measured]:
    """Every metric of what was served, and of what shadow and frozen would have answered.

    Requests without an outcome, and fallbacks, are left out.

    Args:
        output: `probability` or `number`.
        logged: the answers.
        known: what became of the same stretch of requests.
    """
    y = known.labels(logged.ids, logged.at)
    served = np.where(logged.role == "fallback", np.nan, logged.score)
    for variant, scores in (("served", served), *logged.silent.items()):
        usable = ~np.isnan(y) & ~np.isnan(scores)
        if not usable.any():
            continue
        for metric in METRICS.values():
            if metric.for_ == output:
                yield _measured(metric, variant, y[usable], scores[usable], seed)


def _measured(metric: Metric, variant: str, y: Vector, p: Vector, seed: int) -> Measured:
    low, high = interval(metric, y, p, seed=seed, resamples=50)
    return Measured(metric.name, variant, evaluate(metric, y, p), low, high, len(y))
