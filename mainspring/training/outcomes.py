"""The label join: what became of each request, as it was known at a time.

Always `requests = labelled + pending + censored`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mainspring.clock import NEVER
from mainspring.engines.base import Engine
from mainspring.expressions import columns_of, kind_of
from mainspring.features.point_in_time import event_of, quoted
from mainspring.sources.source import Column, Source
from mainspring.sources.table import ARRIVAL, OFFSET, Table
from mainspring.sources.versions import FOREVER, UNTIL, versions
from mainspring.training.label import Label
from mainspring.vectors import Vector, evaluate, from_arrow

ID, AT, KNOWN, TAKEN_BACK = "__id", "__at", "__known", "__taken_back"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of requests, one element per request.

    Attributes:
        ids: the request's key, as text.
        at: the request's time, in microseconds.
        value: the label, 0 or 1 for a flag; NaN while pending, or where censored.
        known_at: since when the label could be known as it is; for a request that is pending, when
            it will have matured.
        censored: whether the request matured without an outcome and without a default.

    Example:
        >>> ids, at = np.array(["a", "b"], object), np.array([1, 2])
        >>> known = Outcomes(ids, at, np.array([1.0, np.nan]), at + 5, np.array([False, False]))
        >>> known.counts()
        {'labelled': 1, 'pending': 1, 'censored': 0}
        >>> known.labels(np.array(["b", "a", "z"], object), np.array([2, 1, 1]))
        array([nan,  1., nan])
    """

    ids: Vector
    at: Vector
    value: Vector
    known_at: Vector
    censored: Vector

    def __len__(self) -> int:
        return len(self.at)

    @property
    def labelled(self) -> Vector:
        """Whether the label is known."""
        return cast(Vector, ~np.isnan(self.value))

    def counts(self) -> dict[str, int]:
        """How many requests are labelled, pending and censored."""
        labelled, censored = int(self.labelled.sum()), int(self.censored.sum())
        pending = len(self) - labelled - censored
        return {"labelled": labelled, "pending": pending, "censored": censored}

    def labels(self, ids: Vector, at: Vector) -> Vector:
        """The labels of requests by key and time, NaN where there is none."""
        pairs = zip(self.ids, self.at.tolist(), strict=True)
        value: dict[tuple[str, int], float] = dict(zip(pairs, self.value.tolist(), strict=True))
        asked = zip(ids, at.tolist(), strict=True)
        return np.array([value.get(pair, np.nan) for pair in asked], np.float64)


def outcomes(
    label: Label[Any],
    start: int,
    end: int,
    now: int,
    tables: Callable[[type[Source]], Table],
    engine: Engine,
) -> Outcomes:
    """What was known at `now` of the requests with `start <= time < end`, in order of time.

    An outcome counts if its event lies within the maturity of its request, and from its arrival on;
    of several, the one that arrived last counts: it corrects the others. Of a change feed, the
    version that stands at `now` counts; a request whose outcome was taken away is one without.
    Nothing that arrived at `now` or later is looked at.
    """
    requests, results = tables(label.request).rows, tables(label.outcome).rows
    found = engine.select(_query(label, start, end, now), requests=requests, results=results)
    at, came = from_arrow(found[AT], "time"), np.asarray(found[KNOWN].is_valid())
    settled = at + label.settled_after
    is_over = came | (settled < now)
    missing = np.nan if label.missing is None else label.missing
    value = np.where(came, _said(label, found), np.where(is_over, missing, np.nan))
    known_at = np.where(came, from_arrow(found[KNOWN], "time"), settled)
    known_at = np.maximum(known_at, np.asarray(found[TAKEN_BACK].fill_null(NEVER)))
    ids = from_arrow(found[ID], "text")
    return Outcomes(ids, at, value, known_at, is_over & np.isnan(value))


def _query(label: Label[Any], start: int, end: int, now: int) -> str:
    asked, came = event_of(label.request), event_of(label.outcome)
    results = versions(label.outcome, f"{ARRIVAL} < {now}", "results")
    names = sorted({c.name for c in columns_of(label.value) if isinstance(c, Column)})
    said = "".join(f", r.{quoted(name)}" for name in names)
    return f"""
        WITH asked AS (
            SELECT {quoted(label.of.name)} AS {ID}, {asked} AS {AT} FROM requests
            WHERE {asked} >= {start} AND {asked} < {end} AND greatest({asked}, {ARRIVAL}) < {now}
        ), came AS (
            SELECT *, {came} AS __event, greatest({came}, {ARRIVAL}) AS __seen,
                CASE WHEN {UNTIL} = {FOREVER} THEN __seen END AS {KNOWN},
                CASE WHEN {UNTIL} < {FOREVER} THEN {UNTIL} END AS {TAKEN_BACK}
            FROM {results} WHERE {came} >= {start} AND __seen < least({now}, {UNTIL})
        )
        SELECT CAST(a.{ID} AS VARCHAR) AS {ID}, a.{AT}, r.{KNOWN}{said},
            max(r.{TAKEN_BACK}) OVER (PARTITION BY a.{ID}, a.{AT}) AS {TAKEN_BACK}
        FROM asked a LEFT JOIN came r
            ON r.{quoted(label.when.name)} = a.{ID}
            AND r.__event >= a.{AT} AND r.__event <= a.{AT} + {label.maturity}
        QUALIFY row_number() OVER (
            PARTITION BY a.{ID}, a.{AT} ORDER BY r.{KNOWN} DESC NULLS LAST, r.{OFFSET} DESC) = 1
        ORDER BY a.{AT}, 1"""


def _said(label: Label[Any], found: pa.Table) -> Vector:
    """What each outcome says; 1 where the label is that there is one."""
    if label.value is None:
        return np.ones(found.num_rows)
    columns = label.outcome.__schema__.columns
    names = [n for n in found.column_names if n in columns]
    values = {n: from_arrow(found[n], kind_of(columns[n])) for n in names}
    return evaluate(label.value, values, found.num_rows)
