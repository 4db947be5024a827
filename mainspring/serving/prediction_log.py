"""The prediction log: every answer with its features and version, one table per endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.engines.base import Engine
from mainspring.features.backfill import Rows
from mainspring.features.feature_set import FeatureSet
from mainspring.models.registry import Role
from mainspring.serving.endpoint import Endpoint
from mainspring.serving.roster import Answers
from mainspring.sources.record import Numbered
from mainspring.stores.base import TableStore
from mainspring.vectors import ARROW_KINDS, Vector, from_arrow, from_values, to_arrow

SILENT: tuple[Role, ...] = ("shadow", "frozen")


@dataclass(frozen=True, slots=True)
class Logged:
    """Answers of an endpoint as the log has them, in order of time.

    Attributes:
        ids, at: the requests.
        score, role, version: what was answered.
        silent: what shadow and frozen would have answered, NaN where they did not.
        silent_version: which versions those were, 0 where none.
    """

    ids: Vector
    at: Vector
    score: Vector
    role: Vector
    version: Vector
    silent: Mapping[Role, Vector]
    silent_version: Mapping[Role, Vector]

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True, slots=True)
class PredictionLog:
    """The logged answers of one endpoint."""

    endpoint: Endpoint
    store: TableStore
    engine: Engine

    @property
    def table(self) -> str:
        """The name of its table."""
        return f"__predictions_{self.endpoint.name}"

    def append(self, rows: Rows, answers: Answers, once: tuple[str, int]) -> bool:
        """Appends answers with the features they were made from; a repeated `once` is a no-op."""
        name, pairs = self.endpoint.name, zip(rows.ids, rows.at, strict=True)
        columns: list[Any] = [
            pa.array([f"{name}-{key}-{at}" for key, at in pairs], pa.string()),
            pa.array(rows.ids, pa.string()),
            rows.at,
            answers.score,
            pa.array(answers.role, pa.string()),
            answers.version,
        ]
        for role in SILENT:
            version, score = answers.silent.get(role, (0, np.full(len(rows), np.nan)))
            columns += [np.full(len(rows), version), score]
        return self._append(columns, [rows.columns[name] for name in self._features.names], once)

    def append_records(self, batch: Sequence[Numbered], end: int) -> bool:
        """Appends the answers among records of the log; what was appended before is left out.

        Args:
            end: the log offset after the batch.
        """
        known = self.store.committed(self.table, "log")
        mine = [r.answer for offset, r in batch if offset >= known and r.answer]
        made = [a for a in mine if a["endpoint"] == self.endpoint.name]
        if not made:
            return False
        names = ("request_id", "id", "at", "score", "role", "version")
        columns: list[Any] = [[a[name] for a in made] for name in names]
        for role in SILENT:
            pairs = [a["silent"].get(role, (0, None)) for a in made]
            columns += [[number for number, _ in pairs], [score for _, score in pairs]]
        kinds = zip(self._features.names, self._features.kinds, strict=True)
        features = [from_values([a["features"].get(n) for a in made], kind) for n, kind in kinds]
        return self._append(columns, features, ("log", end))

    def features(self, start: int, end: int, limit: int = 1 << 62, seed: int = 0) -> Rows:
        """The features that answers to requests with `start <= time < end` were made from; NULL
        where one was not declared yet.

        Args:
            limit: how many answers to take at most, drawn at random.
        """
        names, kinds = self._features.names, self._features.kinds
        drawn = f"""role <> 'fallback' AND request_id IN (
            SELECT request_id FROM log WHERE __at >= {start} AND __at < {end}
                AND role <> 'fallback'
            ORDER BY hash(request_id, {seed}), request_id LIMIT {limit})"""
        found = self._select("*", start, end, drawn)
        columns = {
            name: from_arrow(found[_column(name)], kind)
            if _column(name) in found.column_names
            else from_values([None] * len(found), kind)
            for name, kind in zip(names, kinds, strict=True)
        }
        return Rows(from_arrow(found["__id"], "text"), np.asarray(found["__at"], np.int64), columns)

    def read(self, start: int, end: int) -> Logged:
        """The answers to requests with `start <= time < end`."""
        found = self._select(", ".join(name for name, _ in _ANSWERED[1:]), start, end)
        return Logged(
            from_arrow(found["__id"], "text"),
            found["__at"].to_numpy(),
            from_arrow(found["score"], "number"),
            from_arrow(found["role"], "text"),
            found["version"].to_numpy(),
            {role: from_arrow(found[f"{role}_score"], "number") for role in SILENT},
            {role: found[f"{role}_version"].to_numpy() for role in SILENT},
        )

    def count(self, start: int, end: int) -> int:
        """How many requests with `start <= time < end` were answered."""
        return len(self._select("__at", start, end))

    @property
    def _features(self) -> FeatureSet:
        return self.endpoint.feature_set

    def _append(
        self, answered: list[Any], features: Sequence[Vector], once: tuple[str, int]
    ) -> bool:
        kinds = self._features.kinds
        valued = [to_arrow(vector, kind) for vector, kind in zip(features, kinds, strict=True)]
        table = pa.table([*answered, *valued], schema=schema(self._features))
        return self.store.append(self.table, table.schema, table.to_batches(), once=once)

    def _select(self, columns: str, start: int, end: int, where: str = "true") -> pa.Table:
        files = self.store.files(self.table, ("__at", start, end))
        log = files or schema(self._features).empty_table()
        query = f"""SELECT {columns} FROM log WHERE __at >= {start} AND __at < {end} AND {where}
            ORDER BY __at, __id"""
        return self.engine.select(query, log=log)


_ANSWERED = [
    ("request_id", pa.string()),
    ("__id", pa.string()),
    ("__at", pa.int64()),
    ("score", pa.float64()),
    ("role", pa.string()),
    ("version", pa.int64()),
    *(
        (f"{role}_{part}", kind)
        for role in SILENT
        for part, kind in (("version", pa.int64()), ("score", pa.float64()))
    ),
]


def schema(features: FeatureSet) -> pa.Schema:
    """The columns of a prediction log: who asked when, what was answered, and every feature."""
    kinds = zip(features.names, features.kinds, strict=True)
    return pa.schema([*_ANSWERED, *((_column(name), ARROW_KINDS[kind]) for name, kind in kinds)])


def _column(feature: str) -> str:
    """Where a feature stands in the log: a feature may have any name."""
    return f"feature:{feature}"
