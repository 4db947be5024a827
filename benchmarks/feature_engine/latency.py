"""How long single calls take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.feature_engine.measuring import Figures


def latencies(read: Callable[[Any], object], requests: Iterable[Any]) -> Figures:
    """The median and the 99th percentile of calls in microseconds, after a tenth to warm up."""
    taken: list[float] = []
    for request in requests:
        started = time.perf_counter()
        read(request)
        taken.append(time.perf_counter() - started)
    us = np.array(taken[len(taken) // 10 :]) * 1e6
    return {
        "p50 µs": float(np.median(us)),
        "p99 µs": float(np.quantile(us, 0.99)),
        "reads": len(us),
    }
