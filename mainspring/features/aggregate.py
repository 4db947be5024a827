"""Aggregates over the rows of one entity key: what a feature view is made of.

Each takes `window=` (how far back, open at the prediction time; none means all history), `hop=`
(the step its start snaps to; None for an exact sliding window) and `where=` (a condition on the
row). NULL is skipped. An empty window gives NULL, and 0 for counts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, TypeVar, cast

from mainspring.errors import InvalidDeclaration, declared_at
from mainspring.expressions import Expr, Feature, Number, Wide
from mainspring.windows import Window, microseconds

T = TypeVar("T")

Span = timedelta | None
Hop = timedelta | None | Literal["default"]
Condition = Expr[bool | None] | None


_MOST = 64  # values of one wide feature


def _aggregate(
    kind: str, of: Expr[Any] | None, window: Span, hop: Hop, where: Condition, **settings: Any
) -> Feature[Any]:
    args = () if of is None else (of,)
    made = Wide if "k" in settings else Feature
    return made(kind, args, window=Window.of(window, hop), where=where, **settings)


def _between(kind: str, name: str, value: float, low: int, high: int, *, whole: bool) -> None:
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        number = "a whole number" if whole else "a number"
        raise InvalidDeclaration(
            subject_name=f"ms.{kind}",
            problem=f"{name}={value!r} is not {number} between {low} and {high}",
            at=declared_at(),
            remedy=f"write {name}= {number} from {low} to {high}",
        )


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


def latest(of: Expr[T]) -> Feature[T]:
    """The value in the latest row by event time, ties by ingest offset, NULL or not.

    For tables that change slowly: each row says what holds from its event time on. Unlike `last` it
    does not skip NULL, so the latest values of several columns are those of one row.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     fare: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> latest(Trip.driver)
        latest(Trip.driver, window=all history)
    """
    return _aggregate("latest", of, None, "default", None)


def last_k(
    of: Expr[T], k: int, *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Wide[T]:
    """The values of the last k rows, the latest first; NULL where there are fewer.

    Args:
        k: how many, up to 64. A training set lists them as `View.name.0`, `View.name.1`, …

    Raises:
        InvalidDeclaration: k is no whole number from 1 to 64.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     fare: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> last_k(Trip.driver, 2, window=hours(1))[1]
        last_k(Trip.driver, window=1h hop 5m, k=2)[1]
    """
    _between("last_k", "k", k, 1, _MOST, whole=True)
    return cast("Wide[T]", _aggregate("last_k", of, window, hop, where, k=k))


def top_k(
    of: Expr[T], k: int, *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Wide[T]:
    """The k most frequent values, the most frequent first; of equals the smaller.

    It is exact: online it costs 32 bytes for each value that is different in a hop.

    Args:
        k: how many, up to 64. A training set lists them as `View.name.0`, `View.name.1`, …

    Raises:
        InvalidDeclaration: k is no whole number from 1 to 64.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     fare: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> len(top_k(Trip.driver, 3, window=hours(1)))
        3
    """
    _between("top_k", "k", k, 1, _MOST, whole=True)
    return cast("Wide[T]", _aggregate("top_k", of, window, hop, where, k=k))


def count_distinct(
    of: Expr[Any], *, window: Span = None, hop: Hop = "default", where: Condition = None
) -> Feature[int]:
    """How many different values; exact below 1,024, from there on within about 3 %.

    Source: Bar-Yossef et al., Counting Distinct Elements in a Data Stream, 2002.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     fare: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> count_distinct(Trip.driver, window=hours(1))
        count_distinct(Trip.driver, window=1h hop 5m)
    """
    return _aggregate("count_distinct", of, window, hop, where)


def quantile(
    of: Expr[Number],
    q: float,
    *,
    window: Span = None,
    hop: Hop = "default",
    where: Condition = None,
) -> Feature[float]:
    """A value within 1 % of the one below which a share q of the values lies.

    Source: Masson et al., DDSketch: A Fast and Fully-Mergeable Quantile Sketch, 2019.

    Args:
        q: 0 for the least, 0.5 for the median, 1 for the greatest.

    Raises:
        InvalidDeclaration: q is no number from 0 to 1.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     fare: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> quantile(Trip.fare, 0.9, window=hours(1))
        quantile(Trip.fare, window=1h hop 5m, q=0.9)
    """
    _between("quantile", "q", q, 0, 1, whole=False)
    return _aggregate("quantile", of, window, hop, where, q=float(q))


def ewma(
    of: Expr[Number],
    *,
    half_life: timedelta,
    window: Span = None,
    hop: Hop = "default",
    where: Condition = None,
) -> Feature[float]:
    """The mean of the values; a row weighs half of one that is `half_life` younger.

    Raises:
        InvalidDeclaration: the half-life is no duration above zero.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     fare: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> ewma(Trip.fare, half_life=hours(6))
        ewma(Trip.fare, window=all history, half_life_us=21600000000)
    """
    length = microseconds(half_life, "half_life")
    _between("ewma", "half_life", length, 1, 2**62, whole=True)
    return _aggregate("ewma", of, window, hop, where, half_life_us=length)


def time_since_last(
    of: Expr[Any] | None = None,
    *,
    window: Span = None,
    hop: Hop = "default",
    where: Condition = None,
) -> Feature[float]:
    """Seconds from the latest row to the request.

    With a column, from the latest row where it is not NULL.

    Example:
        >>> from datetime import datetime
        >>> from mainspring import Column, Source, event_time, hours
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     fare: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> time_since_last(window=hours(1))
        time_since_last(window=1h hop 5m)
    """
    return _aggregate("time_since_last", of, window, hop, where)
