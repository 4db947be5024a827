"""Lookup: how the values of one feature set are read from the states of its entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainspring.clock import NEVER
from mainspring.expressions import Expr, Item, kind_of
from mainspring.features.entity import Entity
from mainspring.features.feature_set import FeatureSet
from mainspring.features.statistic import since
from mainspring.features.tiles import Reading
from mainspring.sources.source import Column
from mainspring.vectors import Vector, evaluate_all

Packed = Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands in the values of all entities, one entity after the other."""

    label: str
    at: int
    reading: Reading
    entity: int

    @property
    def columns(self) -> slice:
        return slice(self.at, self.at + self.reading.width)


@dataclass(frozen=True, slots=True)
class Lookup:
    """The values of a feature set, as its entities keep them.

    Attributes:
        direct: features that stand in the values as they are, each with its column.
        raw: features that are columns of the request.
        computed: the other features, which are expressions of values and columns.
        places: the values that these need, and those that are text or times.
        elapsed: the columns of values that are the time of the last event.
    """

    features: FeatureSet
    entities: Sequence[Entity]
    direct: Sequence[tuple[str, int]]
    raw: Sequence[tuple[str, str]]
    computed: Mapping[str, Expr[Any]]
    places: Sequence[_Place]
    elapsed: Sequence[int]

    @classmethod
    def of(cls, features: FeatureSet, among: Mapping[str, Entity]) -> Lookup:
        """The lookup of a feature set whose views are among the entities'."""
        entities = [among[view.__view__.id] for view in features.views]
        begin, places = 0, list[_Place]()
        for number, entity in enumerate(entities):
            for r in entity.layout.readings:
                places.append(_Place(r.aggregate.label, begin + r.at, r, number))
            begin += entity.layout.values
        named = dict(zip(features.names, features.expressions, strict=True))
        direct = _direct(named, places)
        raw = {n: e.label for n, e in named.items() if isinstance(e, Column)}
        computed = {n: e for n, e in named.items() if n not in direct and n not in raw}
        elapsed = [p.at for p in places if p.reading.aggregate.op == "time_since_last"]
        needed = places if computed else []
        return cls(
            features, entities, list(direct.items()), list(raw.items()), computed, needed, elapsed
        )

    def keys(self, request: Mapping[str, Vector]) -> list[bytes]:
        """Where the states of requests are: of the first entity for each request, and so on."""
        found: list[bytes] = []
        for entity in self.entities:
            found += entity.keys([request[key.name] for key in entity.view.keys])
        return found

    def values(
        self, packed: Packed, at: int, request: Mapping[str, Vector], rows: int
    ) -> dict[str, Vector]:
        """The values of the features at a time, by name.

        Args:
            packed: the states at `keys`.
            rows: how many requests there are.
        """
        if rows == 1:
            pairs = zip(self.entities, packed, strict=True)
            data = bytearray().join([e.current(state, at) for e, state in pairs])
            words = np.frombuffer(data, np.int64).reshape(1, -1)
        else:
            words = np.concatenate(
                [
                    entity.currents(packed[n * rows : (n + 1) * rows], at)
                    for n, entity in enumerate(self.entities)
                ]
                or [np.empty((rows, 0), np.int64)],
                axis=1,
            )
        floats = words.view(np.float64)
        for column in self.elapsed:
            if rows == 1:  # without what numpy costs on one number
                floats[0, column] = (at - float(floats[0, column])) / 1e6
            else:
                floats[:, column] = since(floats[:, column], at)
        found = {name: floats[:, column] for name, column in self.direct}
        for name, label in self.raw:
            found[name] = request[label]
        if self.computed:
            known = dict(request)
            for p in self.places:
                mine = packed[p.entity * rows : (p.entity + 1) * rows]
                known[p.label] = self._vector(p, words, mine)
            evaluated = evaluate_all(list(self.computed.values()), known, rows)
            found |= zip(self.computed, evaluated, strict=True)
        return found

    def _vector(self, place: _Place, words: Vector, packed: Packed) -> Vector:
        """An aggregate as expressions take it."""
        found: Vector = words[:, place.columns if place.reading.width > 1 else place.at]
        if place.reading.is_text:
            return self.entities[place.entity].named(found, packed)
        if kind_of(place.reading.aggregate) == "time":
            return np.nan_to_num(found.view(np.float64), nan=NEVER).astype(np.int64)
        return found.view(np.float64)


def _direct(named: Mapping[str, Expr[Any]], places: Sequence[_Place]) -> dict[str, int]:
    """The features that are numbers among the values, and the column of each."""
    columns = {p.label: p.at for p in places if not p.reading.is_text}
    found: dict[str, int] = {}
    for name, expression in named.items():
        whole = expression.args[0] if isinstance(expression, Item) else expression
        if whole.label in columns and kind_of(expression) in ("number", "flag"):
            found[name] = columns[whole.label] + int(expression.settings.get("index", 0))
    return found
