"""Feast: its join of history, and reads of its SQLite online store.

Runs in Feast's own environment, where Mainspring is not.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from feast import (  # type: ignore[import-not-found]
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    ValueType,
)
from feast.types import Float64, String  # type: ignore[import-not-found]
from feast.version import get_version  # type: ignore[import-not-found]

from benchmarks.feature_engine import samples
from benchmarks.feature_engine.latency import latencies
from benchmarks.feature_engine.measuring import Figures, measured

STRING = ValueType.STRING
VALUES = ("age", "income", "score")


def _store(folder: str, offline: str) -> Any:
    home = Path(folder) / f"feast-{offline}"
    home.mkdir(exist_ok=True)
    config = RepoConfig(
        project="benchmark",
        registry=str(home / "registry.db"),
        provider="local",
        offline_store={"type": offline},
        online_store={"type": "sqlite", "path": str(home / "online.db")},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def historical(folder: str, offline: str) -> Figures:
    """The latest profile as of each request.

    Args:
        offline: the offline store that joins: dask or duckdb.
    """
    store = _store(folder, offline)
    user = Entity(name="user", join_keys=["user"], value_type=STRING)
    profiles = FileSource(path=f"{folder}/profiles.parquet", timestamp_field="at")
    fields = [Field(name=name, dtype=Float64) for name in VALUES]
    view = FeatureView(
        name="profile", entities=[user], ttl=timedelta(0), schema=fields, source=profiles
    )
    store.apply([user, view])
    asked = pd.read_parquet(f"{folder}/asks.parquet").rename(columns={"at": "event_timestamp"})
    asked["row"] = np.arange(len(asked))
    figures = Figures()
    with measured(figures):
        job = store.get_historical_features(asked, [f"profile:{name}" for name in VALUES])
        found = job.to_df()
    # It leaves out requests of users that have no row yet.
    found = found.set_index("row").reindex(range(len(asked)))
    samples.keep(folder, offline, {name: found[name].to_numpy() for name in VALUES})
    return figures | {"version": get_version()}


ONLINE = {
    "User": (("user",), ("clicks_1h", "spent_1d", "mean_7d", "last_amount")),
    "Item": (("item",), ("clicks_1h", "greatest_1d", "mean_7d")),
    "Pair": (("user", "item"), ("clicks_30d", "spent_30d", "last_amount")),
}


def online_write(home: str) -> Figures:
    """Writes the ready values of all keys to the SQLite store."""
    store, figures = _store(home, "duckdb"), Figures()
    entities = {n: Entity(name=n, join_keys=[n], value_type=STRING) for n in ("user", "item")}
    views = [
        FeatureView(
            name=name,
            entities=[entities[key] for key in keys],
            ttl=timedelta(0),
            schema=[
                *(Field(name=key, dtype=String) for key in keys),
                *(Field(name=value, dtype=Float64) for value in values),
            ],
            source=FileSource(path=f"{home}/{name}.parquet", timestamp_field="at"),
        )
        for name, (keys, values) in ONLINE.items()
    ]
    store.apply([*entities.values(), *views])
    frames = {name: pd.read_parquet(f"{home}/{name}.parquet") for name in ONLINE}
    with measured(figures):
        for name, frame in frames.items():
            store.write_to_online_store(name, frame)
    keys = sum(map(len, frames.values()))
    return figures | {"rows": keys, "keys": keys}


def online_read(home: str, entities: int, reads: int) -> Figures:
    """Reads of ten features from three views."""
    store, found = _store(home, "duckdb"), list[dict[str, Any]]()
    features = [f"{view}:{name}" for view, (_, names) in ONLINE.items() for name in names]
    rows = pd.read_parquet(f"{home}/asks.parquet")
    starts = range(0, len(rows) - entities + 1, entities)[:reads]
    asked = [
        {name: rows[name][start : start + entities].tolist() for name in ("user", "item")}
        for start in starts
    ]

    def read(request: dict[str, list[str]]) -> None:
        answer = store.get_online_features(features, request, full_feature_names=True)
        found.append(answer.to_dict())

    figures = latencies(read, asked)
    names = {feature.replace(":", "."): feature.replace(":", "__") for feature in features}
    values = {
        ours: np.concatenate([np.array(f[theirs], float) for f in found])
        for ours, theirs in names.items()
    }
    samples.keep(home, "feast", values)
    return figures
