"""What each system answered to some requests: equal, or a comparison of two different things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

EVERY = 97


def keep(folder: str, name: str, values: dict[str, Any]) -> None:
    """Keeps every 97th row of a system's values, NaN for NULL, in the order of requests."""
    some = {n: np.asarray(column, np.float64)[::EVERY] for n, column in values.items()}
    np.savez(Path(folder) / f"{name}.npz", **some)  # type: ignore[arg-type]


def compare(folder: str, name: str, other: str) -> None:
    """Raises an error where two systems that gave the same features gave other values."""
    mine, theirs = (np.load(Path(folder) / f"{n}.npz") for n in (name, other))
    shared = sorted(set(mine.files) & set(theirs.files))
    assert shared, f"{name} and {other} have no feature in common"
    for feature in shared:
        n = min(len(mine[feature]), len(theirs[feature]))  # one may have answered fewer requests
        told = f"{feature} of {other} and {name}"
        np.testing.assert_allclose(theirs[feature][:n], mine[feature][:n], rtol=1e-12, err_msg=told)
