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
    return f"{aggregate.args!r} where {aggregate.settings['where']!r}"


def columns_needed(aggregates: Iterable[Feature[Any]]) -> dict[str, Column[Any]]:
    """The columns that aggregates are computed from, by name."""
    found = (c for a in aggregates for c in columns_of(a))
    return {c.name: c for c in found if isinstance(c, Column)}


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
    if where is None:
        return value
    missing: Any = None if value.dtype == object else np.nan
    return np.where(evaluate(where, columns, rows) == 1, value, missing)
