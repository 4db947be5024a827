"""Online features: what requests read and events write, under the semantics of the offline join.

The applied log offset and the last applied arrival stand in the same transaction as the tiles, so
a snapshot always says how far it knows, and a batch that is applied twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa

from mainspring.clock import NEVER
from mainspring.errors import NotMaterialised
from mainspring.features import changes
from mainspring.features.changes import Ended, place_key, unique_values
from mainspring.features.entity import Entity, key_bytes
from mainspring.features.feature_set import FeatureSet
from mainspring.features.keys import distinct_keys
from mainspring.features.lookup import Lookup
from mainspring.features.measure import measured
from mainspring.features.packed import FORMAT
from mainspring.features.section import Section
from mainspring.features.sketch import text_codes
from mainspring.features.statistic import Ints, Values
from mainspring.features.tiles import Layout
from mainspring.features.view import FeatureView
from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL, OFFSET
from mainspring.stores.base import OnlineStore
from mainspring.vectors import Vector, from_arrow

APPLIED = b"\0applied"


class Applied(msgspec.Struct, array_like=True, frozen=True):
    """How far a snapshot knows.

    Attributes:
        offset: the log's next offset.
        arrival: every row that arrived until then is in the tiles, and no other.
        views: the definitions that the tiles are of; empty while they are being built.
        history: by source, how many rows of its files were taken in when the tiles were built.
    """

    offset: int = 0
    arrival: int = NEVER
    views: str = ""
    history: dict[str, int] = {}


_DECODER = msgspec.msgpack.Decoder(Applied)
_encode = msgspec.msgpack.Encoder().encode

Events = Iterable[tuple[type[Source], pa.Table]]
"""Rows of sources as in their tables, with `__offset` and `__arrival`, in the order of arrival."""


@dataclass(frozen=True, slots=True)
class OnlineFeatures:
    """The stored features of a system's views.

    Attributes:
        store: where the tiles are.
        entities: how each view's states are kept, by the view's name.
        views: a hash of the definitions.
    """

    store: OnlineStore
    entities: Mapping[str, Entity]
    views: str
    _lookups: dict[int, Lookup] = field(default_factory=dict[int, Lookup])

    @classmethod
    def of(cls, store: OnlineStore, views: Iterable[type[FeatureView]]) -> OnlineFeatures:
        """The stored features of views in a store."""
        entities = {view.__view__.id: Entity.of(view) for view in views}
        definitions = {id: e.view.definition() for id, e in entities.items()}
        text = json.dumps([FORMAT, definitions], sort_keys=True)
        return cls(store, entities, hashlib.sha256(text.encode()).hexdigest()[:16])

    @property
    def sources(self) -> list[type[Source]]:
        """The sources whose rows the views are of."""
        return list({e.view.source: None for e in self.entities.values()})

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
        self.store.clear({APPLIED: _encode(Applied())})

    def header(self, upto: Applied) -> dict[bytes, bytes]:
        """What says in the store that it holds these views whole, as far as `upto`."""
        return {APPLIED: _encode(Applied(upto.offset, upto.arrival, self.views, upto.history))}

    def first_offsets(self, identities: Sequence[bytes]) -> dict[bytes, int]:
        """The offset in its source's table at which each unique key arrived first, if it has."""
        found = zip(identities, self.store.read(identities), strict=True)
        return {key: int.from_bytes(data, signed=True) for key, data in found if data is not None}

    def apply(
        self, events: Events, upto: Applied, identities: Mapping[bytes, int] | None = None
    ) -> None:
        """Takes a batch of events into the tiles, in one transaction with how far that is.

        Args:
            upto: what is known afterwards. A batch that was applied before is left alone.
            identities: the unique keys that arrive first with the batch, and their offsets.
        """
        known = self.applied()
        if upto.offset <= known.offset:
            return
        upto = Applied(upto.offset, upto.arrival, history=known.history)
        first = (identities or {}).items()
        changed = {key: offset.to_bytes(8, signed=True) for key, offset in first}
        for source, rows in events:
            changed |= self._changed(source, rows, upto.arrival + 1)
        self.store.write(self.header(upto) | changed)

    def _changed(self, source: type[Source], rows: pa.Table, now: int) -> dict[bytes, bytes]:
        """The states that rows of a source change."""
        mine = [e for e in self.entities.values() if e.view.source is source]
        groups = {e.view.id: Group.of(e, rows) for e in mine}
        changed: dict[bytes, bytes] = {}
        ended: dict[str, list[Ended]] = {}
        if source.__schema__.is_feed:
            at = list({place_key(source, u): None for u in unique_values(source, rows)})
            found = zip(at, self.store.read(at), strict=True)
            known = {key: changes.decode(data) for key, data in found if data is not None}
            ended = changes.follow(
                source, rows, {v: g.row_keys() for v, g in groups.items()}, known
            )
            changed = {key: changes.encode(known[key]) for key in at}
        for group in groups.values():
            changed |= group.applied(self.store, ended.get(group.entity.view.id, ()), now)
        return changed

    def read(
        self, features: FeatureSet, request: Mapping[str, Vector], known_at: int
    ) -> tuple[int, dict[str, Vector]]:
        """The values of a feature set for requests, and the time at which they hold.

        That time is `known_at`, or just after the newest batch in the snapshot if that is later:
        the values are exactly those of the rows visible before it. All views are read in one
        snapshot.

        Args:
            request: the requests' columns as vectors of one length, which is 1 for one request.
            known_at: a time before which no row will arrive any more.

        Raises:
            NotMaterialised: the store holds other views, or half of them.
        """
        lookup = self._lookup(features)
        header, *packed = self.store.read([APPLIED, *lookup.keys(request)])
        at = max(known_at, self._applied(header).arrival + 1)
        rows = len(next(iter(request.values()))) if request else 1
        return at, lookup.values(packed, at, request, rows)

    def _lookup(self, features: FeatureSet) -> Lookup:
        known = self._lookups.get(id(features))
        if known is None:
            known = self._lookups[id(features)] = Lookup.of(features, self.entities)
        return known


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a source as one view sees them: by entity.

    Attributes:
        keys: the store's key of each entity.
        number: the entity of each row, -1 for a row without a key.
        rows: the rows; deletions are none.
        texts: what the codes in the rows stand for.
    """

    entity: Entity
    keys: list[bytes]
    number: Ints
    rows: Section
    texts: dict[int, str] = field(default_factory=dict[int, str])

    @classmethod
    def of(cls, entity: Entity, rows: pa.Table) -> Group:
        """The rows of a source's table, by entity."""
        names, number = distinct_keys(entity.view, rows)
        source, texts = entity.view.source, dict[int, str]()
        taken = number >= 0
        if source.__schema__.is_feed:
            taken &= changes.kept(source, rows)
        chosen = np.flatnonzero(taken)
        some = rows if len(chosen) == rows.num_rows else rows.take(pa.array(chosen))
        event = from_arrow(some[source.__schema__.event.name], "time")
        arrival, offset = (np.asarray(some[name], np.int64) for name in (ARRIVAL, OFFSET))
        section = entity.layout.rows(
            owner=number[chosen],
            event=event,
            arrival=arrival,
            offset=offset,
            values=coded_measures(entity.layout, some, texts),
        )
        return cls(entity, entity.keys(names), number, section, texts)

    def row_keys(self) -> list[bytes | None]:
        """The store's key of each row."""
        return [None if n < 0 else self.keys[n] for n in self.number.tolist()]

    def applied(self, store: OnlineStore, ended: Sequence[Ended], now: int) -> dict[bytes, bytes]:
        """The states of the entities with the rows, and without the versions that were ended."""
        place = {key: n for n, key in enumerate(self.keys)}
        for key, _, _ in ended:
            place.setdefault(key, len(place))
        keys, layout, packing = list(place), self.entity.layout, self.entity.packing
        states = packing.unpack(store.read(keys))
        states.texts |= self.texts
        if ended:
            states.rows = states.rows.and_(self.rows)
            changes.end(states.rows, {(place[k], offset): until for k, offset, until in ended})
            states = layout.apply(states, Section.empty(states.rows.words.shape[1]), now)
        else:
            states = layout.apply(states, self.rows, now)
        return dict(zip(keys, self.entity.packed(states, now), strict=True))


def coded_measures(layout: Layout, rows: pa.Table, texts: dict[int, str]) -> list[Values]:
    """What each measure takes from rows; of text, its codes, which are noted in `texts`."""
    values = measured(layout.aggregates, rows)
    found: list[Values] = []
    for measure, is_text in zip(layout.measures, layout.is_text, strict=True):
        column = values[measure]
        if is_text:
            codes = text_codes(column)
            texts |= {c: t for c, t in zip(codes.tolist(), column.tolist(), strict=True) if c}
            column = codes
        found.append(column)
    return found


def identity_key(source: type[Source], key: object) -> bytes:
    """The store's key that remembers a unique key of a source."""
    return key_bytes(f"\0{source.__schema__.id}", key)
