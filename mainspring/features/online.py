"""Online features: what requests read and events write, in one store, under the semantics of the point-in-time join.

Every batch of events carries one arrival time, later than that of the batch before. The applied log offset and that arrival stand in the
same transaction as the tiles, so a snapshot always says how far it knows, and a batch applied twice changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from mainspring.expressions import kind_of
from mainspring.features.feature_set import FeatureSet
from mainspring.features.point_in_time import event_values
from mainspring.features.tiles import Layout, Row, decode, encode, measure_of
from mainspring.features.view import FeatureView
from mainspring.sources.source import Source
from mainspring.stores.base import OnlineStore
from mainspring.vectors import Vector, evaluate_all, from_values

APPLIED = b"\0applied"


class Applied(msgspec.Struct, array_like=True, frozen=True):
    """How far a snapshot knows: the log's next offset, and the last batch's arrival time."""

    offset: int = 0
    arrival: int = 0


@dataclass(frozen=True, slots=True)
class OnlineFeatures:
    """The stored features of a system's views.

    Attributes:
        store: where the tiles are.
        layouts: each view's layout, by the view's name.
    """

    store: OnlineStore
    layouts: Mapping[str, Layout]

    @classmethod
    def of(cls, store: OnlineStore, views: Iterable[type[FeatureView]]) -> OnlineFeatures:
        """The stored features of views in a store."""
        return cls(store, {view.__view__.id: Layout.of(view) for view in views})

    def applied(self) -> Applied:
        """How far the store knows now."""
        (data,) = self.store.read([APPLIED])
        return Applied() if data is None else msgspec.msgpack.decode(data, type=Applied)

    def first_offsets(self, identities: Sequence[bytes]) -> dict[bytes, int | None]:
        """The log offset at which each unique key arrived first; None for one that has not."""
        found = zip(identities, self.store.read(identities), strict=True)
        return {key: None if data is None else int.from_bytes(data) for key, data in found}

    def apply(
        self,
        events: Sequence[tuple[type[Source], pa.Table]],
        upto: Applied,
        identities: Sequence[tuple[bytes, int]] = (),
    ) -> None:
        """Takes a batch of events into the tiles, in one transaction with how far that is.

        Args:
            events: rows per source, with `__offset` and `__arrival`, as in the source's table.
            upto: what is known afterwards. A batch that was applied before is left alone.
            identities: the unique keys that arrive with the batch, and their log offsets.
        """
        known = self.applied()
        if known.arrival and upto.offset <= known.offset:
            return
        rows = self._rows_by_key(events)
        before = self.store.read(list(rows))
        changed = {APPLIED: encode(upto)} | {key: offset.to_bytes(8) for key, offset in identities}
        for (key, (layout, mine)), data in zip(rows.items(), before, strict=True):
            state = layout.empty() if data is None else decode(data)
            layout.apply(state, mine, upto.arrival + 1)
            changed[key] = encode(state)
        self.store.write(changed)

    def _rows_by_key(
        self, events: Sequence[tuple[type[Source], pa.Table]]
    ) -> dict[bytes, tuple[Layout, list[Row]]]:
        found: dict[bytes, tuple[Layout, list[Row]]] = {}
        for layout in self.layouts.values():
            view = layout.view.__view__
            for source, rows in events:
                if source is view.source and rows.num_rows:
                    for key, row in _rows(layout, rows):
                        found.setdefault(key, (layout, []))[1].append(row)
        return found

    def read(
        self, features: FeatureSet, request: Mapping[str, Vector], known_at: int
    ) -> tuple[int, dict[str, Vector]]:
        """The values of a feature set for one request, and the time at which they hold.

        That time is `known_at`, or just after the newest batch in the snapshot if that is later: then the values are exactly those of
        the rows visible before it.

        Args:
            request: the request's columns, each a vector of length 1.
            known_at: a time before which no batch will arrive any more.
        """
        entities = [request[v.__view__.key.name][0] for v in features.views]
        known = [(v, e) for v, e in zip(features.views, entities, strict=True) if e is not None]
        header, *states = self.store.read(
            [APPLIED, *(key_bytes(v.__view__.id, e) for v, e in known)]
        )
        data_of = dict(zip([v for v, _ in known], states, strict=True))
        applied = Applied() if header is None else msgspec.msgpack.decode(header, type=Applied)
        at = max(known_at, applied.arrival + 1)
        values = dict(request)
        for view in features.views:
            layout, data = self.layouts[view.__view__.id], data_of.get(view)
            found = layout.read(layout.empty() if data is None else decode(data), at)
            values |= {
                a.label: from_values([found[a.label]], kind_of(a)) for a in layout.aggregates
            }
        evaluated = evaluate_all(features.expressions, values, 1)
        return at, dict(zip(features.names, evaluated, strict=True))


def _rows(layout: Layout, rows: pa.Table) -> Iterable[tuple[bytes, Row]]:
    view = layout.view.__view__
    event = rows[view.source.__schema__.event.name].cast(pa.int64()).to_pylist()
    taken = event_values(view, layout.aggregates, rows)
    by_measure = {measure_of(a): taken[a.label] for a in layout.aggregates}
    measures = [[_plain(x) for x in by_measure[m].tolist()] for m in layout.measures]
    columns = zip(
        rows[view.key.name].to_pylist(),
        event,
        rows["__arrival"].to_pylist(),
        rows["__offset"].to_pylist(),
        *measures,
        strict=True,
    )
    for key, at, arrival, offset, *values in columns:
        if key is not None:
            yield key_bytes(view.id, key), Row(at, max(at, arrival), offset, values)


def _plain(value: Any) -> Any:
    return None if value != value else value


def key_bytes(view: str, key: object) -> bytes:
    """The store's key of an entity: readable, and hashed where it would be too long."""
    text = int(key) if isinstance(key, float) and key.is_integer() else key
    found = f"{view}\0{text}".encode()
    return found if len(found) <= 400 else found[:300] + hashlib.sha256(found).hexdigest().encode()
