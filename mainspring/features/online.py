"""Online features: what requests read and events write, under the semantics of the offline join.

The applied log offset and the last applied arrival stand in the same transaction as the tiles, so
a snapshot always says how far it knows, and a batch that is applied twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from mainspring.clock import NEVER
from mainspring.errors import NotMaterialised
from mainspring.expressions import kind_of
from mainspring.features.feature_set import FeatureSet
from mainspring.features.measure import measured
from mainspring.features.tiles import FORMAT, Layout, Row, State, decode, encode
from mainspring.features.view import FeatureView
from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL, OFFSET
from mainspring.stores.base import OnlineStore
from mainspring.vectors import Vector, evaluate_all, from_arrow, from_values

APPLIED = b"\0applied"


class Applied(msgspec.Struct, array_like=True, frozen=True):
    """How far a snapshot knows.

    Attributes:
        offset: the log's next offset.
        arrival: every row that arrived until then is in the tiles, and no other.
        views: the definitions that the tiles are of; empty while they are being built.
    """

    offset: int = 0
    arrival: int = NEVER
    views: str = ""


_DECODER = msgspec.msgpack.Decoder(Applied)


@dataclass(frozen=True, slots=True)
class OnlineFeatures:
    """The stored features of a system's views.

    Attributes:
        store: where the tiles are.
        layouts: each view's layout, by the view's name.
        views: a hash of the definitions.
    """

    store: OnlineStore
    layouts: Mapping[str, Layout]
    views: str

    @classmethod
    def of(cls, store: OnlineStore, views: Iterable[type[FeatureView]]) -> OnlineFeatures:
        """The stored features of views in a store."""
        layouts = {view.__view__.id: Layout.of(view) for view in views}
        definitions = {id: layout.view.__view__.definition() for id, layout in layouts.items()}
        text = json.dumps([FORMAT, definitions], sort_keys=True)
        return cls(store, layouts, hashlib.sha256(text.encode()).hexdigest()[:16])

    @property
    def materialised(self) -> bool:
        """Whether the store holds these views, whole: if not, `materialise` builds them."""
        (data,) = self.store.read([APPLIED])
        return data is not None and _DECODER.decode(data).views == self.views

    def applied(self) -> Applied:
        """How far the store knows now.

        Raises:
            NotMaterialised: it holds other views, or half of them.
        """
        return self._applied(*self.store.read([APPLIED]))

    def _applied(self, header: bytes | None) -> Applied:
        if header is None:
            return Applied(views=self.views)
        applied = _DECODER.decode(header)
        if applied.views != self.views:
            raise NotMaterialised(found=applied.views or "half-built", wanted=self.views)
        return applied

    def clear(self) -> None:
        """Takes everything out; until a header is written, the store says that it is half-built."""
        self.store.clear({APPLIED: encode(Applied())})

    def header(self, upto: Applied) -> dict[bytes, bytes]:
        """What says in the store that it holds these views whole, as far as `upto`."""
        return {APPLIED: encode(Applied(upto.offset, upto.arrival, self.views))}

    def first_offsets(self, identities: Sequence[bytes]) -> dict[bytes, int]:
        """The offset in its source's table at which each unique key arrived first, if it has."""
        found = zip(identities, self.store.read(identities), strict=True)
        return {key: int.from_bytes(data) for key, data in found if data is not None}

    def apply(
        self,
        events: Iterable[tuple[type[Source], pa.Table]],
        upto: Applied,
        identities: Mapping[bytes, int] | None = None,
    ) -> None:
        """Takes a batch of events into the tiles, in one transaction with how far that is.

        Args:
            events: rows as in the source's table, with `__offset` and `__arrival`.
            upto: what is known afterwards. A batch that was applied before is left alone.
            identities: the unique keys that arrive first with the batch, and their offsets.
        """
        if upto.offset <= self.applied().offset:
            return
        rows = self._rows_by_key(events)
        before = self.store.read(list(rows))
        remembered = {key: offset.to_bytes(8) for key, offset in (identities or {}).items()}
        changed = self.header(upto) | remembered
        for (key, (layout, mine)), data in zip(rows.items(), before, strict=True):
            state = layout.empty() if data is None else decode(data)
            layout.apply(state, mine, upto.arrival + 1)
            changed[key] = encode(state)
        self.store.write(changed)

    def _rows_by_key(
        self, events: Iterable[tuple[type[Source], pa.Table]]
    ) -> dict[bytes, tuple[Layout, list[Row]]]:
        found: dict[bytes, tuple[Layout, list[Row]]] = {}
        for source, rows in events:
            for layout in self.layouts.values():
                if layout.view.__view__.source is source:
                    for key, row in _rows(layout, rows):
                        found.setdefault(key, (layout, []))[1].append(row)
        return found

    def read(
        self, features: FeatureSet, request: Mapping[str, Vector], known_at: int
    ) -> tuple[int, dict[str, Vector]]:
        """The values of a feature set for one request, and the time at which they hold.

        That time is `known_at`, or just after the newest batch in the snapshot if that is later:
        the values are exactly those of the rows visible before it.

        Args:
            request: the request's columns, each a vector of length 1.
            known_at: a time before which no row will arrive any more.

        Raises:
            NotMaterialised: the store holds other views, or half of them.
        """
        layouts = [self.layouts[view.__view__.id] for view in features.views]
        keys = [_key_of(layout, request) for layout in layouts]
        header, *states = self.store.read([APPLIED, *keys])
        at = max(known_at, self._applied(header).arrival + 1)
        values = dict(request)
        for layout, data in zip(layouts, states, strict=True):
            values |= _aggregates(layout, layout.empty() if data is None else decode(data), at)
        evaluated = evaluate_all(features.expressions, values, 1)
        return at, dict(zip(features.names, evaluated, strict=True))


