"""Guesses: what serving may have taken the rows of a key for, and which guess gives its values.

A guess is tried on every feature of the request that the source has a part in. It is right only if
all of them come out as they were served, those that do not differ too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from mainspring.clock import NEVER
from mainspring.expressions import Expr, Feature, kind_of, leaves
from mainspring.features.feature_set import FeatureSet
from mainspring.features.kernel import FOREVER, Aggregate, Events, Requests, compute
from mainspring.features.key_rows import KeyRows
from mainspring.features.measure import measure_of, parameter_of
from mainspring.features.parity import TOLERANCE, gaps, is_exact
from mainspring.features.statistic import Flags, Ints
from mainspring.features.value import subset
from mainspring.features.view import FeatureView
from mainspring.sources.source import Source
from mainspring.sources.table import LIVE
from mainspring.vectors import Vector, Vectors, evaluate_all

Kind: TypeAlias = Literal["unapplied", "early", "behind", "lost", "twice"]
Known: TypeAlias = Mapping[type[FeatureView], KeyRows]

_TRIES = 200  # of one kind
_ROWS = 2_000_000  # in all tries of one kind


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its columns as vectors of length 1, its time, and the rows of its keys by view."""

    request: Vectors
    at: int
    known: Known


@dataclass(frozen=True, slots=True)
class Guess:
    """What serving may have taken rows for.

    Attributes:
        kind: it had not applied the last rows (`unapplied`), saw rows that arrived later (`early`),
            lacked rows that came in behind the stream (`behind`) or one row (`lost`), or had one
            `twice`.
        offsets: of the rows in question.
        then: when the first of them arrived; of `early`, the moment after the last.
    """

    kind: Kind
    offsets: Sequence[int]
    then: int

    def rows(self, of: KeyRows, seen: Flags, at: int) -> Ints:
        """The rows that it takes instead of those that are seen at a time, by position."""
        if self.kind in ("unapplied", "early"):
            return np.flatnonzero(of.known_by(self.then, at))
        asked = np.isin(of.offset, self.offsets)
        if self.kind == "twice":
            return np.repeat(np.arange(len(of)), seen * (1 + asked))
        return np.flatnonzero(seen & ~asked)


def right(
    features: FeatureSet,
    source: type[Source],
    served: Vectors,
    asked: Asked,
) -> Guess | None:
    """The first guess about the rows of a source that gives what was served.

    Args:
        served: the value of each feature, as a vector of length 1.
    """
    at, known = asked.at, asked.known
    mine = [view for view in known if view.__view__.source is source]
    whole = subset(features, _touched(features, mine))
    for guesses in _all([known[view] for view in mine], at):
        chosen = {
            view: [g.rows(rows, rows.seen(at), at) if view in mine else None for g in guesses]
            for view, rows in known.items()
        }
        fits = _fits(whole, served, asked, chosen, len(guesses))
        if fits.any():
            return guesses[int(np.argmax(fits))]
    return None


def _touched(features: FeatureSet, views: Sequence[type[FeatureView]]) -> list[str]:
    """The features that views have a part in."""
    return [
        name
        for name, value in zip(features.names, features.expressions, strict=True)
        if any(isinstance(leaf, Feature) and leaf.view in views for leaf in leaves(value))
    ]


