"""Bare LMDB: as many keys as ours, each with values that are ready to use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.feature_engine import samples
from benchmarks.feature_engine.latency import latencies
from benchmarks.feature_engine.measuring import Figures, measured
from mainspring.vectors import Vector

VIEWS = {"User": ("user",), "Item": ("item",), "Pair": ("user", "item")}
ROWS = 10_000
"""Keys written in one transaction."""


def write(home: str) -> Figures:
    """Writes the values of all keys, packed as float64."""
    environment, figures = _opened(home), Figures()
    packed = sorted(pair for view, keys in VIEWS.items() for pair in _packed(home, view, keys))
    with measured(figures):
        for first in range(0, len(packed), ROWS):
            with environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(packed[first : first + ROWS])
    return figures | {"rows": len(packed), "keys": len(packed)}


def _opened(home: str) -> lmdb.Environment:
    return lmdb.open(f"{home}/bare", map_size=1 << 36)


def _packed(home: str, view: str, keys: Sequence[str]) -> list[tuple[bytes, bytes]]:
    rows = pq.read_table(Path(home) / f"{view}.parquet")
    names = zip(*(rows[key].to_pylist() for key in keys), strict=True)
    values = np.stack([rows[name].to_numpy() for name in _values(rows.schema)], axis=1)
    return [
        ("\0".join((view, *name)).encode(), row.tobytes())
        for name, row in zip(names, values, strict=True)
    ]


def _values(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if field.type == pa.float64()]


def read(home: str, entities: int, reads: int, named: bool) -> Figures:
    """Reads of the ten features: three gets for each entity, in one transaction.

    Args:
        named: the names of the keys are made meanwhile, as they are in ours.
    """
    environment, found = _opened(home), list[dict[str, Vector]]()
    features = {
        view: [f"{view}.{name}" for name in _values(pq.read_schema(Path(home) / f"{view}.parquet"))]
        for view in VIEWS
    }
    rows = pq.read_table(Path(home) / "asks.parquet")
    users, items = rows["user"].to_pylist(), rows["item"].to_pylist()
    starts = range(0, len(rows) - entities + 1, entities)[:reads]
    asked = [(users[at : at + entities], items[at : at + entities]) for at in starts]
    if named:
        figures = latencies(lambda a: found.append(_get(environment, features, _keys(*a))), asked)
    else:
        ready = [_keys(*a) for a in asked]
        figures = latencies(lambda keys: found.append(_get(environment, features, keys)), ready)
    names = [name for mine in features.values() for name in mine]
    samples.keep(home, "bare", {n: np.concatenate([f[n] for f in found]) for n in names})
    return figures


def _keys(users: Sequence[str], items: Sequence[str]) -> dict[str, list[bytes]]:
    pairs = zip(users, items, strict=True)
    return {
        "User": [f"User\0{user}".encode() for user in users],
        "Item": [f"Item\0{item}".encode() for item in items],
        "Pair": [f"Pair\0{user}\0{item}".encode() for user, item in pairs],
    }


def _get(
    environment: lmdb.Environment, features: dict[str, list[str]], keys: dict[str, list[bytes]]
) -> dict[str, Vector]:
    found: dict[str, Vector] = {}
    with environment.begin() as transaction:
        for view, names in features.items():
            mine = keys[view]
            data = b"".join([cast(bytes, transaction.get(key)) for key in mine])
            columns = np.frombuffer(data).reshape(len(mine), len(names))
            found |= zip(names, columns.T, strict=True)
    return found
