"""Versions: the rows of a change feed, each with until when it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mainspring.sources.source import Source
from mainspring.sources.table import ARRIVAL, OFFSET

UNTIL = "__until"
FOREVER = 2**63 - 1


def versions(source: type[Source], among: str = "true", relation: str = "events") -> str:
    """The rows of a relation in a query, with `__until`: the last time at which each stands.

    Of a change feed these are its versions without deletions: one stands until the next of its
    unique key arrives. Rows of any other source stand for ever.

    Args:
        among: the condition on rows that are there at all: others end none.
    """
    schema = source.__schema__
    if schema.change is None or schema.unique is None:
        return f"(SELECT *, CAST({FOREVER} AS BIGINT) AS {UNTIL} FROM {relation} WHERE {among})"
    unique, change = (f'"{c.name}"' for c in (schema.unique, schema.change))
    following = f"lead({ARRIVAL}) OVER (PARTITION BY {unique} ORDER BY {ARRIVAL}, {OFFSET})"
    return f"""(SELECT * FROM (
        SELECT *, coalesce({following}, {FOREVER}) AS {UNTIL} FROM {relation} WHERE {among}
        ) WHERE {change} IS NULL OR {change} <> 'delete')"""


def is_delete(source: type[Source], rows: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows of a change feed take their row away."""
    change = source.__schema__.change
    if change is None:
        return np.zeros(rows.num_rows, bool)
    return np.asarray(pc.equal(rows[change.name], "delete").fill_null(False), bool)
