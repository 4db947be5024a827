"""Building a training set: matured labels with features, split in time, under a content hash."""

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
        rows: the requests with their features, in order of time: those to fit on, then those to
            judge on.
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

    Only requests whose outcome would have come by now are taken, so that quick outcomes are not
    over-represented. The newest `judge` of them are for judging; between fit and judge rows lies a
    gap in which the outcomes of the fit rows became known.

    Raises:
        NoTrainingRows: too few requests of the lookback have matured.
    """
    label = training_set.label
    start, end = now - microseconds(training_set.lookback), now - label.settled_after
    known = outcomes(label, start, end, now, tables, engine)
    rows = backfill.read(start, end)
    labels = known.labels(rows.ids, rows.at)
    judge_from = end - microseconds(training_set.judge)
    fits = np.flatnonzero((rows.at < judge_from - label.settled_after) & ~np.isnan(labels))
    judges = np.flatnonzero((rows.at >= judge_from) & ~np.isnan(labels))
    if len(fits) < training_set.at_least or not len(judges):
        raise _too_few(training_set, len(fits), len(judges), known)
    chosen = np.concatenate([fits, judges])
    taken, hashed = rows.take(chosen), _content_hash(training_set, rows, labels, fits, judges)
    return Built(taken, labels[chosen], len(fits), known.counts(), hashed)


def _too_few(training_set: TrainingSet, fit: int, judge: int, known: Outcomes) -> NoTrainingRows:
    return NoTrainingRows(
        training_set=training_set.name,
        label=training_set.label.name,
        at=training_set.at,
        fit=fit,
        judge=judge,
        at_least=training_set.at_least,
        **known.counts(),
    )


def _content_hash(training_set: TrainingSet, rows: Rows, labels: Vector, *parts: Vector) -> str:
    """A name for the definitions and, part by part, the values of the rows."""
    definition: dict[str, Any] = {
        **training_set.definition(),
        **training_set.feature_set.definition(),
        "label": training_set.label.definition(),
    }
    digest = hashlib.sha256(json.dumps(definition, sort_keys=True).encode())
    for part in parts:
        for vector in (rows.ids, rows.at, labels, *rows.columns.values()):
            digest.update(_bytes(vector[part]))
    return digest.hexdigest()[:32]


def _bytes(vector: Vector) -> bytes:
    """A vector as bytes that say where it ends and each of its texts."""
    if vector.dtype == object:
        return json.dumps(vector.tolist()).encode()
    return len(vector).to_bytes(8) + vector.tobytes()
