"""Backfill: the features of past requests, each computed once and kept.

A point-in-time value depends only on rows that were visible before its request, so it never
changes: what was computed stays right, and a training reads what an earlier one computed. Only new
files of history bring rows that arrived in the past.

A feature is known by a key: a digest of its name, of all that defines it, and of how much history
its sources have. So a new feature, or one whose definition or history has changed, is computed
alone, and feature sets share what they have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.engines.base import Engine
from mainspring.expressions import Kind, kind_of
from mainspring.features.feature_set import FeatureSet
from mainspring.features.kept import content_hash
from mainspring.features.point_in_time import TableOf, event_of, point_in_time, quoted
from mainspring.features.stretch import AT, ID, Folder, Stretch, gaps
from mainspring.features.value import definition_of, sources_of, subset
from mainspring.graph import digest
from mainspring.sources.source import Column, Source
from mainspring.sources.table import LIVE, OFFSET
from mainspring.vectors import ARROW_KINDS, Vector, from_arrow, to_arrow

STRETCH = 1_000_000
"""Requests in one stretch at most, and in short ones that are computed together."""

Told = Callable[[float, int], None]
"""Is told how many of the stretches that miss something are done, of how many."""

_REQUESTS = pa.schema([(ID, pa.string()), (AT, pa.int64()), (OFFSET, pa.int64())])


def _nobody(done: float, of: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests with their features.

    Attributes:
        ids: the request's key, text, one per row.
        at: the request's time, int64 microseconds.
        columns: the features by name, one vector each.
    """

    ids: Vector
    at: Vector
    columns: dict[str, Vector]

    def __len__(self) -> int:
        return len(self.at)

    def take(self, chosen: Vector) -> Rows:
        """The rows at positions, or where a mask is true."""
        columns = {name: vector[chosen] for name, vector in self.columns.items()}
        return Rows(self.ids[chosen], self.at[chosen], columns)


