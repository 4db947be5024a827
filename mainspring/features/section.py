"""Sections: records of many entity keys in one array of 64-bit words, in the order of the keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mainspring.features.statistic import Flags, Ints

EVENT, VISIBLE, UNTIL, OFFSET, VALUES = range(5)
"""The words of a row: after its times and its offset, a value for each measure."""

START, PARTIALS = range(2)
"""The words of a tile: after its start, its partials."""

SLOT, BAG_START, CODE, COUNT = range(4)
"""The words of what a bag has in a tile: which bag, the tile's start, a code and its count."""

NONE = np.iinfo(np.int64).min
"""The word of no time and no offset."""


@dataclass(frozen=True, slots=True)
class Section:
    """Records of several owners, a row of 64-bit words each; in the order of owners.

    Attributes:
        owner: the number of the key that each record is of.
        words: the records; a float is in its word by its bits.

    Example:
        >>> some = Section(np.array([0, 0, 1]), np.array([[3], [1], [2]]))
        >>> some.sorted_by(START).words.ravel()
        array([1, 3, 2])
    """

    owner: Ints
    words: Ints

    @classmethod
    def empty(cls, width: int) -> Section:
        """No records."""
        return cls(np.empty(0, np.int64), np.empty((0, width), np.int64))

    def take(self, chosen: Ints | Flags) -> Section:
        """The records at positions, or where a mask is true."""
        return Section(self.owner[chosen], self.words[chosen])

    def column(self, word: int) -> Ints:
        """One word of each record."""
        found: Ints = self.words[:, word]
        return found

    def and_(self, other: Section) -> Section:
        """The records of both, those of `other` last."""
        if not len(self.owner) or not len(other.owner):
            return self if len(self.owner) else other
        owner = np.concatenate([self.owner, other.owner])
        return Section(owner, np.concatenate([self.words, other.words]))

    def sorted_by(self, *words: int) -> Section:
        """The records in the order of owners, then of the words named, the most important first."""
        return self.take(np.lexsort((*(self.column(w) for w in reversed(words)), self.owner)))
