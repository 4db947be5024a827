"""The label join: what became of each request, as it was known at a time.

Always `requests = labelled + pending + censored`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mainspring.engines.base import Engine
from mainspring.expressions import columns_of, kind_of
from mainspring.sources.source import Column, Source
from mainspring.sources.table import ARRIVAL, OFFSET, Table
from mainspring.training.label import Label
from mainspring.vectors import Vector, evaluate, from_arrow


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of requests.

    Attributes:
        ids: the request's key, text, one per row.
        at: the request's time, int64 microseconds.
        value: the label, 0 or 1 for a flag; NaN while pending, or where censored.
        known_at: when the label could be known; for a request that is pending, when it will have matured.
        censored: whether the request matured without an outcome and without a default.
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
        return {
            "labelled": labelled,
            "pending": len(self) - labelled - censored,
            "censored": censored,
        }


def outcomes(
    label: Label[Any],
    start: int,
    end: int,
    now: int,
    tables: Callable[[type[Source]], Table],
    engine: Engine,
) -> Outcomes:
    """What was known at `now` of the requests with `start <= time < end`, in order of time.

    An outcome counts if its event lies within the maturity of its request, and from its arrival on; of several, the one that arrived last
    counts: it corrects the others.
    """
    requests, results = tables(label.request), tables(label.outcome)
    if not requests.files:
        return _none()
    empty = pa.table(
        {name: pa.array([], pa.string()) for name in results.schema.columns}
        | {ARRIVAL: pa.array([], pa.int64()), OFFSET: pa.array([], pa.int64())}
    )
    found = engine.select(
        _query(label, start, end, now), requests=requests.files, results=results.files or empty
    )
    return _as_outcomes(label, found, now)


def _query(label: Label[Any], start: int, end: int, now: int) -> str:
    asked, came = label.request.__schema__.event.name, label.outcome.__schema__.event.name
    needed = sorted({c.name for c in columns_of(label.value) if isinstance(c, Column)})
    columns = "".join(f', r."{name}"' for name in needed)
    return f"""
        WITH asked AS (
            SELECT "{label.of.name}" AS id, epoch_us("{asked}") AS at FROM requests
            WHERE epoch_us("{asked}") >= {start} AND epoch_us("{asked}") < {end}
              AND greatest(epoch_us("{asked}"), {ARRIVAL}) < {now}
        ), came AS (
            SELECT *, epoch_us("{came}") AS event, greatest(epoch_us("{came}"), {ARRIVAL}) AS known FROM results
            WHERE {ARRIVAL} < {now} AND epoch_us("{came}") < {now} AND epoch_us("{came}") >= {start}
        )
        SELECT CAST(a.id AS VARCHAR) AS id, a.at, r.known{columns} FROM asked a LEFT JOIN came r
            ON r."{label.when.name}" = a.id AND r.event >= a.at AND r.event <= a.at + {label.maturity}
        QUALIFY row_number() OVER (PARTITION BY a.id, a.at ORDER BY r.known DESC NULLS LAST, r.{OFFSET} DESC) = 1
        ORDER BY a.at, 1"""


def _as_outcomes(label: Label[Any], found: pa.Table, now: int) -> Outcomes:
    at = np.asarray(found["at"], np.int64)
    came = np.asarray(found["known"].is_valid())
    matured = ~came & (at + label.maturity < now)
    missing = np.nan if label.missing is None else label.missing
    value = np.where(came, _said(label, found), np.where(matured, missing, np.nan))
    known = np.where(came, np.asarray(found["known"].fill_null(0), np.int64), at + label.maturity)
    return Outcomes(
        from_arrow(found["id"], "text"), at, value, known, (came | matured) & np.isnan(value)
    )


def _said(label: Label[Any], found: pa.Table) -> Vector:
    """What each outcome says; 1 where the label is that there is one."""
    if label.value is None:
        return np.ones(found.num_rows)
    columns = label.outcome.__schema__.columns
    values = {
        n: from_arrow(found[n], kind_of(columns[n])) for n in found.column_names if n in columns
    }
    return evaluate(label.value, values, found.num_rows)


def _none() -> Outcomes:
    nothing = np.empty(0)
    times = np.empty(0, np.int64)
    return Outcomes(np.empty(0, object), times, nothing, times, np.empty(0, bool))
