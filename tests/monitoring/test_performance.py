"""Performance: answers against what came, variant by variant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainspring.monitoring.performance import measure
from mainspring.serving.prediction_log import Logged
from mainspring.training.outcomes import Outcomes

NAN = np.nan


def logged(score: list[float], **columns: Any) -> Logged:
    rows = len(score)
    nothing, none = np.full(rows, NAN), np.zeros(rows, np.int64)
    given: dict[str, Any] = {
        "ids": np.array([f"p{n}" for n in range(rows)], object),
        "at": np.arange(rows),
        "role": np.full(rows, "champion", object),
        "version": none,
        "silent": {"shadow": nothing, "frozen": nothing},
        "silent_version": {"shadow": none, "frozen": none},
    }
    return Logged(score=np.array(score), **(given | columns))


def outcomes(value: list[float], **columns: Any) -> Outcomes:
    rows = len(value)
    given: dict[str, Any] = {
        "ids": np.array([f"p{n}" for n in range(rows)], object),
        "at": np.arange(rows),
        "known_at": np.arange(rows),
        "censored": np.zeros(rows, bool),
    }
    return Outcomes(value=np.array(value), **(given | columns))


def measured(output: str, answers: Logged, known: Outcomes) -> dict[tuple[str, str], Any]:
    return {(m.metric, m.variant): m for m in measure(output, answers, known)}


def test_every_variant_is_measured_on_its_own_rows() -> None:
    silent = {"shadow": np.array([NAN, 2.0, 3.0]), "frozen": np.array([5.0, 5.0, 5.0])}
    found = measured("number", logged([1.0, 3.0, 3.0], silent=silent), outcomes([1.0, 2.0, 3.0]))
    said = {variant: (m.value, m.rows) for (metric, variant), m in found.items() if metric == "mae"}
    assert said == {"served": (1 / 3, 3), "shadow": (0.0, 2), "frozen": (3.0, 3)}
    assert {metric for metric, _ in found} == {"mae", "rmse", "r2"}
    mae = found["mae", "served"]
    assert mae.low <= mae.value <= mae.high


def test_fallbacks_and_requests_without_an_outcome_are_left_out() -> None:
    role = np.array(["champion", "fallback", "champion"], object)
    found = measured("number", logged([1.0, 9.0, 3.0], role=role), outcomes([1.0, 2.0, NAN]))
    assert found["mae", "served"].rows == 1
    assert measured("number", logged([1.0]), outcomes([NAN])) == {}
    assert measured("number", logged([]), outcomes([])) == {}


def test_two_requests_of_one_key_have_their_own_outcomes() -> None:
    one_key = np.array(["a", "a"], object)
    answers = logged([1.0, 0.0], ids=one_key)
    found = measured("number", answers, outcomes([1.0, NAN], ids=one_key))
    assert (found["mae", "served"].value, found["mae", "served"].rows) == (0.0, 1)


def test_a_probability_has_the_metrics_of_one_and_nan_where_a_day_defines_none() -> None:
    found = measured("probability", logged([0.2, 0.9]), outcomes([0.0, 0.0]))
    assert found["log_loss", "served"].value == pytest.approx(-np.log([0.8, 0.1]).mean())
    assert np.isnan(found["roc_auc", "served"].value)
