"""Scores of predictions, and their uncertainty from having judged on these rows only.

Every metric is computed on *counts*: how often each row is taken. A bootstrap resample is then a
vector of counts, the expensive part (sorting, losses) is done once, and two models are compared on
the same resamples. Rows are resampled one by one (Efron 1979); intervals are the middle 95 % of the
resampled scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.models.metrics import Metric

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]

_EDGE = 1e-15  # probabilities are held this far from 0 and 1 before their logarithm is taken
_MIDDLE = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same rows: the score of the first minus that of the second.

    `better` says that the first is: only when the whole interval is on the better side of zero.
    """

    difference: float
    low: float
    high: float
    better: bool


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows with similar predictions: what was predicted for them on average, and what came."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class SliceScore:
    """The score on the rows that share a value."""

    value: str | None
    rows: int
    score: float


def evaluate(metric: Metric, y: Floats, p: Floats) -> float:
    """The score; NaN where the rows do not define it (no rows, or one class only for a ranking).

    Example:
        >>> from mainspring.models import metrics
        >>> y, p = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.4, 0.8])
        >>> evaluate(metrics.roc_auc, y, p)
        0.875
    """
    return _STATISTICS[metric.name](y, p)(np.ones(len(y)))


def interval(
    metric: Metric, y: Floats, p: Floats, *, seed: int, resamples: int = 200
) -> tuple[float, float]:
    """The 95 % bootstrap interval of the score.

    Example:
        >>> from mainspring.models import metrics
        >>> y, p = np.array([0.0, 1.0] * 50), np.array([0.2, 0.8] * 50)
        >>> [round(edge, 3) for edge in interval(metrics.brier, y, p, seed=1)]
        [0.04, 0.04]
    """
    statistic = _STATISTICS[metric.name](y, p)
    return _middle([statistic(counts) for counts in _resampled(len(y), seed, resamples)])


def compare(
    metric: Metric, y: Floats, p_a: Floats, p_b: Floats, *, seed: int, resamples: int = 200
) -> Comparison:
    """The paired difference a - b with its 95 % bootstrap interval.

    Example:
        >>> from mainspring.models import metrics
        >>> y = np.array([0.0, 1.0] * 50)
        >>> compare(metrics.brier, y, np.abs(y - 0.1), np.abs(y - 0.4), seed=1).better
        True
    """
    a, b = (_STATISTICS[metric.name](y, p) for p in (p_a, p_b))
    whole = np.ones(len(y))
    low, high = _middle([a(counts) - b(counts) for counts in _resampled(len(y), seed, resamples)])
    better = high < 0 if metric.better == "lower" else low > 0
    return Comparison(a(whole) - b(whole), low, high, better)


def calibration(y: Floats, p: Floats, bins: int = 10) -> list[Bin]:
    """Rows cut into bins of about equal size by their prediction; equal predictions stay together.

    Example:
        >>> table = calibration(np.array([0.0, 1.0]), np.array([0.25, 0.75]), 2)
        >>> [(b.rows, b.predicted, b.observed) for b in table]
        [(1, 0.25, 0.0), (1, 0.75, 1.0)]
    """
    if not len(p):
        return []
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1]))
    members = np.searchsorted(edges, p, side="left")
    rows = np.bincount(members)
    predicted, observed = (np.bincount(members, weights=values) for values in (p, y))
    return [
        Bin(
            float(p[members == i].min()),
            float(p[members == i].max()),
            int(rows[i]),
            float(predicted[i] / rows[i]),
            float(observed[i] / rows[i]),
        )
        for i in np.flatnonzero(rows)
    ]


def calibration_error(y: Floats, p: Floats, bins: int = 10) -> float:
    """The expected calibration error: how far predicted and observed are apart, over all rows.

    Example:
        >>> calibration_error(np.array([0.0, 1.0]), np.array([0.25, 0.75]), 2)
        0.25
    """
    table = calibration(y, p, bins)
    return _ratio(sum(b.rows * abs(b.predicted - b.observed) for b in table), len(p))


def calibration_interval(
    y: Floats, p: Floats, *, seed: int, bins: int = 10, resamples: int = 200
) -> tuple[float, float]:
    """The 95 % bootstrap interval of the calibration error, in the bins of all rows.

    Example:
        >>> y, p = np.array([0.0, 1.0] * 50), np.array([0.2, 0.8] * 50)
        >>> [round(edge, 3) for edge in calibration_interval(y, p, seed=1)]
        [0.2, 0.2]
    """
    gaps, edges = p - y, np.array([b.high for b in calibration(y, p, bins)][:-1])
    members = np.searchsorted(edges, p, side="left")
    resampled = _resampled(len(y), seed, resamples)
    off = (np.abs(np.bincount(members, weights=gaps * counts)).sum() for counts in resampled)
    return _middle([_ratio(total, len(y)) for total in off])


