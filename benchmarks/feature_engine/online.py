"""Online, our side: reads, batches of events applied, materialising.

`prepare` writes what every side reads: the requests, and for the peers a file for each view with
the values of all its keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.feature_engine import samples
from benchmarks.feature_engine.clicks import (
    END,
    ONLINE,
    ONLINE_VIEWS,
    Click,
    clicks,
    skewed,
    tables_of,
)
from benchmarks.feature_engine.latency import latencies
from benchmarks.feature_engine.measuring import Figures, measured
from mainspring.clock import SECOND
from mainspring.engines.urls import connect_engine
from mainspring.features.materialise import materialise
from mainspring.features.online import Applied, OnlineFeatures
from mainspring.features.view import FeatureView
from mainspring.stores.urls import connect_online
from mainspring.vectors import Vector, from_values

BATCH = 1000
FRESH = 100
"""Batches that are applied after the history: what is read was updated by one of them."""

NOW = END + 120 * SECOND + 1
"""When all are applied; no hop ends until then."""

NAMES = ("user", "item")


def prepare(folder: str, home: str, users: int, items: int) -> Figures:
    """Materialises a history, applies batches to it, and writes what the peers read."""
    online = _opened(home, ONLINE_VIEWS)
    materialise(online, tables_of(folder), connect_engine(), END, 0)
    batches = list(_batches(users, items, FRESH))
    for number, batch in enumerate(batches):
        online.apply([(Click, batch)], _upto(number, batch))
    asked = _distinct(pa.concat_tables(batches), NAMES)
    pq.write_table(asked, Path(home) / "asks.parquet")
    history = pq.read_table(list(tables_of(folder)(Click).files), columns=list(NAMES))
    known = _distinct(pa.concat_tables([history, asked]), NAMES)
    _, values = online.read(ONLINE, _request(known), NOW)
    return {"keys": sum(_export(home, view, known, values) for view in ONLINE_VIEWS)}


def _export(home: str, view: type[FeatureView], known: pa.Table, values: dict[str, Vector]) -> int:
    """Writes the values of all keys of a view; how many these are."""
    keys = [key.name for key in view.__view__.keys]
    named = {feature.name: values[feature.label] for feature in view.__view__.features.values()}
    columns = {name: pa.array(column, from_pandas=True) for name, column in named.items()}
    times = pa.array(np.full(len(known), NOW), pa.timestamp("us", "UTC"))
    rows = pa.table({**{key: known[key] for key in keys}, **columns, "at": times})
    rows = _distinct(rows, rows.column_names)
    pq.write_table(rows, Path(home) / f"{view.__view__.id}.parquet")
    return len(rows)


def _distinct(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """The distinct rows, those first seen first."""
    return rows.group_by(list(names), use_threads=False).aggregate([])


def _opened(home: str, views: Sequence[type[FeatureView]]) -> OnlineFeatures:
    return OnlineFeatures.of(connect_online(f"lmdb://{home}/online"), views)


def _batches(users: int, items: int, n: int) -> Iterator[pa.Table]:
    """Clicks after the history, a thousand in each tenth of a second."""
    rng = np.random.default_rng(5)
    for number in range(n):
        since = END + number * SECOND // 10
        at = np.sort(rng.integers(since, since + SECOND // 10, BATCH))
        who, what = skewed(rng, users, BATCH), skewed(rng, items, BATCH)
        yield pa.Table.from_batches([clicks(rng, number * BATCH, at, who, what)])


def _upto(number: int, batch: pa.Table) -> Applied:
    return Applied((number + 1) * BATCH, batch["__arrival"][-1].as_py())


def _request(rows: pa.Table) -> dict[str, Vector]:
    return {name: from_values(rows[name].to_pylist(), "text") for name in NAMES}


def read(home: str, entities: int, reads: int, idle: bool) -> Figures:
    """Reads of entities that were just updated, or of the same ones an hour later."""
    online, at = _opened(home, ONLINE_VIEWS), NOW + 3600 * SECOND * idle
    rows, found = pq.read_table(Path(home) / "asks.parquet"), list[dict[str, Vector]]()
    starts = range(0, len(rows) - entities + 1, entities)[:reads]
    asked = [_request(rows.slice(start, entities)) for start in starts]
    figures = latencies(lambda request: found.append(online.read(ONLINE, request, at)[1]), asked)
    if not idle:
        values = {name: np.concatenate([f[name] for f in found]) for name in ONLINE.names}
        samples.keep(home, "ours", values)
    return figures


def apply(folder: str, home: str, users: int, items: int, views: int, batches: int) -> Figures:
    """Batches of 1,000 clicks into the tiles of a history; a quarter more before to warm up."""
    online, figures = _opened(home, ONLINE_VIEWS[:views]), Figures()
    materialise(online, tables_of(folder), connect_engine(), END, 0)
    drawn = list(enumerate(_batches(users, items, batches + batches // 4)))
    for number, batch in drawn[:-batches]:
        online.apply([(Click, batch)], _upto(number, batch))
    with measured(figures):
        for number, batch in drawn[-batches:]:
            online.apply([(Click, batch)], _upto(number, batch))
    return figures | {"rows": batches * BATCH}


def materialised(folder: str, home: str) -> Figures:
    """The tiles of one view, of users, from a history."""
    online, figures = _opened(home, ONLINE_VIEWS[:1]), Figures()
    with measured(figures):
        rows = materialise(online, tables_of(folder), connect_engine(), END, 0)
    files = list(tables_of(folder)(Click).files)
    users = connect_engine().select('SELECT count(DISTINCT "user") AS n FROM rows', rows=files)
    return figures | {"rows": rows, "keys": users["n"][0].as_py()}
