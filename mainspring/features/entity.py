"""Entities: how the states of one view's keys are named in the online store, and read from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from mainspring.clock import NEVER
from mainspring.features.packed import Packing
from mainspring.features.statistic import Ints
from mainspring.features.tiles import Layout, States
from mainspring.features.view import FeatureView, View
from mainspring.vectors import Vector

_REMEMBERED = 20_000  # states whose values were computed anew at a read
_LONGEST = 400  # bytes of a key
_NOWHERE = b"\0nothing"

Packed = Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class Entity:
    """The states of one view's keys."""

    view: View
    layout: Layout
    packing: Packing
    _start: bytes
    _computed: dict[bytes, tuple[int, int, Ints]] = field(
        default_factory=dict[bytes, tuple[int, int, Ints]]
    )

    @classmethod
    def of(cls, view: type[FeatureView]) -> Entity:
        """The entities of a view."""
        layout = Layout.of(view)
        return cls(view.__view__, layout, Packing.of(layout), f"{view.__view__.id}\0".encode())

    def key(self, *keys: object) -> bytes:
        """Where a key's state is."""
        return key_bytes(self.view.id, *keys)

    def keys(self, columns: Iterable[Vector]) -> list[bytes]:
        """Where the states of keys are, given column by column; where nothing is for a NULL."""
        named = [_names(column) for column in columns]
        names = named[0] if len(named) == 1 else _paired(named)
        start = self._start
        keys = [_NOWHERE if n is None else start + n.encode() for n in names]
        if max(map(len, keys), default=0) > _LONGEST:
            keys = [k if len(k) <= _LONGEST else _shortened(k) for k in keys]
        return keys

    def packed(self, states: States, now: int) -> list[bytes]:
        """The bytes of states, with the values as they are at `now`."""
        values, until = self.layout.read_ahead(states, np.full(states.owners, now))
        return self.packing.pack(states, values, until)

    def current(self, data: bytes | None, at: int) -> bytes:
        """The values of one state at a time, as words."""
        packing = self.packing
        if data is None:
            data = packing.nothing
        elif packing.until(data) < at:
            return self._anew([data], at).tobytes()
        return data[packing.first_value : packing.end_of_values]

    def currents(self, packed: Packed, at: int) -> Ints:
        """The values of states at a time, as words, a row each."""
        words, stale = self.packing.values(packed, at)
        if len(stale):
            words = words.copy()
            words[stale] = self._anew([cast(bytes, packed[n]) for n in stale], at)
        return words

    def _anew(self, packed: Sequence[bytes], at: int) -> Ints:
        """The values of states that do not hold any more; they are remembered while they do."""
        known = [self._computed.get(data, _NEVER_COMPUTED) for data in packed]
        missing = [n for n, (since, until, _) in enumerate(known) if not since <= at <= until]
        if missing:
            states = self.packing.unpack([packed[n] for n in missing])
            found, ends = self.layout.read_ahead(states, np.full(len(missing), at))
            if len(self._computed) >= _REMEMBERED:
                self._computed.clear()
            for n, end, words in zip(missing, ends.tolist(), found, strict=True):
                known[n] = self._computed[packed[n]] = at, end, words
        return np.stack([words for _, _, words in known])

    def named(self, codes: Ints, packed: Packed) -> Vector:
        """The texts of codes, a row for each state."""
        found = np.full(codes.shape, None, object)
        for number, (data, mine) in enumerate(zip(packed, codes.tolist(), strict=True)):
            if data is not None:
                texts = self.packing.texts(data)
                told = texts.get(mine) if codes.ndim == 1 else [texts.get(code) for code in mine]
                found[number] = told
        return found


_NEVER_COMPUTED = (0, -1, np.empty(0, np.int64))


def is_missing(key: object) -> bool:
    """Whether an element of a vector is NULL."""
    return key is None or key != key or key == NEVER


def _names(keys: Vector) -> list[str | None]:
    """How keys are written; None for NULL."""
    if keys.dtype == object:
        return cast("list[str | None]", keys.tolist())
    return [None if is_missing(key) else _name(key) for key in keys.tolist()]


def _name(key: object) -> str:
    return str(int(key)) if isinstance(key, (bool, float)) and key == key // 1 else str(key)


def _paired(columns: Sequence[Sequence[str | None]]) -> list[str | None]:
    return [
        None if None in names else _joined(cast("Sequence[str]", names))
        for names in zip(*columns, strict=True)
    ]


def _joined(names: Sequence[str]) -> str:
    """Several names as one, so that no two pairs have the same."""
    joined = "\0".join(names)
    if joined.count("\0") >= len(names) or "\1" in joined:
        escaped = (name.replace("\1", "\1\2").replace("\0", "\1\1") for name in names)
        return "\0".join(escaped)
    return joined


def key_bytes(view: str, *keys: object) -> bytes:
    """The store's key of an entity: readable, and hashed where it would be too long.

    Example:
        >>> key_bytes("Airport", "JFK"), key_bytes("Card", 12.0), key_bytes("Pair", 7.0, "x")
        (b'Airport\\x00JFK', b'Card\\x0012', b'Pair\\x007\\x00x')
    """
    names = [_name(key) for key in keys]
    found = f"{view}\0{names[0] if len(names) == 1 else _joined(names)}".encode()
    return found if len(found) <= _LONGEST else _shortened(found)


def _shortened(key: bytes) -> bytes:
    return key[:300] + hashlib.sha256(key).hexdigest().encode()
