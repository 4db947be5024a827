"""The meaning of an aggregate, by brute force: what the kernel and the online state must equal."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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


def inside(rows: Iterable[Row], t: int, size: int | None, hop: int) -> list[Row]:
    """The rows of one key that a window at `t` holds, in time order."""
    start = -math.inf if size is None else (t - size) - (t - size) % hop
    return sorted((r for r in rows if start <= r[0] < t and r[1] < t), key=lambda r: (r[0], r[2]))


def known(rows: Sequence[Row]) -> list[Row]:
    """The rows whose value is not NULL: NaN is NULL, and -0.0 is 0.0."""
    return [
        (*r[:3], r[3] + 0.0 if isinstance(r[3], float) else r[3])
        for r in rows
        if r[3] is not None and r[3] == r[3]
    ]


def seen(rows: Iterable[Row], t: int, size: int | None, hop: int) -> list[Any]:
    """The values of one key that a window at `t` holds, without NULLs, in time order."""
    return [r[3] for r in known(inside(rows, t, size, hop))]


def aggregate(
    kind: str, rows: Iterable[Row], t: int, size: int | None, hop: int, parameter: Any = None
) -> Any:
    """The value of one aggregate for one request; None is NULL, a list are the values of a wide."""
    all_rows = inside(rows, t, size, hop)
    found = known(all_rows)
    values = [r[3] for r in found]
    if kind in ("count", "count_distinct"):
        return len(values if kind == "count" else set(values))
    if kind == "latest":
        return known(all_rows[-1:])[0][3] if known(all_rows[-1:]) else None
    if kind in ("last_k", "top_k"):
        return (_most if kind == "top_k" else _last)(values, parameter)
    if not values:
        return None
    if kind == "quantile":
        return sorted(values)[math.floor(parameter * (len(values) - 1))]
    if kind == "time_since_last":
        return (t - found[-1][0]) / 1e6
    if kind == "ewma":
        weights = [2.0 ** ((r[0] - found[-1][0]) / parameter) for r in found]
        parts = (w * v for w, v in zip(weights, values, strict=True))
        return math.fsum(parts) / math.fsum(weights)
    return KINDS[kind](values)


def _last(values: list[Any], k: int) -> list[Any]:
    return [*values[::-1], *[None] * k][:k]


def _most(values: list[Any], k: int) -> list[Any]:
    ordered = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
    return [*(value for value, _ in ordered), *[None] * k][:k]


def scale(kind: str, values: Sequence[Any]) -> float:
    """What the difference of two values of an inexact aggregate is relative to."""
    return math.fsum(map(abs, values))


def standing(versions: Iterable[Any], t: int) -> list[Any]:
    """The versions of a change feed that count at `t`: of each id the last to arrive before."""
    current: dict[Any, Any] = {}
    for version in sorted(versions, key=lambda v: (v.arrival, v.offset)):
        if version.arrival < t:
            current[version.id] = version
    return [v for v in current.values() if v.op != "delete"]
