"""The ladder: each rung is better than the one below where there is something to learn."""

from __future__ import annotations

import numpy as np
import pytest

from mainspring.models import metrics
from mainspring.models.evaluate import evaluate
from mainspring.models.ladder import LINEAR_ROWS, Rows, ladder
from tests.models.rows import features, learnable, outcome, signature


def test_rungs_rise() -> None:
    judge = features(2000, seed=3)
    rungs = ladder(learnable(4000), judge, signature(), 2000)
    y = outcome(judge, seed=4)
    loss = {rung: evaluate(metrics.log_loss, y, p) for rung, p in rungs.items()}
    assert loss["linear"] < loss["constant"] and loss["tree"] < loss["constant"]


def test_tree_finds_what_lines_cannot() -> None:
    columns = features(3000)
    y = (np.abs(columns["wind"]) > 1).astype(float)
    rungs = ladder(Rows(columns, y), columns, signature(), 3000)
    assert evaluate(metrics.roc_auc, y, rungs["tree"]) > 0.95
    assert evaluate(metrics.roc_auc, y, rungs["linear"]) < 0.7


def test_a_number_has_a_ladder() -> None:
    columns = features(1000)
    rungs = ladder(Rows(columns, 50 + columns["wind"]), columns, signature("number"), 1000)
    errors = {r: evaluate(metrics.mae, 50 + columns["wind"], p) for r, p in rungs.items()}
    assert errors["linear"] < 0.01 < errors["tree"] < errors["constant"]


def test_few_rows_give_every_rung() -> None:
    rungs = ladder(Rows(features(2), np.array([0.0, 1.0])), features(3), signature(), 3)
    assert rungs["tree"].tolist() == pytest.approx([0.5] * 3)
    assert np.isfinite(rungs["linear"]).all()


def test_linear_rung_is_constant_when_the_newest_rows_have_one_outcome() -> None:
    rows = learnable(LINEAR_ROWS + 50)
    rows.y[50:] = 0.0
    rungs = ladder(rows, features(3), signature(), 3)
    assert rungs["linear"].tolist() == rungs["constant"].tolist()
