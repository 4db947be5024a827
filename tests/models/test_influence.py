"""Inputs that a fitted version makes nothing of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from mainspring.models.fit import FitJob, Fitted, fit
from mainspring.models.influence import ENOUGH, unused, without_influence
from mainspring.models.ladder import Rows
from mainspring.models.runtime import load
from mainspring.models.signature import Input, Signature

SIGNATURE = Signature((Input("x", "number"), Input("noise", "number")), "probability")


@pytest.fixture
def fitted(job: Callable[..., FitJob]) -> Fitted:
    """A model without importances, to which `noise` says nothing as it never varied."""
    x = np.linspace(0, 1, 400)
    rows = Rows({"x": x, "noise": np.zeros(400)}, (x > 0.5).astype(np.float64))
    estimator: Any = HistGradientBoostingClassifier(max_iter=5)
    judged = {"x": x[:200], "noise": x[:200]}
    return fit(job(estimator, rows=rows, judge=judged, signature=SIGNATURE), deadline_s=60)


def test_an_input_that_changes_no_prediction_has_no_influence(fitted: Fitted) -> None:
    assert not fitted.importance
    predictor, x = load(fitted.folder, fitted.sha256), np.linspace(0, 1, 300)
    assert without_influence(predictor, {"x": x, "noise": x}) == {"noise"}


def test_nothing_is_said_on_few_rows(fitted: Fitted) -> None:
    predictor, x = load(fitted.folder, fitted.sha256), np.linspace(0, 1, 3 * ENOUGH - 1)
    assert without_influence(predictor, {"x": x, "noise": x}) == set()


def test_an_importance_of_nothing_is_no_use() -> None:
    assert unused({"a": 1.0, "b": 0.0}) == {"b"}
    assert unused({}) == set()