class Backfill:
    """The features of all past requests of one feature set.

    Processes and feature sets may share a folder: one computes at a time. A file is there whole or
    not at all; one that is damaged or foreign is made anew.

    Args:
        folder: where what was computed is kept.
        identity: the column that names a request.
    """

    def __init__(
        self, folder: Path, features: FeatureSet, identity: str, tables: TableOf, engine: Engine
    ) -> None:
        self._all, self._features, self._identity = folder, features, identity
        self._tables, self._engine = tables, engine
        self._kinds: dict[str, Kind] = dict(zip(features.names, features.kinds, strict=True))
        values = list(zip(features.names, features.expressions, strict=True))
        self._definitions = {name: definition_of(value) for name, value in values}
        self._digests = {name: digest(whole) for name, whole in self._definitions.items()}
        self._sources = {name: sources_of(value) for name, value in values}
        self._history: dict[tuple[str, int], int] = {}

    def read(self, start: int, end: int) -> Rows:
        """The requests with `start <= time < end`, in order of time, computed now if need be.

        The caller must not ask beyond what has arrived: `end` is at most the present.
        """
        return self._as_rows(pa.concat_tables(self._kept(start, end)))

    def content(self, start: int, end: int) -> tuple[int, str]:
        """How many rows `read` gives, and their content hash: in every home the same for the same
        rows."""
        rows = 0

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for table in self._kept(start, end):
                rows += table.num_rows
                yield from table.to_batches()

        hashed = content_hash(self._schema(), batches())
        return rows, hashed

    def extend(self, start: int, end: int, told: Told = _nobody) -> dict[str, int]:
        """Computes what is missing of a stretch of time; gives for how many requests it computed
        each feature.

        A long stretch costs little more than a short one.
        """
        return self._complete(start, end, self._keys(), told)[1]

    def span(self) -> tuple[int, int]:
        """From the first request that there is to the moment after the last."""
        event = event_of(self._features.request)
        query = f"SELECT min({event}) AS first, max({event}) AS last FROM requests"
        rows = self._tables(self._features.request).rows
        (found,) = self._engine.select(query, requests=rows).to_pylist()
        return (0, 0) if found["last"] is None else (found["first"], found["last"] + 1)

    def compute(self, ids: Vector, at: Vector) -> Rows:
        """The features of known requests at given times, computed anew: what audits compare with.

        A request that was asked twice has one row in its table, and features for each time.
        """
        asked = pa.table({ID: pa.array(ids, pa.string()), AT: pa.array(at, pa.int64())})
        key = quoted(self._identity)
        query = f"""
            SELECT a.{ID}, a.{AT}{_named(self._features.columns)} FROM asked a JOIN (
                SELECT *, CAST({key} AS VARCHAR) AS {ID} FROM requests
                QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {OFFSET}) = 1
            ) r USING ({ID}) ORDER BY a.{AT}, a.{ID}"""
        files = self._tables(self._features.request).files
        if not files:
            return self._as_rows(self._schema().empty_table())
        found = self._engine.select(query, asked=asked, requests=files)
        values = self._valued(self._features, found, _nobody)
        return self._as_rows(
            pa.table([found[ID], found[AT], *values.columns], schema=self._schema())
        )

    def _kept(self, start: int, end: int) -> Iterator[pa.Table]:
        """What `read` gives, stretch by stretch; at least one table."""
        yield self._schema().empty_table()
        keys = self._keys()
        for stretch in self._complete(start, end, keys, _nobody)[0]:
            yield stretch.between(start, end, keys)

    def _as_rows(self, table: pa.Table) -> Rows:
        columns = {name: from_arrow(table[name], kind) for name, kind in self._kinds.items()}
        return Rows(from_arrow(table[ID], "text"), from_arrow(table[AT], "time"), columns)

    def _schema(self) -> pa.Schema:
        values = [(name, ARROW_KINDS[kind]) for name, kind in self._kinds.items()]
        return pa.schema([(ID, pa.string()), (AT, pa.int64()), *values])

    def _keys(self) -> dict[str, str]:
        """What each feature is known by."""
        used = {source for sources in self._sources.values() for source in sources}
        rows = {source: self._rows_of_history(source) for source in used}
        return {
            name: digest([self._digests[name], {s.__schema__.id: rows[s] for s in sources}])
            for name, sources in self._sources.items()
        }

    def _folder(self) -> Folder:
        request = self._features.request
        known_by = [request.__schema__.id, self._identity, self._rows_of_history(request)]
        return Folder(self._all / digest(known_by))

    def _rows_of_history(self, source: type[Source]) -> int:
        """How many rows of a source came in files; counted again when its table has changed."""
        table = self._tables(source)
        version = source.__schema__.id, table.version
        if version not in self._history:
            query = f"SELECT count(*) AS n FROM rows WHERE {OFFSET} < {LIVE}"
            files = table.files
            counted = self._engine.select(query, rows=files)["n"][0].as_py() if files else 0
            self._history[version] = counted
        return self._history[version]

    def _complete(
        self, start: int, end: int, keys: Mapping[str, str], told: Told
    ) -> tuple[list[Stretch], dict[str, int]]:
        """The stretches of a time with every feature, and how much of each was computed now."""
        folder, computed = self._folder(), dict[str, int]()
        while start < end:
            found = folder.stretches(start, end)
            if not gaps(found, start, end) and not any(s.missing(keys) for s in found):
                return found, computed
            with folder.alone():
                folder.clean(start, end)
                for low, high in gaps(folder.stretches(start, end), start, end):
                    self._list_requests(folder, low, high)
                for names, rows in self._fill(folder, start, end, keys, told):
                    computed |= {name: computed.get(name, 0) + rows for name in names}
        return [], computed

    def _list_requests(self, folder: Folder, start: int, end: int) -> None:
        """Keeps which requests there are, in stretches of bounded size."""
        found = self._requests((), start, end).cast(_REQUESTS)
        at = np.asarray(found[AT])
        cuts = {int(at[n]) for n in range(STRETCH, len(at), STRETCH)} - {start}
        for low, high in pairwise([start, *sorted(cuts), end]):
            first, last = np.searchsorted(at, (low, high))
            folder.keep_requests(low, high, found.slice(first, last - first))

    def _requests(
        self, columns: Sequence[Column[Any]], start: int, end: int, among: pa.Table | None = None
    ) -> pa.Table:
        """Requests in order, with some of their columns; all of them, or those of a list."""
        event = event_of(self._features.request)
        listed = {} if among is None else {"among": among}
        chosen = f"SEMI JOIN among USING ({OFFSET})" if listed else ""
        query = f"""
            SELECT CAST({quoted(self._identity)} AS VARCHAR) AS {ID}, {event} AS {AT}, {OFFSET}
                {_named(columns)} FROM requests {chosen}
            WHERE {event} >= {start} AND {event} < {end} ORDER BY {AT}, {ID}, {OFFSET}"""
        rows = self._tables(self._features.request).rows
        return self._engine.select(query, requests=rows, **listed)

    def _fill(
        self, folder: Folder, start: int, end: int, keys: Mapping[str, str], told: Told
    ) -> Iterator[tuple[Sequence[str], int]]:
        """Computes what stretches miss; gives which features that was, and for how many rows."""
        missing = [s for s in folder.stretches(start, end) if s.missing(keys)]
        done = 0
        for names, together in _together(missing, keys):
            features = subset(self._features, names)
            share = _share(features, done, len(together), len(missing), told)
            wanted = {name: keys[name] for name in names}
            yield names, self._fill_together(folder, together, features, wanted, share)
            done += len(together)
            told(done, len(missing))

    def _fill_together(
        self,
        folder: Folder,
        stretches: Sequence[Stretch],
        features: FeatureSet,
        keys: Mapping[str, str],
        told: Callable[[int, int], None],
    ) -> int:
        """Computes features for stretches, and gives for how many requests."""
        listed = pa.concat_tables(s.requests.columns(_REQUESTS.names) for s in stretches)
        start, end = stretches[0].low, stretches[-1].high
        requests = self._requests(features.columns, start, end, listed)
        if not requests.select(_REQUESTS.names).equals(listed):
            for stretch in stretches:  # the table was made anew: list its requests again
                stretch.requests.path.unlink()
            return 0
        values, first = self._valued(features, requests, told), 0
        for stretch in stretches:
            part = values.slice(first, stretch.requests.rows)
            folder.keep_values(stretch, part, keys, self._definitions)
            first += len(part)
        return first

    def _valued(
        self, features: FeatureSet, requests: pa.Table, told: Callable[[int, int], None]
    ) -> pa.Table:
        """The features of requests."""
        columns = {c.name: from_arrow(requests[c.name], kind_of(c)) for c in features.columns}
        at = from_arrow(requests[AT], "time")
        values = point_in_time(features, columns, at, self._tables, self._engine, told)
        pairs = zip(features.names, features.kinds, strict=True)
        return pa.table({name: to_arrow(values[name], kind) for name, kind in pairs})


def _named(columns: Iterable[Column[Any]]) -> str:
    return "".join(f", {quoted(column.name)}" for column in columns)


def _together(
    stretches: Sequence[Stretch], keys: Mapping[str, str]
) -> Iterator[tuple[tuple[str, ...], list[Stretch]]]:
    """Stretches one after the other that miss the same, until they have enough requests."""
    before = accumulate((s.requests.rows for s in stretches), initial=0)
    batch = [(s.missing(keys), rows // STRETCH) for s, rows in zip(stretches, before, strict=False)]
    for (names, _), pairs in groupby(zip(batch, stretches, strict=True), key=itemgetter(0)):
        yield names, [stretch for _, stretch in pairs]


def _share(
    features: FeatureSet, done: int, together: int, of: int, told: Told
) -> Callable[[int, int], None]:
    """Says how far a computation is: its joins come one after the other, each from its first row to
    its last."""
    joins, joined = len({tuple(map(id, v.__view__.keys)) for v in features.views}), 0

    def tell(rows: int, of_rows: int) -> None:
        nonlocal joined
        told(done + together * min(1.0, (joined + rows / of_rows) / joins), of)
        joined += rows == of_rows

    return tell
