"""The values of a feature set one by one: what each is defined by, and sets of fewer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from mainspring.expressions import Expr, Feature, kind_of, leaves
from mainspring.features.feature_set import FeatureSet
from mainspring.sources.source import Source


def subset(features: FeatureSet, names: Iterable[str]) -> FeatureSet:
    """Some values of a feature set, with what they are computed from and nothing else.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> from mainspring.features.feature_set import resolve
        >>> class Trip(ms.Source, url="trips.parquet"):
        ...     driver: ms.Column[str]
        ...     fare: ms.Column[float]
        ...     began_at: ms.Column[datetime] = ms.event_time()
        >>> class Driver(ms.FeatureView, key=Trip.driver):
        ...     trips = ms.count()
        >>> whole = resolve([Driver, Trip.fare], Trip, "the example", "here")
        >>> [(s.columns, s.aggregates) for s in (whole, subset(whole, ["fare"]))]
        [((Trip.driver, Trip.fare), (Driver.trips,)), ((Trip.fare,), ())]
    """
    wanted = set(names)
    values = zip(features.names, features.expressions, features.kinds, strict=True)
    kept = [value for value in values if value[0] in wanted]
    found = {id(leaf) for _, expression, _ in kept for leaf in leaves(expression)}
    aggregates = tuple(a for a in features.aggregates if id(a) in found)
    views = tuple(v for v in features.views if any(a.view is v for a in aggregates))
    keys = {key.name for view in views for key in view.__view__.keys}
    return replace(
        features,
        names=tuple(name for name, _, _ in kept),
        expressions=tuple(expression for _, expression, _ in kept),
        kinds=tuple(kind for _, _, kind in kept),
        columns=tuple(c for c in features.columns if id(c) in found or c.name in keys),
        views=views,
        aggregates=aggregates,
    )


def definition_of(value: Expr[Any]) -> dict[str, Any]:
    """Everything that a value is computed from, as JSON: what of its views and no more."""
    views = [leaf.view.__view__ for leaf in leaves(value) if isinstance(leaf, Feature)]
    return {
        "name": value.label,
        "kind": kind_of(value),
        "value": _whole(value),
        "parts": {part.label: _whole(part) for part in _parts(value)},
        "views": {v.id: [v.source.__schema__.id, *(key.name for key in v.keys)] for v in views},
    }


def _whole(value: Expr[Any]) -> Any:
    return value.body() if isinstance(value, Feature) else value.definition()


def _parts(value: Expr[Any]) -> Iterator[Expr[Any]]:
    """The named features within a value, which its own definition only names."""
    for part in (*value.args, *value.settings.values()):
        if isinstance(part, Expr):
            if isinstance(part, Feature) and part.name:
                yield part
            yield from _parts(part)


def sources_of(value: Expr[Any]) -> set[type[Source]]:
    """The sources whose history a value depends on, other than its own request's."""
    found = (leaf.view.__view__.source for leaf in leaves(value) if isinstance(leaf, Feature))
    return set(found)
