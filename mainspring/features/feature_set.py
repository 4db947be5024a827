"""`FeatureSet`: the ordered, named values that a training set or a rule reads for one request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.errors import InvalidDeclaration, OutcomeLeak
from mainspring.expressions import Expr, Feature, Kind, Wide, kind_of, leaves
from mainspring.features.view import FeatureView
from mainspring.sources.source import Column, Source

Listed = type[FeatureView] | Expr[Any]
"""What a training set lists: views, features, columns of the request, and expressions of them."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Named values of a request, in order, with what they are computed from.

    Attributes:
        request: the source whose rows are the requests.
        names: the name of each value; `expressions` and `kinds` run along.
        columns: the columns of the request that a caller must send: raw values and entity keys.
        views: the views whose stored features are read.
        aggregates: the stored features, each a leaf of some expression.
    """

    request: type[Source]
    names: tuple[str, ...]
    expressions: tuple[Expr[Any], ...]
    kinds: tuple[Kind, ...]
    columns: tuple[Column[Any], ...]
    views: tuple[type[FeatureView], ...]
    aggregates: tuple[Feature[Any], ...]

    def definition(self) -> dict[str, Any]:
        """The set as JSON: what its content hash covers."""
        return {
            "request": self.request.__schema__.id,
            "values": {n: _whole(e) for n, e in zip(self.names, self.expressions, strict=True)},
            "views": {v.__view__.id: v.__view__.definition() for v in self.views},
        }


def resolve(listed: Sequence[Listed], request: type[Source], owner: str, at: str) -> FeatureSet:
    """The feature set that `listed` means for the rows of `request`.

    Raises:
        OutcomeLeak: a value of a row other than the request's own, outside any aggregate.
        InvalidDeclaration: something that is no value, two values of one name, an aggregate outside
            any view, a view whose key the request does not carry, or requests that may be changed.
    """
    _refuse_feed(request, owner, at)
    values = [value for item in listed for value in _values(item, owner, at)]
    names = [v.label for v in values]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise InvalidDeclaration(
            subject_name=owner, problem=f"{twice!r} is listed twice", at=at, remedy="list it once"
        )
    found = _unique(leaf for v in values for leaf in leaves(v))
    raw = [leaf for leaf in found if isinstance(leaf, Column)]
    aggregates = [leaf for leaf in found if isinstance(leaf, Feature)]
    for column in raw:
        if column.source is not request:
            raise OutcomeLeak(feature=repr(column), owner=owner, request=request.__name__, at=at)
    for aggregate in aggregates:
        if aggregate.view is None:
            raise InvalidDeclaration(
                subject_name=owner,
                problem=f"{aggregate!r} is not a feature of any view",
                at=at,
                remedy="an aggregate needs a key: declare it in a FeatureView and list that",
            )
    views = _unique(a.view for a in aggregates)
    keys = [
        _request_key(view, key, request, owner, at) for view in views for key in view.__view__.keys
    ]
    return FeatureSet(
        request,
        tuple(names),
        tuple(values),
        tuple(kind_of(v) for v in values),
        tuple(_unique([*keys, *raw])),
        tuple(views),
        tuple(aggregates),
    )


def _refuse_feed(request: type[Source], owner: str, at: str) -> None:
    change = request.__schema__.change
    if change is not None:
        name = request.__name__
        raise InvalidDeclaration(
            subject_name=owner,
            problem=f"its requests are rows of {name}, which {change!r} may change afterwards",
            at=at,
            remedy=f"take the requests from a source without ms.change(), and {name} into a view",
        )


def _values(item: Listed, owner: str, at: str) -> Iterable[Expr[Any]]:
    if isinstance(item, type) and issubclass(item, FeatureView):
        return [v for f in item.__view__.features.values() for v in _values(f, owner, at)]
    if isinstance(item, Wide):
        return [item[number] for number in range(len(item))]
    if isinstance(item, Expr):
        return [item]
    raise InvalidDeclaration(
        subject_name=owner,
        problem=f"{item!r} is not a feature",
        at=at,
        remedy="list views, their features, columns of the request, and expressions of them",
    )


def _request_key(
    view: type[FeatureView], key: Column[Any], request: type[Source], owner: str, at: str
) -> Column[Any]:
    column = request.__schema__.columns.get(key.name)
    if column is None or column.type is not key.type:
        typed = f"{key.name}: Column[{key.type.__name__}]"
        raise InvalidDeclaration(
            subject_name=owner,
            problem=f"{request.__name__} has no column {typed} to look up {view.__name__} by",
            at=at,
            remedy=f"add `{typed}` to {request.__name__}, or take the view out",
        )
    return column


def _unique(items: Iterable[Any]) -> list[Any]:
    return list({id(item): item for item in items}.values())


def _whole(expression: Expr[Any]) -> Any:
    return expression.body() if isinstance(expression, Feature) else expression.definition()
