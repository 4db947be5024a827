"""Jobs that learn from the rows of `rows.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainspring.models.fit import FitJob
from mainspring.models.ladder import Rows
from mainspring.models.outcome import Origin
from tests.models.rows import features, learnable, signature


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., FitJob]:
    """A function from an estimator to a small job with it."""

    def make(estimator: Any, *, rows: int | Rows = 600, **changes: Any) -> FitJob:
        given: dict[str, Any] = {
            "model": "lateness",
            "estimator": estimator,
            "rows": rows if isinstance(rows, Rows) else learnable(rows),
            "judge": features(200, seed=5),
            "signature": signature(),
            "seed": 7,
            "folder": tmp_path / "artefacts",
            "origin": Origin("flights.py:24"),
        }
        return FitJob(**(given | changes))

    return make
