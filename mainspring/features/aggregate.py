"""Aggregates over the rows of one entity key: what a feature view is made of.

Each takes `window=` (how far back, open at the prediction time; none means all history), `hop=`
(the step its start snaps to; None for an exact sliding window) and `where=` (a condition on the
row). NULL is skipped. An empty window gives NULL, and 0 for counts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, TypeVar

from mainspring.expressions import Expr, Feature, Number
from mainspring.windows import Window

T = TypeVar("T")

Span = timedelta | None
Hop = timedelta | None | Literal["default"]
Condition = Expr[bool | None] | None


def _aggregate(
    kind: str, of: Expr[Any] | None, window: Span, hop: Hop, where: Condition
) -> Feature[Any]:
    args = () if of is None else (of,)
    return Feature(kind, args, window=Window.of(window, hop), where=where)


def count(
    of: Expr[Any] | None = None,
    *,
    window: Span = None,
    hop: Hop = "default",
    where: Condition = None,
) -> Feature[int]:
    """How many rows; with a column, how many where it is not NULL.

    Example:
        >>> from mainspring import hours
        >>> count(window=hours(1))
        count(window=1h hop 5m)
    """
    return _aggregate("count", of, window, hop, where)


def sum(
    of: Expr[Number], *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Feature[float]:
    """The sum of the values.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     delay: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> sum(Trip.delay, window=hours(1))
        sum(Trip.delay, window=1h hop 5m)
    """
    return _aggregate("sum", of, window, hop, where)


def mean(
    of: Expr[Number], *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Feature[float]:
    """The arithmetic mean of the values.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     delay: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> mean(Trip.delay, window=hours(1))
        mean(Trip.delay, window=1h hop 5m)
    """
    return _aggregate("mean", of, window, hop, where)


def min(
    of: Expr[Number], *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Feature[float]:
    """The least value.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     delay: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> min(Trip.delay, window=hours(1))
        min(Trip.delay, window=1h hop 5m)
    """
    return _aggregate("min", of, window, hop, where)


def max(
    of: Expr[Number], *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Feature[float]:
    """The greatest value.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     delay: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> max(Trip.delay, window=hours(1))
        max(Trip.delay, window=1h hop 5m)
    """
    return _aggregate("max", of, window, hop, where)


def std(
    of: Expr[Number], *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Feature[float]:
    """The sample standard deviation (divisor n - 1); NULL for fewer than two values.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     delay: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> std(Trip.delay, window=hours(1))
        std(Trip.delay, window=1h hop 5m)
    """
    return _aggregate("std", of, window, hop, where)


def first(
    of: Expr[T], *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Feature[T]:
    """The value of the earliest row by event time, ties by ingest offset.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     began_at: Column[datetime] = event_time()
        >>> first(Trip.driver, window=hours(1))
        first(Trip.driver, window=1h hop 5m)
    """
    return _aggregate("first", of, window, hop, where)


def last(
    of: Expr[T], *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Feature[T]:
    """The value of the latest row by event time, ties by ingest offset.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     began_at: Column[datetime] = event_time()
        >>> last(Trip.driver, window=hours(1))
        last(Trip.driver, window=1h hop 5m)
    """
    return _aggregate("last", of, window, hop, where)
