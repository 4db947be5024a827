"""Measures: what aggregates take from each event, the same offline and online.

A measure is an argument and a condition. Aggregates that share it share its values.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.clock import NEVER
from mainspring.expressions import Feature, columns_of, kind_of
from mainspring.features.kernel import is_known
from mainspring.sources.source import Column
from mainspring.vectors import Vector, evaluate, from_arrow


@cache
def measure_of(aggregate: Feature[Any]) -> str:
    """The argument and the condition of an aggregate, as text that equal ones share.

    Example:
        >>> from mainspring import count, hours
        >>> measure_of(count(window=hours(1)))
        '() where None'
    """
    what = "times of " if aggregate.op == "time_since_last" else ""
    return f"{what}{aggregate.args!r} where {aggregate.settings['where']!r}"


def columns_needed(aggregates: Iterable[Feature[Any]]) -> dict[str, Column[Any]]:
    """The columns that aggregates are computed from, by name."""
    found: list[Any] = []
    for aggregate in aggregates:
        found += columns_of(aggregate)
        if aggregate.op == "time_since_last":
            found.append(event_column(aggregate))
    return {c.name: c for c in found if isinstance(c, Column)}


def event_column(aggregate: Feature[Any]) -> Column[Any]:
    """The event time of the rows that an aggregate is of."""
    column: Column[Any] = aggregate.view.__view__.source.__schema__.event
    return column


def parameter_of(aggregate: Feature[Any]) -> float | None:
    """What the kind of aggregate is told: the k, the quantile, or the half-life in microseconds."""
    told = (aggregate.settings.get(name) for name in ("k", "q", "half_life_us"))
    return next((value for value in told if value is not None), None)


def measured(aggregates: Iterable[Feature[Any]], events: pa.Table) -> dict[str, Vector]:
    """The values of events, by measure: float64 where NaN is NULL, or text where None is.

    It is NULL where the condition does not hold. A time is a float64, exact until the year 2255.
    """
    distinct = {measure_of(a): a for a in aggregates}
    columns = columns_needed(distinct.values()).items()
    values = {name: from_arrow(events[name], kind_of(column)) for name, column in columns}
    return {m: _measured(a, values, events.num_rows) for m, a in distinct.items()}


def _measured(aggregate: Feature[Any], columns: dict[str, Vector], rows: int) -> Vector:
    where = aggregate.settings["where"]
    value = evaluate(aggregate.args[0], columns, rows) if aggregate.args else np.ones(rows)
    if value.dtype == np.int64:
        value = np.where(value == NEVER, np.nan, value)
    if aggregate.op == "time_since_last":
        value = np.where(is_known(value), columns[event_column(aggregate).name], np.nan)
    if where is None:
        return value
    missing: Any = None if value.dtype == object else np.nan
    return np.where(evaluate(where, columns, rows) == 1, value, missing)