def _aggregates(layout: Layout, state: State, at: int) -> dict[str, Vector]:
    found = layout.read(state, at)
    return {a.label: from_values([found[a.label]], kind_of(a)) for a in layout.aggregates}


def _rows(layout: Layout, rows: pa.Table) -> Iterator[tuple[bytes, Row]]:
    view = layout.view.__view__
    keys = from_arrow(rows[view.key.name], kind_of(view.key)).tolist()
    event = from_arrow(rows[view.source.__schema__.event.name], "time").tolist()
    found = measured(layout.aggregates, rows)
    measures = [[None if x != x else x for x in found[m].tolist()] for m in layout.measures]
    columns = (rows[ARRIVAL].to_pylist(), rows[OFFSET].to_pylist(), *measures)
    for key, at, arrival, offset, *values in zip(keys, event, *columns, strict=True):
        if not is_missing(key):
            yield key_bytes(view.id, key), Row(at, max(at, arrival), offset, values)


def _key_of(layout: Layout, request: Mapping[str, Vector]) -> bytes:
    """Where a request's key is; for a missing one, where nothing is."""
    view = layout.view.__view__
    (key,) = request[view.key.name].tolist()
    return b"\0nothing" if is_missing(key) else key_bytes(view.id, key)


def is_missing(key: object) -> bool:
    """Whether an element of a vector is NULL."""
    return key is None or key != key or key == NEVER


def key_bytes(view: str, key: object) -> bytes:
    """The store's key of an entity: readable, and hashed where it would be too long.

    Example:
        >>> key_bytes("Airport", "JFK"), key_bytes("Card", 12.0)
        (b'Airport\\x00JFK', b'Card\\x0012')
    """
    text = int(key) if isinstance(key, (bool, float)) and key == key // 1 else key
    found = f"{view}\0{text}".encode()
    return found if len(found) <= 400 else found[:300] + hashlib.sha256(found).hexdigest().encode()


def identity_key(source: type[Source], key: object) -> bytes:
    """The store's key that remembers a unique key of a source."""
    return key_bytes(f"\0{source.__schema__.id}", key)
