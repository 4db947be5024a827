"""Describing: what each feature is made of, how fresh it is, how often NULL, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainspring.engines.base import Engine, Relation
from mainspring.expressions import Feature, Wide, kind_of
from mainspring.features import timing
from mainspring.features.cost import Kept, before, kept, kept_by_part
from mainspring.features.description import (
    DescribedFeature,
    DescribedSet,
    DescribedValue,
    DescribedView,
    Description,
    made,
    origins,
    views_of,
)
from mainspring.features.entity import Entity
from mainspring.features.feature_set import FeatureSet, resolve
from mainspring.features.kernel import is_known
from mainspring.features.online import OnlineFeatures
from mainspring.features.point_in_time import TableOf, event_of, point_in_time, quoted, reach
from mainspring.features.stretch import AT
from mainspring.features.view import FeatureView, View
from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL
from mainspring.vectors import Vector, from_arrow

REQUESTS = 10_000
"""The last requests, whose values say how often each is NULL."""

ENTITIES = 1_000
"""Entities whose states are looked at in the online store."""


@dataclass(frozen=True, slots=True)
class Describing:
    """What descriptions are made from.

    Attributes:
        online: the stored features; None if they are not built.
        now: the time on the system's clock.
    """

    tables: TableOf
    engine: Engine
    online: OnlineFeatures | None
    now: int

    def all(
        self,
        views: Iterable[type[FeatureView]],
        sets: Mapping[str, FeatureSet],
        told: Callable[[str], None] = lambda name: None,
    ) -> Description:
        """Views, and the sets that list them.

        Args:
            told: is told the name of what is looked at.
        """
        samples: list[_Sample] = []
        for name, features in sets.items():
            told(name)
            samples.append(self._sample(name, features))
        found: list[DescribedView] = []
        for view in views:
            told(view.__view__.id)
            mine = next((s for s in samples if view in s.features.views), None)
            found.append(self._view(view, mine))
        applied = None if self.online is None else self.online.applied().arrival
        return Description(self.now, applied, found, [self._set(s) for s in samples])

    def _sample(self, name: str, features: FeatureSet) -> _Sample:
        """The last requests, and all values of their views."""
        whole, source = _with_views(features), features.request
        columns = "".join(f", {quoted(c.name)}" for c in whole.columns)
        query = f"""SELECT {event_of(source)} AS {AT}{columns} FROM rows
            WHERE {before(source, self.now)} ORDER BY {AT} DESC LIMIT {REQUESTS}"""
        rows = self.engine.select(query, rows=self.tables(source).rows)
        requests = {c.name: from_arrow(rows[c.name], kind_of(c)) for c in whole.columns}
        at = from_arrow(rows[AT], "time")
        values = point_in_time(whole, requests, at, self.tables, self.engine)
        shares = {n: None if not len(at) else _null_share(v) for n, v in values.items()}
        return _Sample(name, features, requests, len(at), shares)

    def _view(self, view: type[FeatureView], sample: _Sample | None) -> DescribedView:
        about, entity = view.__view__, Entity.of(view)
        newest, since = self._newest(about)
        keeps, measured = self._kept(entity, since) if newest is not None else (None, False)
        took = None if sample is None else self._offline(about, sample)
        features = [
            DescribedFeature(
                name,
                made(feature),
                repr(feature.settings["window"]) if "window" in feature.settings else "",
                origins(feature),
                None if sample is None else sample.null_share(feature),
                None if took is None else took.of[name],
                None if keeps is None else keeps.of[name],
            )
            for name, feature in about.features.items()
        ]
        return DescribedView(
            about.id,
            about.source.__schema__.id,
            [key.name for key in about.keys],
            features,
            newest,
            None if newest is None else self.now - newest,
            None if newest is None else self._entities(about, since),
            None if keeps is None else keeps.bytes,
            measured,
            self._online(view, sample),
        )

    def _set(self, sample: _Sample) -> DescribedSet:
        features = sample.features
        values = [
            DescribedValue(name, made(value), origins(value), sample.shares[name])
            for name, value in zip(features.names, features.expressions, strict=True)
        ]
        took = None
        if self.online is not None and features.views:
            took = timing.online(self.online, features, sample.requests, self.now)
        return DescribedSet(sample.name, features.request.__schema__.id, values, sample.rows, took)

    def _newest(self, view: View) -> tuple[int | None, int]:
        """The event time of the newest row, and when all that there is had become visible."""
        event = event_of(view.source)
        query = f"""SELECT max({event}) AS newest, max(greatest({event}, {ARRIVAL})) AS visible
            FROM rows WHERE {before(view.source, self.now)}"""
        (found,) = self.engine.select(query, rows=self._rows(view)).to_pylist()
        return found["newest"], 0 if found["visible"] is None else found["visible"] + 1

    def _rows(self, view: View) -> Relation:
        return self.tables(view.source).rows

    def _entities(self, view: View, at: int) -> int:
        query = f"SELECT count(*) AS n FROM ({_keys(view, at)})"
        return int(self.engine.select(query, rows=self._rows(view))["n"][0].as_py())

    def _kept(self, entity: Entity, at: int) -> tuple[Kept | None, bool]:
        """What is kept of an entity, and whether it is so in the store."""
        view, table = entity.view, self.tables(entity.view.source)
        if self.online is not None:
            keys = ", ".join(quoted(key.name) for key in view.keys)
            query = f"{_keys(view, at)} ORDER BY hash({keys}), {keys} LIMIT {ENTITIES}"
            rows = self.engine.select(query, rows=table.rows)
            columns = [from_arrow(rows[key.name], kind_of(key)) for key in view.keys]
            found = self.online.store.read(entity.keys(columns))
            packed = [data for data in found if data is not None]
            if packed:
                return kept(entity, entity.packing.unpack(packed), packed), True
        computed = kept_by_part(entity, table, self.engine, at)
        return (computed if computed.entities else None), False

    def _offline(self, view: View, sample: _Sample) -> timing.Taken | None:
        requests = self.tables(sample.features.request)
        return timing.offline(view, self.tables(view.source), requests, self.engine, self.now)

    def _online(self, view: type[FeatureView], sample: _Sample | None) -> float | None:
        if self.online is None or sample is None:
            return None
        own = of_view(view, sample.features.request)
        return timing.online(self.online, own, sample.requests, self.now) if own.names else None


@dataclass(frozen=True, slots=True)
class _Sample:
    """The last requests of a set, and how often each value of it and of its views is NULL."""

    name: str
    features: FeatureSet
    requests: Mapping[str, Vector]
    rows: int
    shares: Mapping[str, float | None]

    def null_share(self, feature: Feature[Any]) -> float | None:
        """How often a feature is NULL; of a wide one, its first value."""
        return self.shares.get(_each(feature)[0].label)


def _keys(view: View, at: int) -> str:
    """The query for the entities that windows reach at a time."""
    keys = ", ".join(quoted(key.name) for key in view.keys)
    seen = f"{reach(view, view.aggregates, at)} AND {before(view.source, at)}"
    return f"SELECT DISTINCT {keys} FROM rows WHERE {seen}"


def _with_views(features: FeatureSet) -> FeatureSet:
    """A feature set with all features of its views that its requests have the keys of."""
    values = dict(zip(features.names, features.expressions, strict=True))
    known = set(features.views)
    for view in features.views:
        for feature in view.__view__.features.values():
            if views_of(feature) <= known:
                values = {value.label: value for value in _each(feature)} | values
    at = features.views[0].__view__.at if features.views else ""
    return resolve(list(values.values()), features.request, "a description", at)


def of_view(view: type[FeatureView], request: type[Source]) -> FeatureSet:
    """The features of a view that need no other view, as a set by itself."""
    about = view.__view__
    mine = [f for f in about.features.values() if views_of(f) == {view}]
    return resolve(mine, request, about.id, about.at)


def _each(feature: Feature[Any]) -> Sequence[Feature[Any]]:
    return [feature[n] for n in range(len(feature))] if isinstance(feature, Wide) else [feature]


def _null_share(values: Vector) -> float:
    return float(1 - np.mean(is_known(values)))
