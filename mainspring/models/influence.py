"""Influence: which inputs a fitted version makes nothing of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mainspring.models.preprocess import Columns
from mainspring.models.runtime import Predictor

PREDICTED = 10_000
"""Rows that are predicted to find out, at most, and no more than there are."""

ENOUGH = 20
"""Rows with fewer of which nothing is said."""


def unused(importance: Mapping[str, float]) -> set[str]:
    """The inputs whose importance is 0.

    Example:
        >>> unused({"a": 0.9, "b": 0.0, "c": 0.1})
        {'b'}
    """
    return {name for name, share in importance.items() if share == 0}


def without_influence(predictor: Predictor, columns: Columns) -> set[str]:
    """The inputs that may change places among rows without changing one prediction: for a version
    that has no importances.

    It predicts once, no more rows than it is given.
    """
    names = predictor.signature.names
    there = len(next(iter(columns.values()))) if columns else 0
    rows = min(there, PREDICTED) // (len(names) + 1)
    if rows < ENOUGH:
        return set()
    chosen = np.linspace(0, there - 1, rows).astype(np.int64)
    some = {name: columns[name][chosen] for name in names}
    repeated = {name: np.tile(values, len(names) + 1) for name, values in some.items()}
    for number, name in enumerate(names, 1):
        moved = np.roll(some[name], rows // 2)
        repeated[name][number * rows : (number + 1) * rows] = moved
    found = predictor.predict(repeated).reshape(-1, rows)
    return {n for n, same in zip(names, (found[1:] == found[0]).all(axis=1), strict=True) if same}
