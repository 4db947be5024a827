"""Audit: logged answers against what history gives for the same requests, with what differs
explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mainspring.features.backfill import Backfill, Rows
from mainspring.features.explain import Explanation, explain
from mainspring.features.feature_set import FeatureSet
from mainspring.features.key_rows import Evidence
from mainspring.features.parity import Compared, compare
from mainspring.features.point_in_time import event_of, quoted
from mainspring.features.statistic import Flags
from mainspring.sources.table import OFFSET

EXPLAINED = 5
"""Requests that are explained, at most: each feature by the first in which it differs."""

AUDITED, SKEWED = "audited/", "skewed/"
"""How the counters of answers compared, and of values that differ, begin: the endpoint follows, and
of the latter the feature."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How served features compare with those computed anew.

    Attributes:
        requests: how many answers were compared; `missing` of them had no request row to recompute
            from.
        features: how each feature compares.
        first: the key of the first request that differs; None if none does.
        explanations: why each feature that differs does, in the first request in which it does, in
            the order of the requests.
    """

    requests: int
    missing: int
    features: Sequence[Compared]
    first: str | None
    explanations: Sequence[Explanation]


def audited(
    features: FeatureSet,
    identity: str,
    served: Rows,
    past: Backfill,
    evidence: Callable[[], Evidence],
) -> Parity:
    """Computes the features of answers anew and compares them with what serving used.

    An answer to a request that was asked again has no row of its own, as history has a unique key
    once: if values differ, it is missing.

    Args:
        identity: the column that names a request.
        served: the features that answers were made from.
        past: computes them anew.
        evidence: gives where to look for why some differ; it is called if any do.
    """
    left, right = _paired(served, past.compute(served.ids, served.at))
    missing = len(served) - len(left)
    found = compare(features, left.columns, right.columns)
    if not any(c.differ for c in found):
        return Parity(len(left), missing, found, None, [])
    where = evidence()
    own = _asked_first(features, identity, left, where)
    left, right, missing = left.take(own), right.take(own), missing + int((~own).sum())
    found = compare(features, left.columns, right.columns)
    firsts = sorted({c.first for c in found if c.differ})
    explained: list[Explanation] = []
    for number in firsts[:EXPLAINED]:
        names = [c.name for c in found if c.first == number]
        explained += explain(features, identity, left, number, names, where)
    first = str(left.ids[firsts[0]]) if firsts else None
    return Parity(len(left), missing, found, first, explained)


def _paired(served: Rows, offline: Rows) -> tuple[Rows, Rows]:
    """The answers that were computed anew, and what came of that, in the same order."""
    position = {pair: i for i, pair in enumerate(zip(offline.ids, offline.at, strict=True))}
    pairs = zip(served.ids, served.at, strict=True)
    matched = np.array([position.get(pair, -1) for pair in pairs], np.int64)
    return served.take(matched >= 0), offline.take(matched[matched >= 0])


def _asked_first(features: FeatureSet, identity: str, answers: Rows, evidence: Evidence) -> Flags:
    """Which answers are those to the request that history has under its key."""
    source = features.request
    query = f"""SELECT CAST({quoted(identity)} AS VARCHAR) AS id,
            arg_min({event_of(source)}, {OFFSET}) AS at FROM requests
        WHERE CAST({quoted(identity)} AS VARCHAR) IN (SELECT id FROM asked) GROUP BY ALL"""
    asked = pa.table({"id": pa.array(answers.ids, pa.string())})
    rows = evidence.tables(source).rows
    found = evidence.engine.select(query, requests=rows, asked=asked).to_pylist()
    first = {row["id"]: row["at"] for row in found}
    own = [first[id] == at for id, at in zip(answers.ids, answers.at.tolist(), strict=True)]
    return np.array(own, bool)
