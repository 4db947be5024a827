"""Offline, in Polars: rolling windows over clicks and requests in one frame, and an as-of join.

Runs in Polars' own environment, where Mainspring is not.
"""

from __future__ import annotations

from typing import Any

import polars as pl  # type: ignore[import-not-found]

from benchmarks.feature_engine import samples
from benchmarks.feature_engine.measuring import Figures, measured

WINDOWS = {"1h": 3600, "1d": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
LAST = 5


def rolling(folder: str) -> Figures:
    """The same values as `offline.ours`."""
    figures = Figures()
    with measured(figures):
        clicks = pl.read_parquet(
            f"{folder}/tables/Click/*.parquet", columns=["user", "at", "amount", "__offset"]
        ).select("user", pl.col("at").dt.epoch("us"), "amount", row="__offset", is_click=True)
        asked = pl.read_parquet(f"{folder}/requests.parquet", columns=["user", "at"])
        asked = asked.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
        windows = _windows(clicks, asked).sort("row")
        lasts = _lasts(clicks, asked).sort("row")
        found = pl.concat([windows.drop("row"), lasts.drop("row")], how="horizontal")
    values = {name: found[name].cast(pl.Float64).to_numpy() for name in found.columns}
    samples.keep(folder, "polars", values)
    return figures | {"version": pl.__version__}


def _windows(clicks: Any, asked: Any) -> Any:
    """Counts, sums, means and extremes."""
    nothing = pl.lit(None, pl.Float64)
    questions = asked.select("user", "at", amount=nothing, row="row", is_click=False)
    rows = pl.concat([clicks, questions]).sort("user", "at", "is_click", "row")
    values = []
    for name, seconds in WINDOWS.items():
        us = f"{seconds * 1_000_000}i"
        for kind in ("sum", "mean", "min", "max"):
            amount = getattr(pl.col("amount"), f"rolling_{kind}_by")("at", us, closed="left")
            values.append(amount.over("user").alias(f"{kind}_{name}"))
        clicked = pl.col("is_click").cast(pl.Float64).rolling_sum_by("at", us, closed="left")
        values.append(clicked.over("user").alias(f"count_{name}"))
    found = rows.select("row", "is_click", *values).filter(~pl.col("is_click")).drop("is_click")
    # A sum of nothing is 0 there.
    known = (pl.when(pl.col(f"count_{w}") > 0).then(pl.col(f"sum_{w}")) for w in WINDOWS)
    return found.with_columns(
        *(sum.alias(f"sum_{w}") for w, sum in zip(WINDOWS, known, strict=True))
    )


def _lasts(clicks: Any, asked: Any) -> Any:
    """The last clicks before each request, where they are in the window."""
    before = clicks.sort("user", "at", "row").select(
        "user",
        "at",
        *(pl.col("amount").shift(i).over("user").alias(f"amount{i}") for i in range(LAST)),
        *(pl.col("at").shift(i).over("user").alias(f"at{i}") for i in range(LAST)),
    )
    joined = asked.sort("at").join_asof(
        before.sort("at"), on="at", by="user", strategy="backward", allow_exact_matches=False
    )
    return joined.select(
        "row",
        *(
            pl.when(pl.col(f"at{i}") >= pl.col("at") - seconds * 1_000_000)
            .then(pl.col(f"amount{i}"))
            .alias(f"last_{name}.{i}")
            for name, seconds in WINDOWS.items()
            for i in range(LAST)
        ),
    )
