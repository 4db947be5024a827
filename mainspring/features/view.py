"""`FeatureView`: the features of one entity key, computed from one source."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from mainspring.errors import InvalidDeclaration, declared_at
from mainspring.expressions import Expr, Feature, columns_of, leaves
from mainspring.sources.source import Column, ColumnOf, Source

S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True)
class View:
    """What a view declares: `Airport.__view__`, kept apart so that any feature name is free."""

    id: str
    source: type[Source]
    keys: tuple[Column[Any], ...]
    at: str
    features: Mapping[str, Feature[Any]]
    aggregates: tuple[Feature[Any], ...]

    @property
    def key(self) -> str:
        """What the features are looked up by, as a person says it."""
        return " and ".join(key.name for key in self.keys)

    def definition(self) -> dict[str, Any]:
        """The view as JSON for the plan, with the columns that each feature comes from."""
        names = [key.name for key in self.keys]
        return {
            "source": self.source.__schema__.id,
            "key": names[0] if len(names) == 1 else names,
            "features": {name: f.body() for name, f in self.features.items()},
            "lineage": {name: lineage(f) for name, f in self.features.items()},
        }


def lineage(expression: Expr[Any]) -> list[str]:
    """The source columns that a value comes from, as `Source.column`, in alphabetical order."""
    return sorted({c.definition()["column"] for c in columns_of(expression)})


class FeatureView:
    """The features of one entity key, computed from one source.

    A request that carries a column of the key's name gets the values of that key as they were
    visible at its time.

    Args of the class statement:
        key: the column of the source that features are looked up by.
        second_key, third_key: further columns, for features of a pair or of three.
        name: its name in plans and stores, if not the class name.

    Raises:
        InvalidDeclaration: a feature over another source's column, a feature of two names, a view
            without features, a key of another source.

    Example:
        >>> from datetime import datetime
        >>> import mainspring as ms
        >>> class Departure(ms.Source, url="departures.parquet"):
        ...     origin: ms.Column[str]
        ...     delay: ms.Column[float]
        ...     departed_at: ms.Column[datetime] = ms.event_time()
        >>> class Airport(ms.FeatureView, key=Departure.origin):
        ...     delay_1h = ms.mean(Departure.delay, window=ms.hours(1))
        ...     delay_1d = ms.mean(Departure.delay, window=ms.days(1))
        ...     trend = delay_1h - delay_1d
        >>> list(Airport.__view__.features), Airport.trend
        (['delay_1h', 'delay_1d', 'trend'], Airport.trend)
    """

    __view__: ClassVar[View]

    def __init_subclass__(
        cls,
        *,
        key: ColumnOf[S, Any],
        second_key: ColumnOf[S, Any] | None = None,
        third_key: ColumnOf[S, Any] | None = None,
        name: str | None = None,
    ) -> None:
        keys = _key_columns(cls, key, second_key, third_key)
        source = keys[0].source
        features = _named_features(cls)
        aggregates = tuple(_own_aggregates(cls, features))
        cls.__view__ = View(
            name or cls.__name__,
            source,
            keys,
            declared_at(),
            types.MappingProxyType(features),
            aggregates,
        )
        for feature in features.values():
            _check_columns(cls, feature, source)


def _key_columns(cls: type, key: Any, *more: Any) -> tuple[Column[Any], ...]:
    keys = [key, *(k for k in more if k is not None)]
    for column in keys:
        if not isinstance(column, Column):
            raise _invalid(cls, f"key={column!r} is not a column", "write key=Source.column")
        if column.source is not keys[0].source:
            problem = f"{column!r} and {keys[0]!r} are columns of two sources"
            raise _invalid(cls, problem, "a view has one source: take all keys from it")
    if len({id(column) for column in keys}) < len(keys):
        raise _invalid(cls, f"{keys[0]!r} is a key twice", "name each key once")
    return tuple(keys)


def _named_features(cls: type) -> dict[str, Feature[Any]]:
    features = {n: f for n, f in vars(cls).items() if isinstance(f, Feature)}
    if not features:
        raise _invalid(cls, "it has no features", "write name = ms.mean(Source.column, window=…)")
    for name, feature in features.items():
        if (feature.view, feature.name) != (cls, name):
            problem = f"{name} is the same feature as {feature!r}"
            raise _invalid(cls, problem, "declare it anew: one feature has one name")
    return features


def _own_aggregates(cls: type, features: Mapping[str, Feature[Any]]) -> Iterator[Feature[Any]]:
    """The aggregates of a view; one that stands inside an expression is named after its feature."""
    seen: set[int] = set()
    for name, feature in features.items():
        for position, leaf in enumerate(leaves(feature)):
            if not isinstance(leaf, Feature) or id(leaf) in seen:
                continue
            if not leaf.name:
                leaf.view, leaf.name = cls, f"{name}.{position}"
            if leaf.view is cls:
                seen.add(id(leaf))
                yield leaf


def _check_columns(cls: type, feature: Feature[Any], source: type[Source]) -> None:
    for leaf in leaves(feature):
        if leaf.op == "column":
            remedy = "a view's features are aggregates: wrap it, for example ms.last(…)"
            raise _invalid(cls, f"{feature.name} uses {leaf!r} outside an aggregate", remedy)
        for found in columns_of(leaf):
            if isinstance(found, Column) and found.source is not source:
                problem = (
                    f"{feature.name} uses {found!r}, which is not a column of {source.__name__}"
                )
                raise _invalid(cls, problem, f"declare a view of {found.source.__name__} for it")


def _invalid(cls: type, problem: str, remedy: str) -> InvalidDeclaration:
    return InvalidDeclaration(
        subject_name=cls.__name__, problem=problem, at=declared_at(), remedy=remedy
    )