def _all(keys: Sequence[KeyRows], at: int) -> Iterator[list[Guess]]:
    """The guesses, kind by kind; each takes away, or adds, more than the one before."""
    arrivals = np.unique(np.concatenate([a for k in keys for a in (k.arrival, k.until)]))
    tries = max(1, min(_TRIES, _ROWS // (1 + max(map(len, keys)))))
    before = arrivals[arrivals < at][::-1][:tries].tolist()
    after = arrivals[(arrivals >= at) & (arrivals < FOREVER)][:tries].tolist()
    yield [_known_by(keys, then, at, "unapplied") for then in before]
    yield [_known_by(keys, then + 1, at, "early") for then in after]
    for rows in keys:
        yield from about_rows(rows, rows.seen(at), tries)


def _known_by(keys: Sequence[KeyRows], then: int, at: int, kind: Kind) -> Guess:
    low, high = min(then, at), max(then, at)
    offsets = [k.offset[(k.arrival >= low) & (k.arrival < high) & (k.event < at)] for k in keys]
    return Guess(kind, np.unique(np.concatenate(offsets)).tolist(), then)


def about_rows(rows: KeyRows, seen: Flags, tries: int) -> Iterator[list[Guess]]:
    """Guesses that the newest rows from behind the stream are not there, or some one row, or that
    it is there twice."""

    def guess(kind: Kind, which: Ints) -> Guess:
        return Guess(kind, np.sort(rows.offset[which]).tolist(), int(rows.arrival[which].min()))

    place = np.flatnonzero(seen)
    newest = place[np.lexsort((rows.offset[place], rows.arrival[place]))][::-1]
    behind = newest[rows.offset[newest] < LIVE]
    of_last_file = behind[np.argsort(-rows.offset[behind])]
    for order in (behind, of_last_file):
        yield [guess("behind", order[: n + 1]) for n in range(min(tries, len(order)))]
    each = newest[:tries, None]
    yield [guess("lost", which) for which in each]
    yield [guess("twice", which) for which in each]


def values(
    features: FeatureSet,
    asked: Asked,
    chosen: Mapping[type[FeatureView], Sequence[Ints | None]],
    tries: int,
) -> dict[str, Vector]:
    """The features and their aggregates if so many tries took these rows; None takes what is seen.

    Args:
        chosen: the rows of each view's key that each try takes, by position.
    """
    found = {name: np.repeat(vector, tries) for name, vector in asked.request.items()}
    at = asked.at
    for view, rows in asked.known.items():
        wanted = [a for a in features.aggregates if a.view is view]
        truth, of_view = np.flatnonzero(rows.seen(at)), chosen[view]
        if all(c is None for c in of_view):  # once is enough
            once = _computed(wanted, rows, [truth], at)
            found |= {label: np.repeat(vector, tries, axis=0) for label, vector in once.items()}
        else:
            found |= _computed(wanted, rows, [truth if c is None else c for c in of_view], at)
    evaluate_all(features.expressions, found, tries)
    return found


def _computed(
    wanted: Sequence[Feature[Any]], rows: KeyRows, chosen: Sequence[Ints], at: int
) -> dict[str, Vector]:
    """The aggregates of rows, as if each choice were those of a key of its own."""
    place, starts = np.concatenate(chosen), np.append(0, np.cumsum([len(c) for c in chosen]))
    event = rows.event[place]
    events = Events(starts, event, visible=np.minimum(event, at - 1))
    requests = Requests(np.arange(len(chosen)), np.full(len(chosen), at))
    aggregates = [
        Aggregate(a.op, rows.values[measure_of(a)][place], a.settings["window"], parameter_of(a))
        for a in wanted
    ]
    pairs = zip(wanted, compute(events, requests, aggregates), strict=True)
    return {a.label: _as_times(v) if kind_of(a) == "time" else v for a, v in pairs}


def _as_times(numbers: Vector) -> Vector:
    return cast(Vector, np.nan_to_num(numbers, nan=NEVER).astype(np.int64))


def _fits(
    features: FeatureSet,
    served: Vectors,
    asked: Asked,
    chosen: Mapping[type[FeatureView], Sequence[Ints | None]],
    tries: int,
) -> Flags:
    """Which tries give every feature as it was served."""
    fits = np.full(tries, True)
    if not tries:
        return fits
    found = values(features, asked, chosen, tries)
    triples = zip(features.names, features.expressions, features.kinds, strict=True)
    for name, value, kind in triples:
        gap = gaps(kind, np.repeat(served[name], tries), found[value.label], _usual(value, found))
        fits &= gap <= (0.0 if is_exact(value) else TOLERANCE)
    return fits


def _usual(value: Expr[Any], found: Vectors) -> float:
    """What a difference near 0 is relative to: the largest of what the value is made of."""
    parts = [found[leaf.label] for leaf in leaves(value)]
    sizes = [np.abs(p[np.isfinite(p)]) for p in parts if p.dtype == np.float64]
    return max((float(size.max(initial=0.0)) for size in sizes), default=0.0)
