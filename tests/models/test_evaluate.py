"""Metrics equal scikit-learn's, and intervals mean what they say."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mainspring.models import metrics as ms
from mainspring.models.evaluate import (
    by_slice,
    calibration,
    calibration_error,
    compare,
    evaluate,
    interval,
)

REFERENCE: dict[str, Callable[..., Any]] = {
    "log_loss": sk.log_loss,
    "roc_auc": sk.roc_auc_score,
    "average_precision": sk.average_precision_score,
    "brier": sk.brier_score_loss,
    "accuracy": lambda y, p: sk.accuracy_score(y, p > 0.5),
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "r2": sk.r2_score,
}


def judged(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """Outcomes, and predictions that are calibrated and often equal."""
    random = np.random.default_rng(seed)
    p = random.integers(1, 20, rows) / 20
    return (random.random(rows) < p).astype(np.float64), p


@pytest.mark.parametrize("name", REFERENCE)
def test_metric_equals_scikit_learn_with_ties(name: str) -> None:
    y, p = judged(500)
    assert evaluate(ms.METRICS[name], y, p) == pytest.approx(REFERENCE[name](y, p), rel=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 6)), min_size=2, max_size=30))
@settings(max_examples=60)
def test_rankings_equal_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    y, p = np.array([r[0] for r in rows], float), np.array([r[1] / 7 for r in rows])
    if 0 < y.sum() < len(y):
        for name in ("roc_auc", "average_precision"):
            assert evaluate(ms.METRICS[name], y, p) == pytest.approx(REFERENCE[name](y, p))


@pytest.mark.parametrize("name", REFERENCE)
def test_resampling_by_counts_is_resampling_rows(name: str) -> None:
    y, p = judged(60)
    rows = np.random.default_rng(3).integers(0, 60, 60)
    counted = np.random.default_rng(3).integers(0, 60, 60)
    edges = interval(ms.METRICS[name], y, p, seed=3, resamples=1)
    assert np.array_equal(rows, counted)
    assert edges[0] == edges[1] == pytest.approx(REFERENCE[name](y[rows], p[rows]), rel=1e-9)


@pytest.mark.parametrize("name", REFERENCE)
def test_no_rows_have_no_score(name: str) -> None:
    none = np.empty(0)
    metric = ms.METRICS[name]
    assert math.isnan(evaluate(metric, none, none))
    assert all(math.isnan(edge) for edge in interval(metric, none, none, seed=1))
    assert not compare(metric, none, none, none, seed=1).better


def test_one_class_has_no_ranking() -> None:
    assert math.isnan(evaluate(ms.roc_auc, np.zeros(3), np.array([0.1, 0.2, 0.3])))
    assert math.isnan(evaluate(ms.average_precision, np.zeros(3), np.array([0.1, 0.2, 0.3])))


def test_a_certain_mistake_costs_a_finite_log_loss() -> None:
    assert evaluate(ms.log_loss, np.array([1.0]), np.array([0.0])) == pytest.approx(34.54, rel=1e-3)


@pytest.mark.parametrize("metric", [ms.log_loss, ms.roc_auc])
def test_interval_covers_the_truth_19_times_in_20(metric: ms.Metric) -> None:
    truth = evaluate(metric, *judged(400_000, seed=1))
    edges = [interval(metric, *judged(300, seed=s), seed=s) for s in range(100)]
    covered = sum(low <= truth <= high for low, high in edges)
    assert 88 <= covered <= 100


def test_intervals_repeat_with_the_seed() -> None:
    y, p = judged(200)
    assert interval(ms.brier, y, p, seed=4) == interval(ms.brier, y, p, seed=4)
    assert interval(ms.brier, y, p, seed=4) != interval(ms.brier, y, p, seed=5)


@pytest.mark.parametrize("metric", [ms.log_loss, ms.roc_auc])
def test_comparison_is_paired_and_knows_its_direction(metric: ms.Metric) -> None:
    y, p = judged(2000)
    noisy = (p + np.random.default_rng(1).normal(0, 0.1, len(p))).clip(0.01, 0.99)
    good = compare(metric, y, p, noisy, seed=1)
    bad = compare(metric, y, noisy, p, seed=1)
    assert good.better and not bad.better
    assert (good.difference < 0) == (metric.better == "lower")
    assert good.difference == pytest.approx(-bad.difference)
    assert good.low <= good.difference <= good.high


def test_equal_models_are_not_better() -> None:
    y, p = judged(500)
    same = compare(ms.log_loss, y, p, p, seed=1)
    assert (same.difference, same.low, same.high, same.better) == (0.0, 0.0, 0.0, False)


def test_calibration_bins_cover_every_row_once() -> None:
    y, p = judged(1000)
    table = calibration(y, p)
    assert sum(b.rows for b in table) == 1000
    assert all(a.high < b.low for a, b in pairwise(table))
    assert calibration_error(y, p) < 0.05 < calibration_error(y, p**3)


def test_constant_predictions_are_one_bin() -> None:
    table = calibration(np.array([0.0, 1.0, 1.0, 0.0]), np.full(4, 0.5))
    assert [(b.rows, b.observed) for b in table] == [(4, 0.5)]
    assert calibration(np.empty(0), np.empty(0)) == []


def test_slices_are_worst_first_and_large_enough() -> None:
    y, p = np.array([1.0, 1.0, 0.0, 0.0, 1.0]), np.array([0.9, 0.8, 0.9, 0.1, 0.5])
    where = np.array(["JFK", "JFK", "EWR", "EWR", "LGA"], dtype=object)
    scores = by_slice(ms.brier, y, p, where, min_rows=2)
    assert [(s.value, s.rows) for s in scores] == [("EWR", 2), ("JFK", 2)]
    ranked = by_slice(ms.roc_auc, y, p, where)
    assert [s.value for s in ranked] == ["EWR", "JFK", "LGA"]
    assert by_slice(ms.brier, y[:0], p[:0], where[:0]) == []


@pytest.mark.parametrize(("metric", "most"), [(ms.log_loss, 0.03), (ms.roc_auc, 0.2)])
def test_two_hundred_resamples_of_ten_thousand_rows_are_quick(
    metric: ms.Metric, most: float
) -> None:
    random = np.random.default_rng(0)
    y, p = random.integers(0, 2, 10_000).astype(float), random.random(10_000)
    interval(metric, y, p, seed=0, resamples=2)
    started = time.process_time()
    interval(metric, y, p, seed=0)
    assert time.process_time() - started < 4 * most  # a busy machine is no regression
