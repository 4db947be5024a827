"""Explanations: why serving used another value than history gives, down to the rows and the tiles.

For one request, the rows that a value is made of are set against what was served and against what
the online store holds of them now. Where a simple cause gives just what was served, it is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.expressions import Expr, Feature, Wide, kind_of, leaves
from mainspring.features.backfill import Rows
from mainspring.features.feature_set import FeatureSet
from mainspring.features.guess import Asked, Guess, right, values
from mainspring.features.kernel import is_known
from mainspring.features.key_rows import Evidence, KeyRows, kind_taken, moment, row_named, said
from mainspring.features.measure import measure_of
from mainspring.features.point_in_time import quoted
from mainspring.features.tile_check import Differs, Held
from mainspring.features.value import subset
from mainspring.features.view import FeatureView
from mainspring.sources.source import Source
from mainspring.sources.table import OFFSET
from mainspring.vectors import Vector, Vectors, from_arrow

SHOWN = 20
"""Rows and offsets that are told one by one; of others there is only a count."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A row that counts in a window: what the aggregate takes of it, and when it was known."""

    offset: int
    event: int
    arrival: int
    value: str


@dataclass(frozen=True, slots=True)
class Part:
    """One aggregate of a value that differs.

    Attributes:
        what: the aggregate and its key.
        since: the start of its window; None for all history.
        history: what the rows give.
        rows: the latest rows that count; there are `earlier` ones, and `unseen` ones of the window
            that were not visible at the time.
        tiles: how many tiles of the window the online store still has; None if it was not looked
            at. Those in `differ` hold something else than their rows say.
    """

    what: str
    since: int | None
    history: str
    rows: Sequence[Counted]
    earlier: int
    unseen: int
    tiles: int | None
    differ: Sequence[Differs]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one value of one request differs.

    Attributes:
        request: the request's key, and `at` the time as of which its features hold.
        served, history: the value that was logged, and the one that the rows give.
        cause: what would give just the value that was served.
        parts: the aggregates that the value is made of.
    """

    feature: str
    request: str
    at: int
    served: str
    history: str
    cause: str
    parts: Sequence[Part]

    def lines(self) -> Iterator[str]:
        """The explanation as text."""
        yield f"{self.feature} of {self.request} at {moment(self.at)}"
        yield f"  served {self.served}, history gives {self.history}"
        yield f"  cause: {self.cause}"
        for part in self.parts:
            yield from _part_lines(part)


def explain(
    features: FeatureSet,
    identity: str,
    served: Rows,
    number: int,
    names: Sequence[str],
    evidence: Evidence,
) -> list[Explanation]:
    """Why values of a request differ.

    Args:
        identity: the column that names a request.
        served: answers, of which the request is the one at position `number`.
        names: the features that differ.
    """
    id, at = str(served.ids[number]), int(served.at[number])
    request = _request(features, identity, id, evidence)
    views = {leaf.view for n in names for leaf in _aggregates(features, n)}
    sources = {view.__view__.source for view in views}
    known = {
        view: KeyRows.read(view, request, evidence)
        for view in features.views
        if view.__view__.source in sources
    }
    whole = subset(features, [*_made_of(features, list(known)), *names])
    answer = {n: served.columns[n][number : number + 1] for n in whole.names}
    asked = Asked(request, at, known)
    truth = values(whole, asked, {view: [None] for view in known}, 1)
    held = {view: Held.of(view, request, evidence) for view in views}
    told = _Told(whole, asked, answer, truth, held)
    return [told.explanation(name, id) for name in names]


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of one request."""

    features: FeatureSet
    asked: Asked
    served: Vectors
    truth: Vectors
    held: dict[type[FeatureView], Held | None]
    causes: dict[Any, str] = field(default_factory=dict[Any, str])

    def explanation(self, name: str, id: str) -> Explanation:
        place = self.features.names.index(name)
        value, kind = self.features.expressions[place], self.features.kinds[place]
        served, history = (v[0] for v in (self.served[name], self.truth[value.label]))
        aggregates = _aggregates(self.features, name)
        parts = [self._part(aggregate) for aggregate in aggregates]
        cause = self._cause(aggregates, parts)
        return Explanation(
            name, id, self.asked.at, said(served, kind), said(history, kind), cause, parts
        )

    def _part(self, aggregate: Feature[Any]) -> Part:
        rows, window = self.asked.known[aggregate.view], aggregate.settings["window"]
        taken = rows.values[measure_of(aggregate)]
        counts = np.full(len(rows), True) if aggregate.op == "latest" else is_known(taken)
        inside = counts & (rows.event >= window.start(self.asked.at)) & (rows.event < self.asked.at)
        seen = inside & rows.seen(self.asked.at)
        place = np.flatnonzero(seen)
        shown = [_counted(aggregate, rows, taken, n) for n in place[-SHOWN:].tolist()]
        tiles, differ = None, list[Differs]()
        held = self.held.get(aggregate.view)
        if held is not None:
            tiles, differ = held.compared(aggregate, self.asked.at)
        return Part(
            f"{aggregate.label} ({aggregate.op} over {window!r}) of {rows.key}",
            None if window.size is None else window.start(self.asked.at),
            _said_all(aggregate, self.truth[aggregate.label]),
            shown,
            len(place) - len(shown),
            int(inside.sum()) - len(place),
            tiles,
            differ,
        )

    def _cause(self, aggregates: Sequence[Feature[Any]], parts: Sequence[Part]) -> str:
        if not aggregates:
            return "the answer was made from another row than history has of the request"
        for aggregate, part in zip(aggregates, parts, strict=True):
            held = self.held.get(aggregate.view)
            if part.differ and held is not None:
                return self._of_tiles(aggregate.view, held, part)
        sources = dict.fromkeys(a.view.__view__.source for a in aggregates)
        return next(filter(None, map(self._of_rows, sources)), _NO_CAUSE)

    def _of_rows(self, source: type[Source]) -> str:
        """What change of a source's rows gives what was served; empty if none does."""
        if source not in self.causes:
            guess = right(self.features, source, self.served, self.asked)
            held = [h for v, h in self.held.items() if v.__view__.source is source and h]
            if guess and guess.kind == "behind" and held and held[0].behind <= 0:
                guess = replace(guess, kind="lost")  # nothing came in behind the stream
            self.causes[source] = _guessed(guess, self.asked.at) if guess else ""
        return self.causes[source]

    def _of_tiles(self, view: type[FeatureView], held: Held, part: Part) -> str:
        """Why tiles are not what their rows say."""
        if view not in self.causes:
            guess = held.guess()
            self.causes[view] = _guessed(guess, held.now) if guess else ""
        begins = part.differ[0].start
        where = "what is kept of the key" if begins is None else f"the tile of {moment(begins)}"
        return self.causes[view] or f"{where} is broken: no change of its rows gives what it holds"


