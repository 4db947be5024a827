"""Entity keys: the columns that features are looked up by, of sorted events and of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mainspring.expressions import kind_of
from mainspring.features.sketch import starts_of
from mainspring.features.statistic import Ints
from mainspring.features.view import View
from mainspring.vectors import ARROW_TYPES, Vector, from_arrow, to_arrow


def key_column(number: int) -> str:
    """The name of a key's column in sorted events."""
    return f"__key{number}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of events that are sorted by them.

    Attributes:
        known: the distinct keys in order, one array for each of the view's key columns.
        starts: the row at which each begins; last, their end.
    """

    known: tuple[pa.Array, ...]
    starts: Ints

    @classmethod
    def of(cls, view: View, events: pa.Table) -> Keys:
        """The keys of sorted events."""
        arrays = [
            events[key_column(number)].combine_chunks().cast(ARROW_TYPES[key.type])
            for number, key in enumerate(view.keys)
        ]
        codes = (np.asarray(a.dictionary_encode().indices, np.int64) for a in arrays)
        begins = np.flatnonzero(starts_of(*codes))
        taken = pa.array(begins)
        return cls(tuple(a.take(taken) for a in arrays), np.append(begins, len(events)))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def numbers(self, asked: Sequence[pa.Array]) -> Ints:
        """The number of each of the keys that are asked for, -1 for one that is not known."""
        if len(asked) == 1:
            (known,) = self.known
            return _places(asked[0], known)
        of_known, of_asked = np.zeros(len(self), np.int64), np.zeros(len(asked[0]), np.int64)
        for known, wanted in zip(self.known, asked, strict=True):
            distinct = known.unique()
            place = _places(wanted, distinct)
            of_known = of_known * len(distinct) + _places(known, distinct)
            of_asked = np.where((place < 0) | (of_asked < 0), -1, of_asked * len(distinct) + place)
        order = np.argsort(of_known)
        place = np.searchsorted(of_known[order], of_asked)
        place = order[np.minimum(place, len(order) - 1)] if len(order) else place
        found = of_known[place] == of_asked if len(order) else np.zeros(len(place), bool)
        return np.where(found & (of_asked >= 0), place, -1)


def _places(values: pa.Array, among: pa.Array) -> Ints:
    return np.asarray(pc.index_in(values, value_set=among).fill_null(-1), np.int64)


def key_arrays(view: View, requests: Mapping[str, Vector]) -> list[pa.Array]:
    """The keys of requests as the view's source holds them, so that equal ones are found."""
    return [
        to_arrow(requests[key.name], kind_of(key)).cast(ARROW_TYPES[key.type]) for key in view.keys
    ]


def key_vectors(view: View, columns: Sequence[pa.Array]) -> list[Vector]:
    """Keys as vectors, one for each of the view's key columns."""
    return [from_arrow(c, kind_of(key)) for c, key in zip(columns, view.keys, strict=True)]


def distinct_keys(view: View, rows: pa.Table) -> tuple[list[Vector], Ints]:
    """The distinct keys of rows, and the number of each row's key; -1 where a part is NULL."""
    arrays = [
        rows[key.name].combine_chunks().cast(ARROW_TYPES[key.type]).dictionary_encode()
        for key in view.keys
    ]
    codes = [np.asarray(a.indices.fill_null(-1), np.int64) for a in arrays]
    number, first = codes[0], np.arange(len(arrays[0].dictionary))
    columns = [a.dictionary for a in arrays]
    if len(arrays) > 1:
        missing = np.any([c < 0 for c in codes], axis=0)
        sizes = [len(a.dictionary) + 1 for a in arrays]
        joined = np.ravel_multi_index([c + 1 for c in codes], sizes)
        _, first, number = np.unique(
            np.where(missing, 0, joined), return_index=True, return_inverse=True
        )
        if missing.any():  # what they share is the first of all
            first, number = first[1:], np.where(missing, -1, number - 1)
        columns = [
            a.dictionary.take(pa.array(c[first])) for a, c in zip(arrays, codes, strict=True)
        ]
    return key_vectors(view, columns), number
