"""Rows to learn from."""

from __future__ import annotations

from typing import Any

import numpy as np

from mainspring.clock import NEVER
from mainspring.models.ladder import Rows
from mainspring.models.preprocess import Columns
from mainspring.models.signature import Input, Output, Signature

INPUTS = (
    Input("wind", "number"),
    Input("rain", "number"),
    Input("asked_at", "number"),
    Input("carrier", "category"),
)


def features(rows: int, seed: int = 0) -> dict[str, Any]:
    """Two numbers, one with gaps, a time, and a category with NULL and a long tail."""
    random = np.random.default_rng(seed)
    rain = np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows))
    asked_at = np.where(random.random(rows) < 0.1, NEVER, 10**15 + np.arange(rows))
    carriers = np.array(["AA", "UA", "B6", "OO", None], dtype=object)
    carrier = carriers[random.choice(5, rows, p=[0.5, 0.3, 0.15, 0.004, 0.046])]
    wind = random.normal(size=rows)
    return {"wind": wind, "rain": rain, "asked_at": asked_at.astype(np.int64), "carrier": carrier}


def outcome(columns: Columns, seed: int = 1) -> Any:
    """Yes more often in wind, and for UA."""
    score = columns["wind"] + (columns["carrier"] == "UA") - 1.0
    noise = np.random.default_rng(seed).logistic(size=len(score))
    return (score + noise > 0).astype(np.float64)


def learnable(rows: int) -> Rows:
    columns = features(rows)
    return Rows(columns, outcome(columns))


def signature(output: Output = "probability") -> Signature:
    return Signature(INPUTS, output)
