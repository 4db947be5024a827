"""Descriptions: what is told of features, and how they are made, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.expressions import Expr, Feature, leaves
from mainspring.features.view import FeatureView, lineage


@dataclass(frozen=True, slots=True)
class DescribedFeature:
    """One feature of a view.

    Attributes:
        definition: how it is made, without its window.
        window: how far back it looks, with its hop; empty for an expression of others.
        lineage: the columns that it comes from; a source by itself where its rows are counted.
        null_share: of the last requests; of a wide feature, of its first value.
        offline_us: microseconds for one request in a training or a backfill.
        bytes: of an entity online, on average: what features share is divided among them.
    """

    name: str
    definition: str
    window: str
    lineage: Sequence[str]
    null_share: float | None
    offline_us: float | None
    bytes: float | None


@dataclass(frozen=True, slots=True)
class DescribedView:
    """One view. What is not known, as nothing is there yet, is None.

    Attributes:
        newest: the event time of its source's newest row that is visible now.
        age_us: how long ago that was, on the system's clock.
        entities: how many its windows reached when the newest row had become visible.
        bytes: of an entity online, on average; `measured` in the store, or else computed from rows
            as of then.
        online_us: microseconds of one request's read: it brings all features of the view.
    """

    name: str
    source: str
    key: Sequence[str]
    features: Sequence[DescribedFeature]
    newest: int | None
    age_us: int | None
    entities: int | None
    bytes: float | None
    measured: bool
    online_us: float | None


@dataclass(frozen=True, slots=True)
class DescribedValue:
    """One value of a training set or of an endpoint."""

    name: str
    definition: str
    lineage: Sequence[str]
    null_share: float | None


@dataclass(frozen=True, slots=True)
class DescribedSet:
    """The values of one training set, or of an endpoint that has none.

    Attributes:
        requests: the last ones, of which the shares are.
        online_us: microseconds of one request's read of all that is stored.
    """

    name: str
    request: str
    values: Sequence[DescribedValue]
    requests: int
    online_us: float | None


@dataclass(frozen=True, slots=True)
class Description:
    """What the features of a system are and cost.

    Attributes:
        at: the time on the system's clock.
        applied: until when all that arrived is in the online store; None if it is not built.
    """

    at: int
    applied: int | None
    views: Sequence[DescribedView]
    sets: Sequence[DescribedSet]


def views_of(value: Expr[Any]) -> set[type[FeatureView]]:
    """The views whose stored features a value is computed from."""
    return {leaf.view for leaf in leaves(value) if isinstance(leaf, Feature)}


def origins(value: Expr[Any]) -> list[str]:
    """The columns that a value comes from; of a source whose rows are only counted, its name.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Trip(ms.Source, url="trips.parquet"):
        ...     driver: ms.Column[str]
        ...     began_at: ms.Column[datetime] = ms.event_time()
        >>> class Driver(ms.FeatureView, key=Trip.driver):
        ...     trips = ms.count()
        >>> origins(Driver.trips)
        ['Trip']
    """
    columns = lineage(value)
    named = {column.partition(".")[0] for column in columns}
    counted = {v.__view__.source.__schema__.id for v in views_of(value)}
    return sorted({*columns, *(counted - named)})


def made(value: Expr[Any]) -> str:
    """How a value is made, without its window; of an expression, with those of its parts.

    Example:
        >>> from mainspring import count, hours
        >>> made(count(window=hours(1)))
        'count()'
    """
    if value.op == "column":
        return repr(value)
    if "window" not in value.settings:
        return _expression(value)
    told = [_setting(n, v) for n, v in value.settings.items() if n not in ("window", "where")]
    where = value.settings["where"]
    condition = [] if where is None else [f"where={where!r}"]
    return f"{value.op}({', '.join([*map(repr, value.args), *told, *condition])})"


def _expression(value: Expr[Any]) -> str:
    """An expression, where aggregates without a name of their own are written out."""
    said = Expr.__repr__(value)
    parts = [p for p in leaves(value) if isinstance(p, Feature) and "." in p.name]
    for part in sorted(parts, key=lambda p: len(p.name), reverse=True):
        said = said.replace(repr(part), Expr.__repr__(part))
    return said


def _setting(name: str, value: Any) -> str:
    return f"half_life={value / 3.6e9:g}h" if name == "half_life_us" else f"{name}={value!r}"
