"""Offline, in DuckDB: window frames over clicks and requests in one relation."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from benchmarks.feature_engine import samples
from benchmarks.feature_engine.clicks import KINDS, LAST, WINDOWS, Click, tables_of
from benchmarks.feature_engine.measuring import Figures, measured
from mainspring.windows import microseconds


def frames(folder: str) -> Figures:
    """One query with a window frame for each window, over clicks and requests in one relation."""
    files = list(tables_of(folder)(Click).files)
    asked, figures, database = f"{folder}/requests.parquet", Figures(), duckdb.connect()
    with measured(figures):
        database.execute("SET enable_progress_bar = false")
        found: pa.Table = database.execute(
            _frames(), {"files": files, "asked": asked}
        ).to_arrow_table()
    names = [name for name in found.column_names if name != "number"]
    values = {n: found[n].cast(pa.float64()).to_numpy() for n in names}
    samples.keep(folder, "duckdb", values)
    return figures | {"version": duckdb.__version__}


def _frames() -> str:
    values, frames = list[str](), list[str]()
    for name, window in WINDOWS.items():
        us, over = microseconds(window), f"OVER w{name}"
        frames.append(f"""w{name} AS (PARTITION BY user ORDER BY t
            RANGE BETWEEN {us} PRECEDING AND 1 PRECEDING)""")
        values.append(f"count(amount) {over} AS count_{name}")
        values += [f"{_SQL.get(k, k)}(amount) {over} AS {k}_{name}" for k in KINDS]
        # A list over the frame would be as long as the frame; these lags all windows share.
        for i in range(LAST):
            values.append(f"""CASE WHEN lag(seen, {i + 1} IGNORE NULLS) OVER before >= t - {us}
                THEN lag(amount, {i + 1} IGNORE NULLS) OVER before END AS "last_{name}.{i}" """)
    return f"""
        WITH rows AS (
            SELECT user, epoch_us("at") AS t, true AS is_click, __offset AS number,
                amount, epoch_us("at") AS seen FROM read_parquet($files)
            UNION ALL SELECT user, "at", false, file_row_number, NULL, NULL
                FROM read_parquet($asked, file_row_number = true)
        ), answers AS (
            SELECT is_click, number, {", ".join(values)} FROM rows
            WINDOW {", ".join(frames)},
                before AS (PARTITION BY user ORDER BY t, is_click, number)
        )
        SELECT * EXCLUDE (is_click) FROM answers WHERE NOT is_click ORDER BY number"""


_SQL = {"mean": "avg"}
