"""Preprocessing: gaps, rare and unseen categories, and one row like many."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from mainspring.clock import NEVER
from mainspring.errors import MissingInput
from mainspring.models.preprocess import Form, Preprocessing, form_for
from mainspring.models.signature import Input, Signature
from tests.models.rows import features, signature

FORMS: tuple[Form, ...] = ("native", "dense")


def text(*values: str | None) -> Any:
    return np.array(values, dtype=object)


def carriers(form: Form) -> Preprocessing:
    seen = text(*["UA"] * 30, *["AA"] * 50, *["OO"] * 19, *[None] * 25)
    return Preprocessing.fit(
        {"carrier": seen}, Signature((Input("carrier", "category"),), "number"), form
    )


def test_categories_are_coded_by_falling_frequency() -> None:
    codes = carriers("native").transform({"carrier": text("AA", "UA")})
    assert codes[:, 0].tolist() == [0.0, 1.0]


def test_rare_and_unseen_categories_share_a_code_and_null_is_nan() -> None:
    codes = carriers("native").transform({"carrier": text("OO", "never seen", None)})
    assert codes[:2, 0].tolist() == [2.0, 2.0]
    assert np.isnan(codes[2, 0])


def test_dense_null_category_is_no_category() -> None:
    matrix = carriers("dense").transform({"carrier": text("UA", "OO", None)})
    assert matrix.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_dense_gap_becomes_median_and_indicator() -> None:
    one = Signature((Input("x", "number"),), "number")
    fitted = Preprocessing.fit({"x": np.array([0.0, 0.0, 6.0, np.nan])}, one, "dense")
    filled, known = fitted.transform({"x": np.array([np.nan, 0.0])})
    assert filled[0] == known[0]
    assert (filled[1], known[1]) == (1.0, 0.0)


def test_dense_column_without_values_or_spread_is_finite() -> None:
    two = Signature((Input("gone", "number"), Input("flat", "number")), "number")
    columns = {"gone": np.full(9, np.nan), "flat": np.full(9, 3.0)}
    matrix = Preprocessing.fit(columns, two, "dense").transform(columns)
    assert matrix[0].tolist() == [0.0, 0.0, 1.0]


def test_null_time_is_nan() -> None:
    one = Signature((Input("at", "number"),), "number")
    fitted = Preprocessing.fit({"at": np.arange(3)}, one, "native")
    assert np.isnan(fitted.transform({"at": np.array([NEVER])})).all()
    assert np.isnan(fitted.transform({"at": np.array([NEVER, 5])})[:, 0]).tolist() == [True, False]


@pytest.mark.parametrize("form", FORMS)
def test_one_row_is_transformed_like_many(form: Form) -> None:
    columns = features(300)
    fitted = Preprocessing.fit(columns, signature(), form)
    rows = [fitted.transform({n: v[i : i + 1] for n, v in columns.items()}) for i in range(300)]
    np.testing.assert_array_equal(np.concatenate(rows), fitted.transform(columns))


@pytest.mark.parametrize("form", FORMS)
def test_json_round_trip_is_exact(form: Form) -> None:
    columns = features(300)
    fitted = Preprocessing.fit(columns, signature(), form)
    again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    np.testing.assert_array_equal(again.transform(columns), fitted.transform(columns))


@pytest.mark.parametrize("form", FORMS)
def test_every_matrix_column_knows_its_input(form: Form) -> None:
    fitted = Preprocessing.fit(features(300), signature(), form)
    matrix = fitted.transform(features(4))
    assert len(fitted.sources) == matrix.shape[1]
    assert set(fitted.sources) == {0, 1, 2, 3}


def test_missing_input_is_named() -> None:
    fitted = Preprocessing.fit(features(30), signature(), "native")
    with pytest.raises(MissingInput, match="needs rain, which is not among"):
        fitted.transform({"wind": np.zeros(2), "carrier": text("AA", "AA")})
    with pytest.raises(MissingInput, match="needs wind"):
        Preprocessing.fit({}, signature(), "native")


def test_form_follows_what_the_estimator_accepts() -> None:
    native = (LGBMClassifier(), HistGradientBoostingClassifier())
    assert [form_for(estimator) for estimator in native] == ["native", "native"]
    assert [form_for(estimator) for estimator in (LogisticRegression(), object())] == ["dense"] * 2


def test_one_row_of_forty_inputs_is_quick() -> None:
    wide = Signature(tuple(Input(f"x{i}", "number") for i in range(40)), "number")
    row = {f"x{i}": np.array([float(i)]) for i in range(40)}
    fitted = Preprocessing.fit(row, wide, "native")
    best = min(_seconds(fitted, row) for _ in range(300))
    assert best < 100e-6  # about 7 us alone; the rest is for a busy machine


def _seconds(fitted: Preprocessing, row: dict[str, Any]) -> float:
    started = time.perf_counter()
    fitted.transform(row)
    return time.perf_counter() - started
