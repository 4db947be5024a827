"""States as bytes: what the online store has for an entity key.

All is words of 8 bytes: how many words there are, until when the values hold, how many records each
section has, the values of the aggregates, then the records; last, as MessagePack, what text the
codes stand for. So a read takes the values as they are, and only when they do not hold any more
the records behind them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct

import msgspec
import numpy as np

from mainspring.features.kernel import FOREVER, ranges
from mainspring.features.section import CODE, NONE, SLOT, VALUES, Section
from mainspring.features.sketch import starts_of
from mainspring.features.statistic import Ints
from mainspring.features.tiles import Layout, States

FORMAT = 2
"""How states are laid out: a store of another format is built anew."""

_WORDS, _UNTIL, _COUNTS = range(3)

_encode_texts = msgspec.msgpack.Encoder().encode
_read_until = Struct("<q").unpack_from
_TEXTS = msgspec.msgpack.Decoder(dict[int, str])


@dataclass(frozen=True, slots=True)
class Packing:
    """How the states of one layout are packed.

    Attributes:
        widths: the words of a record of each section: tiles by hop, waiting rows, bags.
        first_value: the byte where the values begin.
        end_of_values: the byte after the last of them.
        nothing: the bytes up to there for a key without rows.
    """

    layout: Layout
    widths: Sequence[int]
    first_value: int
    end_of_values: int
    nothing: bytes

    @classmethod
    def of(cls, layout: Layout) -> Packing:
        """The packing of a layout."""
        widths = layout.widths()
        first = _COUNTS + len(widths)
        end = first + layout.values
        head = np.array([[end, FOREVER, *(0 for _ in widths)]])
        values = layout.read(layout.empty(1), np.zeros(1, np.int64))
        nothing = np.concatenate([head, values], axis=1).tobytes()
        return cls(layout, widths, 8 * first, 8 * end, nothing)

    def pack(self, states: States, values: Ints, until: Ints) -> list[bytes]:
        """The bytes of each key's state, with its values and until when they hold."""
        sections = [*states.tiles.values(), states.rows, states.bags]
        counts = np.stack([np.bincount(s.owner, minlength=states.owners) for s in sections], axis=1)
        sizes = counts * self.widths
        head = self.end_of_values // 8
        length = head + sizes.sum(axis=1)
        begin = np.append(0, np.cumsum(length))
        words = np.empty(begin[-1], np.int64)
        header = np.concatenate([length[:, None], until[:, None], counts, values], axis=1)
        words[begin[:-1, None] + np.arange(head)] = header
        at = begin[:-1] + head
        for section, size, width in zip(sections, sizes.T, self.widths, strict=True):
            if len(section.owner):
                first = at - np.append(0, np.cumsum(size)[:-1])  # minus what stands before it there
                place = first[section.owner] + np.arange(len(section.owner)) * width
                words[place[:, None] + np.arange(width)] = section.words
            at = at + size
        data, edges = words.view(np.uint8), (begin * 8).tolist()
        if not self.layout.has_text:
            return [data[lo:hi].tobytes() for lo, hi in pairwise(edges)]
        tails = self._tails(states)
        return [
            data[lo:hi].tobytes() + t for (lo, hi), t in zip(pairwise(edges), tails, strict=True)
        ]

    def _tails(self, states: States) -> list[bytes]:
        owner, code = _codes_of(self.layout, states)
        edges = np.searchsorted(owner, np.arange(states.owners + 1)).tolist()
        codes, texts = code.tolist(), states.texts
        return [_encode_texts({c: texts[c] for c in codes[lo:hi]}) for lo, hi in pairwise(edges)]

    def unpack(self, packed: Sequence[bytes | None]) -> States:
        """The states of bytes, one key each; None is a key without rows."""
        owners = np.array([n for n, data in enumerate(packed) if data is not None], np.int64)
        known = [data for data in packed if data is not None]
        if not known:
            return self.layout.empty(len(packed))
        texts = dict[int, str]()
        if self.layout.has_text:
            ends = [8 * int.from_bytes(data[:8], "little") for data in known]
            for data, end in zip(known, ends, strict=True):
                texts |= _TEXTS.decode(data[end:])
            known = [data[:end] for data, end in zip(known, ends, strict=True)]
        words = np.frombuffer(b"".join(known), np.int64)
        length = np.array([len(data) // 8 for data in known])
        begin = np.cumsum(length) - length
        counts = words[begin[:, None] + np.arange(_COUNTS, _COUNTS + len(self.widths))]
        at, sections = begin + self.end_of_values // 8, list[Section]()
        for count, width in zip(counts.T, self.widths, strict=True):
            place, owner = ranges(np.zeros(len(count), np.int64), count)
            place = at[owner] + place * width
            sections.append(Section(owners[owner], words[place[:, None] + np.arange(width)]))
            at = at + count * width
        *tiles, rows, bags = sections
        hops = dict(zip(self.layout.slots, tiles, strict=True))
        return States(len(packed), hops, rows, bags, texts)

    def texts(self, data: bytes) -> dict[int, str]:
        """What text the codes of a state stand for."""
        return _TEXTS.decode(data[8 * int.from_bytes(data[:8], "little") :])

    def until(self, data: bytes) -> int:
        """Until when the values of a state hold."""
        found: int = _read_until(data, 8 * _UNTIL)[0]
        return found

    def values(self, packed: Sequence[bytes | None], at: int) -> tuple[Ints, Sequence[int]]:
        """The values as they stand, a row for each key, and which do not hold any more."""
        end = self.end_of_values
        heads = [self.nothing if data is None else data[:end] for data in packed]
        words = np.frombuffer(b"".join(heads), np.int64).reshape(len(packed), end // 8)
        return words[:, self.first_value // 8 :], np.flatnonzero(words[:, _UNTIL] < at).tolist()


def _codes_of(layout: Layout, states: States) -> tuple[Ints, Ints]:
    """The codes of text that states have, each with its owner, in that order, without repeats."""
    found = list(_coded(layout, states))
    owner, code = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    order = np.lexsort((code, owner))
    owner, code = owner[order], code[order]
    kept = starts_of(owner, code) & (code != 0) & (code != NONE)
    return owner[kept], code[kept]


def _coded(layout: Layout, states: States) -> Iterator[tuple[Ints, Ints]]:
    for number in np.flatnonzero(layout.is_text).tolist():
        yield states.rows.owner, states.rows.column(VALUES + number)
    for hop, slots in layout.slots.items():
        for slot in slots:
            keeps = slot.statistic.keeps
            if keeps and layout.is_text[slot.measure]:
                tiles = states.tiles[hop]
                first = slot.at + 2 * keeps
                yield np.repeat(tiles.owner, keeps), tiles.words[:, first : first + keeps].ravel()
    for bag, (_, measure, kind) in enumerate(layout.bags):
        if kind == "top_k" and layout.is_text[measure]:
            mine = states.bags.take(states.bags.column(SLOT) == bag)
            yield mine.owner, mine.column(CODE)
