"""Offline, our side: the point-in-time join; and the sort and the kernel that it is made of."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.feature_engine import samples
from benchmarks.feature_engine.clicks import (
    KINDS,
    LAST,
    OFFLINE,
    WINDOWS,
    Click,
    requests_of,
    tables_of,
)
from benchmarks.feature_engine.measuring import Figures, measured
from mainspring.engines.urls import connect_engine
from mainspring.features.kernel import Aggregate, Events, Requests, compute
from mainspring.features.point_in_time import point_in_time
from mainspring.vectors import Vector
from mainspring.windows import Window


def ours(folder: str) -> Figures:
    """The join as a training set asks for it: requests are in memory, events in files."""
    asked, at = requests_of(folder)
    tables, engine, figures = tables_of(folder), connect_engine(), Figures()
    with measured(figures):
        values = point_in_time(OFFLINE, asked, at, tables, engine)
    samples.keep(folder, "ours", _columns({n.split(".")[1]: v for n, v in values.items()}))
    return figures | {"answers MB": sum(v.nbytes for v in values.values()) / 2**20}


def bare(folder: str) -> Figures:
    """A sort of the same columns by DuckDB, and one call of the kernel on all of them."""
    files, figures = list(tables_of(folder)(Click).files), Figures()
    database = duckdb.connect()
    query = """SELECT user, epoch_us("at") AS event, greatest(epoch_us("at"), __arrival) AS visible,
        amount FROM read_parquet($files) ORDER BY user, event, __offset"""
    asked, at = requests_of(folder)
    with measured(figures):
        rows: pa.Table = database.execute(query, {"files": files}).to_arrow_table()
        users = rows["user"].combine_chunks().dictionary_encode()
        codes = np.asarray(users.indices)
        starts = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes))
        event, visible, amount = (rows[n].to_numpy() for n in ("event", "visible", "amount"))
        number = np.asarray(
            pc.index_in(pa.array(asked["user"], pa.string()), users.dictionary).fill_null(-1),
            np.int64,
        )
        found = compute(Events(starts, event, visible), Requests(number, at), _aggregates(amount))
    names = [f"{kind}_{w}" for w in WINDOWS for kind in ("count", *KINDS, "last")]
    samples.keep(folder, "bare", _columns(dict(zip(names, found, strict=True))))
    return figures


def _aggregates(amount: Vector) -> list[Aggregate]:
    found: list[Aggregate] = []
    for length in WINDOWS.values():
        window = Window.of(length, None)
        found += [Aggregate(kind, amount, window) for kind in ("count", *KINDS)]
        found.append(Aggregate("last_k", amount, window, LAST))
    return found


def _columns(values: dict[str, Vector]) -> dict[str, Vector]:
    """Values with those of `last_k` in a column for each item."""
    found = {name: column for name, column in values.items() if column.ndim == 1}
    for name, columns in values.items():
        if columns.ndim > 1:
            found |= {f"{name}.{i}": columns[:, i] for i in range(columns.shape[1])}
    return found
