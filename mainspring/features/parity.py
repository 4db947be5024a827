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
        _compared(name, _is_exact(e), kind, served[name], offline[name])
        for name, e, kind in triples
    ]


def _is_exact(expression: Expr[Any]) -> bool:
    return all(leaf.op in EXACT for leaf in leaves(expression))


def _compared(name: str, exact: bool, kind: Kind, a: Vector, b: Vector) -> Compared:
    if kind == "text" or kind == "time":
        differs = np.array([x != y for x, y in zip(a, b, strict=True)], bool)
        gap = differs.astype(np.float64)
    else:
        same_null = np.isnan(a) & np.isnan(b)
        gap = np.where(same_null, 0.0, np.abs(a - b) / _scale(a, b))
        gap = np.where(np.isnan(gap), np.inf, gap)
        differs = gap > (0.0 if exact else TOLERANCE)
    where = np.flatnonzero(differs)
    worst = float(gap.max()) if len(gap) else 0.0
    return Compared(name, len(a), exact, len(where), worst, int(where[0]) if len(where) else -1)


def _scale(a: Vector, b: Vector) -> Vector:
    """What a difference is relative to: the larger value, or the usual one where both are near 0.

    A difference of two features may be 0 while the features are not, and is as exact as they are.
    """
    usual = float(np.sqrt(np.nanmean(np.square(a)))) if np.isfinite(a).any() else 0.0
    return np.maximum(np.maximum(np.abs(a), np.abs(b)), max(usual, 1e-300))
