"""Bags: distinct values with their counts, and what is told from them.

A bag is a sketch that is exact where it can be: adding up bags gives the bag of all rows, in any
order, so offline and online values are equal. `count_distinct` keeps the K smallest hashes: below K
values it counts them, from K on it estimates within 3 % (Bar-Yossef et al., 2002). `quantile` keeps
a count per bucket of values within 1 % of one another (DDSketch: Masson et al., 2019). `top_k`
keeps every value, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainspring.features.statistic import Flags, Ints, Values
from mainspring.vectors import hash64

K = 1024
"""Hashes kept for a count of distinct values: from so many values on it is an estimate."""

ACCURACY = 0.01
"""How far a quantile may be from a value of that rank, relative to it."""

_GROWTH = (1 + ACCURACY) / (1 - ACCURACY)
_MIDDLE = 50_000  # the bucket of 1.0: no float has one below 0
_SIGN = np.int64(-(2**63))

NOTHING = np.iinfo(np.int64).min
"""The code of no value: no float but NaN has it, and no text."""


@dataclass(frozen=True, slots=True)
class Bag:
    """Distinct codes of several owners with their counts, ordered by owner and code."""

    owner: Ints
    code: Ints
    count: Ints


def bag_of(owner: Ints, code: Ints, count: Ints) -> Bag:
    """The bag of codes that may repeat.

    Example:
        >>> bag_of(np.array([0, 1, 0]), np.array([7, 7, 7]), np.array([1, 1, 2]))
        Bag(owner=array([0, 1]), code=array([7, 7]), count=array([3, 1]))
    """
    order = np.lexsort((code, owner))
    owner, code, count = owner[order], code[order], count[order]
    begins = np.flatnonzero(starts_of(owner, code))
    return Bag(
        owner[begins], code[begins], np.add.reduceat(count, begins) if len(begins) else count
    )


def bag_of_rows(owner: Ints, place: Ints, codes: Ints) -> Bag:
    """The bag of single rows, by the places of their codes among `codes`, which are in order.

    It sorts one number a row instead of two: of all the work of a sketch, that is most.

    Example:
        >>> bag_of_rows(np.array([0, 0, 1]), np.array([1, 1, 0]), np.array([-5, 7]))
        Bag(owner=array([0, 1]), code=array([ 7, -5]), count=array([2, 1]))
    """
    both = np.sort(owner * len(codes) + place)
    begins = np.flatnonzero(starts_of(both))
    distinct = both[begins]
    counts = np.diff(np.append(begins, len(both)))
    return Bag(distinct // max(len(codes), 1), codes[distinct % max(len(codes), 1)], counts)


def starts_of(*sorted_columns: Ints) -> Flags:
    """Where in sorted rows another combination of values begins."""
    begins = np.zeros(len(sorted_columns[0]), bool)
    begins[:1] = True
    for column in sorted_columns:
        begins[1:] |= column[1:] != column[:-1]
    return begins


def smallest(group_begins: Flags, at_most: int) -> Flags:
    """The first rows of each group of sorted rows, at most so many."""
    begins = np.flatnonzero(group_begins)
    number = np.arange(len(group_begins)) - np.repeat(
        begins, np.diff(np.append(begins, len(group_begins)))
    )
    return number < at_most


def text_codes(texts: Values) -> Ints:
    """A code for each text, 0 for NULL: 63 bits of its hash.

    Example:
        >>> text_codes(np.array(["a", None, "a"], object)).tolist().count(0)
        1
    """
    codes = (hash64(texts) >> np.uint64(1)).astype(np.int64) | 1
    return np.where(np.not_equal(texts, _NOTHING), codes, 0)


_NOTHING: Any = np.array(None)


def _hashes(values: Values) -> Ints:
    if values.dtype == np.int64:
        return values
    if values.dtype == object:
        return text_codes(values)
    return (hash64(values) >> np.uint64(1)).astype(np.int64)


def _buckets(values: Values) -> Ints:
    """Codes that order as values do: 0 for zero, and up to 2 % of values in each."""
    size = np.abs(np.where(np.isnan(values), 0.0, values))
    with np.errstate(divide="ignore"):
        place = np.ceil(np.log(np.minimum(size, _LARGEST)) / np.log(_GROWTH))
    bucket = np.where(size > 0, np.where(np.isfinite(place), place, 0) + _MIDDLE, 0)
    return (np.sign(values, where=~np.isnan(values), out=np.zeros(len(values))) * bucket).astype(
        np.int64
    )


_LARGEST = np.finfo(np.float64).max


def _middles(buckets: Ints) -> Values:
    """The value that stands for each bucket."""
    size = np.exp((np.abs(buckets) - _MIDDLE) * np.log(_GROWTH)) * 2 / (_GROWTH + 1)
    return np.where(buckets == 0, 0.0, np.sign(buckets) * size)


def _sortable(values: Values) -> Ints:
    """Codes that order as values do, and give them back."""
    if values.dtype != np.float64:
        return values if values.dtype == np.int64 else text_codes(values)
    bits = (values + 0.0).view(np.int64)
    return np.where(bits < 0, ~bits ^ _SIGN, bits)


def floats_of(codes: Ints) -> Values:
    """The numbers that top_k's codes stand for.

    Example:
        >>> floats_of(_sortable(np.array([-1.5, 0.0, 2.0])))
        array([-1.5,  0. ,  2. ])
    """
    return np.where(codes < 0, ~(codes ^ _SIGN), codes).view(np.float64)


CODES: dict[str, Callable[[Values], Ints]] = {
    "count_distinct": _hashes,
    "quantile": _buckets,
    "top_k": _sortable,
}
"""The code of each value, by the kind of aggregate; of a NULL it means nothing. Text that is given
as codes already stays what it is."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What text the codes stand for.

    Example:
        >>> texts = Texts.of(np.array(["b", None, "a"], object))
        >>> texts.named(text_codes(np.array(["a", None, "b"], object)))
        array(['a', None, 'b'], dtype=object)
    """

    codes: Ints
    texts: Values

    @classmethod
    def of(cls, texts: Values) -> Texts:
        """The codes of texts."""
        return cls.paired(text_codes(texts), texts)

    @classmethod
    def paired(cls, codes: Ints, texts: Values) -> Texts:
        """Texts with codes that are known."""
        known, first = np.unique(codes, return_index=True)
        return cls(known, texts[first])

    def named(self, codes: Ints) -> Values:
        """The texts of codes, None for a code of nothing."""
        place = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        known = self.codes[place] == codes if len(self.codes) else np.zeros(codes.shape, bool)
        found = np.full(codes.shape, None, object)
        found[known] = self.texts[place[known]]
        return found

    def rank(self, codes: Ints) -> Ints:
        """Numbers that order codes as their texts are ordered."""
        return np.unique(self.named(codes).astype(str), return_inverse=True)[1]


def nothing(kind: str, owners: int, parameter: float | None) -> Values:
    """The value of an aggregate of no rows, for each of `owners`."""
    if kind == "top_k":
        return np.full((owners, int(parameter or 1)), NOTHING)
    return np.full(owners, np.nan if kind == "quantile" else 0.0)


def finish(
    kind: str, bag: Bag, owners: int, parameter: float | None, texts: Texts | None = None
) -> Values:
    """The value of an aggregate for each of `owners`: a float, or for top_k the codes, k a row.

    Args:
        texts: what the codes of top_k stand for, which is ordered where counts are equal.
    """
    begin = np.searchsorted(bag.owner, np.arange(owners + 1))
    if kind == "count_distinct":
        return _distinct(bag, begin)
    if kind == "quantile":
        return _quantile(bag, begin, parameter or 0.0)
    rank = bag.code if texts is None else texts.rank(bag.code)
    return _most(bag, begin, int(parameter or 1), rank)


def _distinct(bag: Bag, begin: Ints) -> Values:
    found = np.diff(begin).astype(np.float64)
    many = np.flatnonzero(found >= K)
    share = bag.code[begin[many] + K - 1] / float(2**63)
    found[many] = np.round((K - 1) / share)
    return found


def _quantile(bag: Bag, begin: Ints, q: float) -> Values:
    found = np.full(len(begin) - 1, np.nan)
    known = np.flatnonzero(np.diff(begin))
    running = np.cumsum(bag.count)
    before = np.append(0, running)[begin]
    rank = np.floor(q * (np.diff(before)[known] - 1)).astype(np.int64)
    found[known] = _middles(bag.code[np.searchsorted(running, before[known] + rank, "right")])
    return found


def _most(bag: Bag, begin: Ints, k: int, rank: Ints) -> Values:
    order = np.lexsort((rank, -bag.count, bag.owner))
    code = np.append(bag.code[order], 0)
    place = begin[:-1, None] + np.arange(k)
    return np.where(place < begin[1:, None], code[np.minimum(place, len(code) - 1)], NOTHING)
