"""Performance: what was answered against what came, per day of requests, once their outcomes have matured."""

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

    Args:
        output: `probability` or `number`.
        logged: the answers.
        known: what became of the same stretch of requests.
    """
    y = labels_of(logged, known)
    variants = {
        "served": np.where(logged.role == "fallback", np.nan, logged.score),
        **logged.silent,
    }
    for variant, scores in variants.items():
        usable = ~np.isnan(y) & ~np.isnan(scores)
        if not usable.any():
            continue
        for metric in METRICS.values():
            if metric.for_ == output:
                yield _measured(metric, variant, y[usable], scores[usable], seed)


def _measured(metric: Metric, variant: str, y: Vector, p: Vector, seed: int) -> Measured:
    low, high = interval(metric, y, p, seed=seed, resamples=50)
    return Measured(metric.name, variant, evaluate(metric, y, p), low, high, len(y))


def labels_of(logged: Logged, known: Outcomes) -> Vector:
    """The label of each logged answer by request key, NaN where it is not known."""
    value = dict(zip(known.ids, known.value.tolist(), strict=True))
    return np.array([value.get(key, np.nan) for key in logged.ids], np.float64)
