"""The latest row of each user as of each request: what a feature store's join gives, our side."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import mainspring as ms
from benchmarks.feature_engine import samples
from benchmarks.feature_engine.clicks import END, START, names_of, skewed, tables_of
from benchmarks.feature_engine.measuring import Figures, measured
from mainspring.engines.urls import connect_engine
from mainspring.features.feature_set import resolve
from mainspring.features.point_in_time import point_in_time
from mainspring.sources.table import arrow_schema
from mainspring.vectors import Vector, from_arrow

CHUNK = 500_000
VALUES = ("age", "income", "score")
Draw = Callable[[np.random.Generator, int, int], Vector]
TIME = pa.timestamp("us", "UTC")


class Profile(ms.Source, url="profiles.parquet"):
    user: ms.Column[str]
    age: ms.Column[float]
    income: ms.Column[float]
    score: ms.Column[float]
    at: ms.Column[datetime] = ms.event_time()


class Ask(ms.Source, url="asks.parquet"):
    user: ms.Column[str]
    at: ms.Column[datetime] = ms.event_time()


class Latest(ms.FeatureView, key=Profile.user):
    age = ms.latest(Profile.age)
    income = ms.latest(Profile.income)
    score = ms.latest(Profile.score)


FEATURES = resolve([Latest], Ask, "the benchmark", "here")


def write(folder: str, *, rows: int, requests: int, users: int, skew: bool) -> Figures:
    """Writes profiles as our table and as a plain Parquet file, and the requests.

    Args:
        skew: some users have far more rows and requests than others, instead of all as many.
    """
    draw = skewed if skew else _evenly
    if (Path(folder) / "asks.parquet").exists():
        return {}
    shutil.rmtree(folder, ignore_errors=True)
    tables_of(folder)(Profile).append(_profiles(rows, users, draw), ("benchmark", 0))
    schema = pa.schema([("user", pa.string()), *((v, pa.float64()) for v in VALUES), ("at", TIME)])
    with pq.ParquetWriter(Path(folder) / "profiles.parquet", schema) as file:
        for batch in _profiles(rows, users, draw):
            file.write_batch(batch.select(schema.names))
    rng = np.random.default_rng(3)
    times = pa.array(START + rng.integers(0, END - START, requests) // 2 * 2 + 1, TIME)
    asked = {"user": names_of("u", draw(rng, users, requests)), "at": times}
    pq.write_table(pa.table(asked), Path(folder) / "asks.parquet")
    return {}


def _evenly(rng: np.random.Generator, keys: int, n: int) -> Vector:
    return rng.integers(0, keys, n)


def _profiles(rows: int, users: int, draw: Draw) -> Iterator[pa.RecordBatch]:
    rng = np.random.default_rng(2)
    for first in range(0, rows, CHUNK):
        n = min(CHUNK, rows - first)
        at = np.sort(rng.integers(START, END, n)) // 2 * 2
        columns = [names_of("u", draw(rng, users, n)), *rng.normal(size=(len(VALUES), n))]
        columns += [pa.array(at, TIME), np.arange(first, first + n), at]
        yield pa.record_batch(columns, schema=arrow_schema(Profile.__schema__))


def ours(folder: str) -> Figures:
    """The join as a training set asks for it."""
    rows = pq.read_table(Path(folder) / "asks.parquet")
    at = np.asarray(rows["at"].cast(pa.int64()))
    asked = {"user": from_arrow(rows["user"], "text")}
    del rows
    tables, engine, figures = tables_of(folder), connect_engine(), Figures()
    with measured(figures):
        values = point_in_time(FEATURES, asked, at, tables, engine)
    samples.keep(folder, "ours", {name.split(".")[1]: v for name, v in values.items()})
    return figures