def by_slice(
    metric: Metric, y: Floats, p: Floats, slices: NDArray[Any], *, min_rows: int = 1
) -> list[SliceScore]:
    """The score of each slice of at least `min_rows` rows: the worst first, NaN last.

    Example:
        >>> from mainspring.models import metrics
        >>> y, p = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 5.0])
        >>> by_slice(metrics.mae, y, p, np.array(["a", "a", None], dtype=object))
        [SliceScore(value=None, rows=1, score=2.0), SliceScore(value='a', rows=2, score=0.0)]
    """
    values: dict[Any, int] = {}
    members = np.array(
        [values.setdefault(value, len(values)) for value in slices.tolist()], np.intp
    )
    groups = np.split(np.argsort(members, kind="stable"), np.cumsum(np.bincount(members))[:-1])
    scores = [
        SliceScore(value, len(rows), evaluate(metric, y[rows], p[rows]))
        for value, rows in zip(values, groups, strict=False)
        if len(rows) >= min_rows
    ]
    sign = -1.0 if metric.better == "lower" else 1.0
    return sorted(
        scores, key=lambda s: (s.score != s.score, sign * np.nan_to_num(s.score), str(s.value))
    )


def _resampled(rows: int, seed: int, resamples: int) -> Iterator[Floats]:
    random = np.random.default_rng(seed)
    for _ in range(resamples if rows else 0):
        yield np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)


def _middle(scores: list[float]) -> tuple[float, float]:
    known = [score for score in scores if not np.isnan(score)]
    if not known:
        return np.nan, np.nan
    low, high = np.percentile(known, _MIDDLE)
    return float(low), float(high)


def _ratio(a: Any, b: Any) -> float:
    return float(a / b) if b else float("nan")


def _mean(loss: Floats) -> Statistic:
    return lambda counts: _ratio(loss @ counts, counts.sum())


def _log_loss(y: Floats, p: Floats) -> Statistic:
    p = p.clip(_EDGE, 1 - _EDGE)
    return _mean(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def _rmse(y: Floats, p: Floats) -> Statistic:
    squared = _mean((y - p) ** 2)
    return lambda counts: float(np.sqrt(squared(counts)))


def _r2(y: Floats, p: Floats) -> Statistic:
    residual = (y - p) ** 2

    def score(counts: Floats) -> float:
        mean = _ratio(y @ counts, counts.sum())
        return 1.0 - _ratio(residual @ counts, ((y - mean) ** 2) @ counts)

    return score


def _groups(y: Floats, p: Floats) -> Callable[[Floats], tuple[Floats, Floats]]:
    """The counts of positives and negatives by prediction, from the lowest up."""
    order = np.argsort(p, kind="stable")
    ranked = p[order]
    starts = (
        np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1]))) if len(p) else order
    )
    yes = y[order]

    def split(counts: Floats) -> tuple[Floats, Floats]:
        taken = counts[order]
        positive = np.add.reduceat(taken * yes, starts) if len(starts) else taken
        whole = np.add.reduceat(taken, starts) if len(starts) else taken
        return positive, whole - positive

    return split


def _roc_auc(y: Floats, p: Floats) -> Statistic:
    split = _groups(y, p)

    def score(counts: Floats) -> float:
        positive, negative = split(counts)
        below = np.cumsum(negative) - negative / 2  # ties count half (Mann and Whitney 1947)
        return _ratio(positive @ below, positive.sum() * negative.sum())

    return score


def _average_precision(y: Floats, p: Floats) -> Statistic:
    split = _groups(y, p)

    def score(counts: Floats) -> float:
        positive, negative = (part[::-1] for part in split(counts))
        found = np.cumsum(positive)
        shown = np.maximum(found + np.cumsum(negative), 1.0)  # 0 only where nothing was taken yet
        return _ratio(positive @ (found / shown), found[-1] if len(found) else 0.0)

    return score


_STATISTICS: dict[str, Callable[[Floats, Floats], Statistic]] = {
    "log_loss": _log_loss,
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "brier": lambda y, p: _mean((y - p) ** 2),
    "accuracy": lambda y, p: _mean(((p > 0.5) == (y > 0.5)).astype(np.float64)),
    "mae": lambda y, p: _mean(np.abs(y - p)),
    "rmse": _rmse,
    "r2": _r2,
}
