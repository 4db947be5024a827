"""Building a training set: matured labels with the features of their requests, split in time, under a content hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainspring.engines.base import Engine
from mainspring.errors import NoTrainingRows
from mainspring.features.backfill import Backfill, Rows
from mainspring.sources.source import Source
from mainspring.sources.table import Table
from mainspring.training.outcomes import Outcomes, outcomes
from mainspring.training.training_set import TrainingSet
from mainspring.vectors import Vector
from mainspring.windows import microseconds


@dataclass(frozen=True, slots=True)
class Built:
    """The rows of a training set as of one time.

    Attributes:
        rows: the requests with their features, in order of time: those to fit on, then those to judge on.
        labels: float64, one per row.
        fit: how many rows are for fitting; the others are for judging.
        counts: how many requests of the range were labelled, pending and censored.
        content_hash: the same hash means the same rows.
    """

    rows: Rows
    labels: Vector
    fit: int
    counts: dict[str, int]
    content_hash: str


def build(
    training_set: TrainingSet,
    now: int,
    backfill: Backfill,
    tables: Callable[[type[Source]], Table],
    engine: Engine,
) -> Built:
    """The rows of a training set as they were known at `now`.

    Only requests whose maturity has passed are taken, so that quick outcomes are not over-represented. The newest `judge` of them are for
    judging; between fit and judge rows lies a gap of the maturity.

    Raises:
        NoTrainingRows: no request of the lookback has matured.
    """
    label = training_set.label
    start, end = now - microseconds(training_set.lookback), now - label.maturity
    known = outcomes(label, start, end, now, tables, engine)
    rows = backfill.read(start, end)
    labels = labels_of(rows, known)
    judge_from = end - microseconds(training_set.judge)
    fits = (rows.at < judge_from - label.maturity) & ~np.isnan(labels)
    judges = (rows.at >= judge_from) & ~np.isnan(labels)
    if not fits.any() or not judges.any():
        raise NoTrainingRows(
            training_set=training_set.name, label=label.name, at=training_set.at, **known.counts()
        )
    chosen = np.concatenate([np.flatnonzero(fits), np.flatnonzero(judges)])
    taken = rows.take(chosen)
    return Built(
        taken,
        labels[chosen],
        int(fits.sum()),
        known.counts(),
        _content_hash(training_set, taken, labels[chosen]),
    )


def labels_of(rows: Rows, known: Outcomes) -> Vector:
    """The label of each row, NaN where it is not known. Both sides are in order of (time, key)."""
    value = {
        key: v
        for key, v in zip(zip(known.at.tolist(), known.ids), known.value.tolist(), strict=True)
    }
    pairs = zip(rows.at.tolist(), rows.ids, strict=True)
    return np.array([value.get(pair, np.nan) for pair in pairs], np.float64)


def _content_hash(training_set: TrainingSet, rows: Rows, labels: Vector) -> str:
    definition: dict[str, Any] = {
        **training_set.definition(),
        **training_set.feature_set.definition(),
    }
    digest = hashlib.sha256(json.dumps(definition, sort_keys=True).encode())
    for vector in (rows.at, labels, *rows.columns.values()):
        digest.update(
            "\0".join(map(str, vector)).encode() if vector.dtype == object else vector.tobytes()
        )
    digest.update("\0".join(rows.ids).encode())
    return digest.hexdigest()[:32]
