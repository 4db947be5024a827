"""Parity: what serving used equals what the point-in-time join computes for the same request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainspring.expressions import Expr, Kind, leaves
from mainspring.features.feature_set import FeatureSet
from mainspring.vectors import Vector

TOLERANCE = 1e-9
"""How far float sums, and what derives from them, may differ, relative to the larger value."""

EXACT = {
    *("count", "count_distinct", "min", "max", "first", "last", "latest", "last_k", "top_k"),
    *("quantile", "time_since_last", "column"),
}
"""Operations whose values are equal to the bit; arithmetic on them is as well."""


@dataclass(frozen=True, slots=True)
class Compared:
    """How one feature compares over the audited requests.

    Attributes:
        exact: whether equality to the bit was asked.
        differ: how many requests differ by more than is allowed.
        worst: the largest relative difference.
        first: the position of the first request that differs; -1 if none does.
    """

    name: str
    rows: int
    exact: bool
    differ: int
    worst: float
    first: int


def compare(
    features: FeatureSet, served: Mapping[str, Vector], offline: Mapping[str, Vector]
) -> list[Compared]:
    """Compares served and recomputed features, row by row.

    Args:
        served, offline: one vector per feature, of the same requests in the same order.
    """
    triples = zip(features.names, features.expressions, features.kinds, strict=True)
    return [
        _compared(name, is_exact(e), kind, served[name], offline[name]) for name, e, kind in triples
    ]


def is_exact(expression: Expr[Any]) -> bool:
    """Whether a value must be equal to the bit.

    Example:
        >>> from mainspring import count, ewma, hours
        >>> is_exact(count() / 2), is_exact(ewma(count().fill_null(0), half_life=hours(1)))
        (True, False)
    """
    return all(leaf.op in EXACT for leaf in leaves(expression))


def gaps(kind: Kind, a: Vector, b: Vector, usual: float = 0.0) -> Vector:
    """How far values are apart, relative to the larger, or to the `usual` where both are near 0.

    What is no number, NULL and infinity too, is equal or infinitely far apart.

    Example:
        >>> gaps("number", np.array([1.0, np.nan, 2.0]), np.array([1.0, np.nan, np.inf]))
        array([ 0.,  0., inf])
    """
    if kind == "text" or kind == "time":
        return np.array([0.0 if x == y else np.inf for x, y in zip(a, b, strict=True)], float)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), max(usual, 1e-300))
        gap = np.abs(a - b) / scale
        same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isfinite(a) & np.isfinite(b), gap, np.inf))


def _compared(name: str, exact: bool, kind: Kind, a: Vector, b: Vector) -> Compared:
    gap = gaps(kind, a, b, _usual(kind, a))
    where = np.flatnonzero(gap > (0.0 if exact else TOLERANCE))
    worst = float(gap.max()) if len(gap) else 0.0
    return Compared(name, len(a), exact, len(where), worst, int(where[0]) if len(where) else -1)


def _usual(kind: Kind, values: Vector) -> float:
    """What a difference of two features is relative to: it may be 0 while they are not, and is as
    exact as they are."""
    if kind == "text" or kind == "time":
        return 0.0
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(np.square(known)))) if len(known) else 0.0
