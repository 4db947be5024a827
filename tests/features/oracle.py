"""The meaning of an aggregate, by brute force: what the kernel and the online state must equal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from typing import Any

Row = tuple[int, int, int, Any]  # event time, arrival time, offset, value

KINDS: dict[str, Callable[[list[Any]], Any]] = {
    "sum": math.fsum,
    "mean": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
    "std": lambda values: statistics.stdev(values) if len(values) > 1 else None,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}


def seen(rows: Iterable[Row], t: int, size: int | None, hop: int) -> list[Any]:
    """The values of one key that a window at `t` holds, without NULLs, in time order."""
    start = -math.inf if size is None else (t - size) - (t - size) % hop
    inside = sorted((r for r in rows if start <= r[0] < t and r[1] < t), key=lambda r: (r[0], r[2]))
    values = (r[3] for r in inside)
    # NaN is NULL, and -0.0 is 0.0.
    return [v + 0.0 if isinstance(v, float) else v for v in values if v is not None and v == v]


def aggregate(kind: str, rows: Iterable[Row], t: int, size: int | None, hop: int) -> Any:
    """The value of one aggregate for one request; None is NULL."""
    values = seen(rows, t, size, hop)
    if kind == "count":
        return len(values)
    return KINDS[kind](values) if values else None