_NO_CAUSE = "none that is simple: no change of the rows gives what was served"


def _guessed(guess: Guess, at: int) -> str:
    rows = f"{_rows(guess.offsets)}, which arrived from {moment(guess.then)} on"
    match guess.kind:
        case "unapplied":
            before = (at - guess.then) / 1e6
            return f"serving had not applied {rows}, {before:.6g} s before the request"
        case "early":
            return (
                f"serving saw {_rows(guess.offsets)}, which arrived only after the request's time"
            )
        case "behind":
            fix = "`mainspring materialise` takes them in"
            return f"serving did not have {rows}: they came in behind the stream; {fix}"
        case "lost":
            return f"serving did not have {rows}"
        case "twice":
            return f"serving counted {_rows(guess.offsets)} twice"


def _rows(offsets: Sequence[int]) -> str:
    some = ", ".join(map(row_named, offsets[:SHOWN]))
    return some + (f" and {len(offsets) - SHOWN:,} more" if len(offsets) > SHOWN else "")


def _counted(aggregate: Feature[Any], rows: KeyRows, taken: Vector, n: int) -> Counted:
    shown = said(taken[n], kind_taken(aggregate))
    return Counted(int(rows.offset[n]), int(rows.event[n]), int(rows.arrival[n]), shown)


def _said_all(aggregate: Feature[Any], value: Vector) -> str:
    kind = kind_of(aggregate)
    if isinstance(aggregate, Wide):
        return f"[{', '.join(said(v, kind) for v in value[0])}]"
    return said(value[0], kind)


def _aggregates(features: FeatureSet, name: str) -> list[Feature[Any]]:
    value: Expr[Any] = features.expressions[features.names.index(name)]
    return [leaf for leaf in leaves(value) if isinstance(leaf, Feature)]


def _made_of(features: FeatureSet, views: Sequence[type[FeatureView]]) -> list[str]:
    """The features that are made of these views and of nothing else but the request."""
    return [
        name
        for name in features.names
        if (found := _aggregates(features, name)) and all(a.view in views for a in found)
    ]


def _request(features: FeatureSet, identity: str, id: str, evidence: Evidence) -> Vectors:
    """The columns of a request as history has them."""
    columns = ", ".join([OFFSET, *(quoted(c.name) for c in features.columns)])
    query = f"""SELECT {columns} FROM requests
        WHERE CAST({quoted(identity)} AS VARCHAR) IN (SELECT id FROM asked)
        ORDER BY {OFFSET} LIMIT 1"""
    rows, asked = evidence.tables(features.request).rows, pa.table({"id": [id]})
    found = evidence.engine.select(query, requests=rows, asked=asked)
    return {c.name: from_arrow(found[c.name], kind_of(c)) for c in features.columns}


def _part_lines(part: Part) -> Iterator[str]:
    since = "all history" if part.since is None else f"from {moment(part.since)} on"
    unseen = f"; {part.unseen:,} more did not count then" if part.unseen else ""
    count = len(part.rows) + part.earlier
    yield f"  {part.what} = {part.history}: {count:,} rows, {since}{unseen}"
    if part.earlier:
        yield f"    {part.earlier:,} earlier rows"
    for row in part.rows:
        when, came = moment(row.event), moment(row.arrival)
        yield f"    {row_named(row.offset)}: {row.value}, happened {when}, arrived {came}"
    if part.tiles is None:
        yield "    the online store was not looked at: it holds other features"
        return
    yield f"    online: {len(part.differ):,} of {part.tiles:,} tiles that are left differ"
    for tile in part.differ[:SHOWN]:
        named = f"tile {moment(tile.start)}" if tile.start is not None else "row"
        rows = f" ({_rows(tile.offsets)})" if tile.offsets else ""
        yield f"      {named} holds {tile.held}; its rows say {tile.rows_say}{rows}"
