"""The prediction log: every answer with its features and version, as a table of its own per endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

    def append(
        self,
        rows: Rows,
        answers: Answers,
        once: tuple[str, int],
        request_ids: Sequence[str] | None = None,
    ) -> bool:
        """Appends answers with the features they were made from; a repeated `once` is a no-op."""
        features = self.endpoint.feature_set
        named = request_ids or [
            f"{self.endpoint.name}-{i}-{t}" for i, t in zip(rows.ids, rows.at, strict=True)
        ]
        columns: list[Any] = [
            pa.array(named),
            pa.array(rows.ids, pa.string()),
            rows.at,
            answers.score,
            pa.array(answers.role, pa.string()),
            answers.version,
        ]
        for role in SILENT:
            version, score = answers.silent.get(role, (0, np.full(len(rows), np.nan)))
            columns += [np.full(len(rows), version), score]
        columns += [
            to_arrow(rows.columns[n], k)
            for n, k in zip(features.names, features.kinds, strict=True)
        ]
        table = pa.table(columns, schema=schema(features))
        return self.store.append(self.table, table.schema, table.to_batches(), once=once)

    def append_records(self, answered: Iterable[Mapping[str, Any]], once: tuple[str, int]) -> bool:
        """Appends answers as the log's records carry them."""
        made = list(answered)
        shaped = schema(self.endpoint.feature_set)
        features = self.endpoint.feature_set
        columns: list[Any] = [
            [a[name] for a in made]
            for name in ("request_id", "id", "at", "score", "role", "version")
        ]
        for role in SILENT:
            pairs = [a["silent"].get(role, (0, None)) for a in made]
            columns += [[p[0] for p in pairs], [p[1] for p in pairs]]
        for position, kind in enumerate(features.kinds):
            columns.append(
                to_arrow(from_values([a["features"][position] for a in made], kind), kind)
            )
        table = pa.table(columns, schema=shaped)
        return self.store.append(self.table, shaped, table.to_batches(), once=once)

    def read(self, start: int, end: int) -> Logged:
        """The answers to requests with `start <= time < end`."""
        files = self.store.files(self.table)
        query = f"SELECT * EXCLUDE (request_id) FROM log WHERE __at >= {start} AND __at < {end} ORDER BY __at, __id"
        found = (
            self.engine.select(query, log=files)
            if files
            else schema(self.endpoint.feature_set).empty_table()
        )
        numbers = {
            n: np.asarray(found[n].combine_chunks().to_numpy(zero_copy_only=False))
            for n in ("version", "__at")
        }
        return Logged(
            from_arrow(found["__id"], "text"),
            numbers["__at"],
            from_arrow(found["score"], "number"),
            from_arrow(found["role"], "text"),
            numbers["version"],
            {role: from_arrow(found[f"{role}_score"], "number") for role in SILENT},
            {role: found[f"{role}_version"].to_numpy() for role in SILENT},
        )


def schema(features: FeatureSet) -> pa.Schema:
    """The columns of an endpoint's prediction log: who asked when, what was answered, and every feature."""
    answered = [
        ("request_id", pa.string()),
        ("__id", pa.string()),
        ("__at", pa.int64()),
        ("score", pa.float64()),
        ("role", pa.string()),
        ("version", pa.int64()),
    ]
    silent = [
        (f"{role}_{part}", t)
        for role in SILENT
        for part, t in (("version", pa.int64()), ("score", pa.float64()))
    ]
    valued = [
        (name, ARROW_KINDS[kind]) for name, kind in zip(features.names, features.kinds, strict=True)
    ]
    return pa.schema([*answered, *silent, *valued])
